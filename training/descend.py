"""The one gradient loop: seeded, resumable to the same result, on one device or on several under `torchrun`.

All chance of a step comes from torch's generators, seeded for (seed, stage, step) alone; so a descent that was cut off and
resumed ends where an uninterrupted one ends, bit by bit on the same machine. What several processes must agree on is in
training/processes.py.
"""

import hashlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor, nn

from training.checkpoints import DescentError, restore_state, save_state
from training.processes import average, is_first, rank, share_of
from training.progress import Progress

_CHECKPOINT_S = 60.0


def constant(share: float) -> float:
    """A learning rate that does not change."""
    del share
    return 1.0


@dataclass(frozen=True, slots=True)
class Course:
    """One stage of gradient descent.

    stage: its name, in progress and as the checkpoint's file. learner: every parameter and buffer that changes. loss: of a
    step (0, 1, ...), with gradients; it draws its batch and all else by torch's global generators, seeded for that step.
    rate: factor of the optimizer's learning rate at the share of the course that is done, 0 to 1. half: the loss may be computed
    in bfloat16 where the device is faster in it.
    """

    stage: str
    learner: nn.Module
    optimizer: torch.optim.Optimizer
    steps: int
    seed: int
    loss: Callable[[int], Tensor]
    rate: Callable[[float], float] = constant
    half: bool = False


def descend(course: Course, progress: Progress, checkpoints: Path | None = None) -> None:
    """Takes all steps of the course, the learner in train mode, and leaves it in eval mode.

    checkpoints: the folder that keeps the state, once a minute and at Ctrl-C. Raises DescentError when the loss is not finite or
    a checkpoint cannot be read or written.
    """
    file = checkpoints / f"{course.stage}.safetensors" if checkpoints is not None else None
    first = restore_state(course.learner, course.optimizer, file) if file is not None and file.is_file() else 0
    if first > course.steps:
        raise DescentError(f"{file}: after {first} steps, expected at most {course.steps}; remove it and begin again")
    parameters = [p for group in course.optimizer.param_groups for p in group["params"]]
    highest = [group["lr"] for group in course.optimizer.param_groups]
    course.learner.train()
    done, saved = first, time.monotonic()
    try:
        for step in progress.track(range(first, course.steps), course.stage):
            with _ctrl_c_afterwards():
                for group, rate in zip(course.optimizer.param_groups, highest, strict=True):
                    group["lr"] = rate * course.rate(step / course.steps)
                value = _take(course, step, parameters)
                done = step + 1
            progress.tell(f"loss {value:.4g}")
            if file is not None and time.monotonic() - saved > _CHECKPOINT_S:
                save_state(course.learner, course.optimizer, file, done)
                saved = time.monotonic()
    except KeyboardInterrupt:
        if file is not None and done > first:
            save_state(course.learner, course.optimizer, file, done)
        raise
    for group, rate in zip(course.optimizer.param_groups, highest, strict=True):
        group["lr"] = rate
    if file is not None:
        save_state(course.learner, course.optimizer, file, course.steps)
    course.learner.eval()


def _take(course: Course, step: int, parameters: list[Tensor]) -> float:
    """One step; gives the loss before it."""
    loss = _seeded_loss(course, step)
    if not math.isfinite(value := float(loss.detach())):
        raise DescentError(
            f"{course.stage}, step {step + 1} of {course.steps}: the loss is {value}. Begin again with another seed or a lower "
            "rate (and remove OUT.checkpoint, if there is one)"
        )
    course.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    average(course.learner, parameters)
    course.optimizer.step()
    return value


@contextmanager
def _ctrl_c_afterwards() -> Iterator[None]:
    """Ctrl-C inside the block comes at its end, so that a step is taken whole or not at all. A second one comes at once."""
    if threading.current_thread() is not threading.main_thread():  # where no signal arrives
        yield
        return
    held: list[int] = []

    def hold(signal_number: int, frame: FrameType | None) -> None:
        if held:
            signal.default_int_handler(signal_number, frame)
        held.append(signal_number)

    before = signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        raise KeyboardInterrupt


def _seeded_loss(course: Course, step: int) -> Tensor:
    device = next(course.learner.parameters()).device
    drawn = f"{course.seed} {course.stage} {step}" if is_first() else f"{course.seed} {course.stage} {step} {rank()}"
    key = hashlib.sha256(drawn.encode()).digest()
    with torch.random.fork_rng(), torch.autocast(device.type, torch.bfloat16, enabled=course.half and fast_in_half(device)):
        torch.manual_seed(int.from_bytes(key[:7], "big"))
        return course.loss(step)


def fast_in_half(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 itself."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return device.type == "cpu" and bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def batch_of(step: int, count: int, size: int, seed: int) -> list[int]:
    """Indices of the step's batch of `size` out of `count` things: each epoch in a new seeded order, none twice in an epoch.

    The last batch of an epoch may be smaller. Of several processes each is given its share of the batch.

    >>> sorted(batch_of(0, 5, 3, seed=0) + batch_of(1, 5, 3, seed=0))
    [0, 1, 2, 3, 4]
    """
    epoch, place = divmod(step, math.ceil(count / size))
    key = int.from_bytes(hashlib.sha256(f"{seed} {epoch}".encode()).digest()[:7], "big")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(key))
    return share_of([int(k) for k in order[place * size : (place + 1) * size]])


def steps_of(epochs: int, count: int, size: int) -> int:
    """Steps of so many epochs over `count` things in batches of `size`, the smaller last batch included.

    >>> steps_of(2, 5, 3)
    4
    """
    return epochs * math.ceil(count / size)
