"""The one gradient loop: seeded, resumable to the same result, on one device or on several under `torchrun`.

All chance of a step comes from torch's generators, seeded for (seed, stage, step) alone; so a descent that was cut off and
resumed ends where an uninterrupted one ends, bit by bit on the same machine.
"""

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from training.progress import Progress

_FINGERPRINT = "fit.sha256"
_CHECKPOINT_S = 60.0


class DescentError(Exception):
    """A descent that cannot go on; the message says why and what to do."""


def constant(share: float) -> float:
    """A learning rate that does not change."""
    del share
    return 1.0


@dataclass(frozen=True, slots=True)
class Course:
    """One stage of gradient descent.

    stage: its name, in progress and as the checkpoint's file. learner: every parameter and buffer that changes. loss: of a
    step (0, 1, ...), with gradients; it draws its batch and all else by torch's global generators, seeded for that step.
    rate: factor of the optimizer's learning rate at the share of the course that is done, 0 to 1. clip: largest norm of the
    gradient. half: the loss may be computed in bfloat16 where the device is faster in it.
    """

    stage: str
    learner: nn.Module
    optimizer: torch.optim.Optimizer
    steps: int
    seed: int
    loss: Callable[[int], Tensor]
    rate: Callable[[float], float] = constant
    clip: float = math.inf
    half: bool = False


def descend(course: Course, progress: Progress, checkpoints: Path | None = None) -> None:
    """Takes all steps of the course, the learner in train mode, and leaves it in eval mode.

    checkpoints: the folder that keeps the state, once a minute. Raises DescentError when the loss is not finite or a
    checkpoint cannot be read or written.
    """
    file = checkpoints / f"{course.stage}.safetensors" if checkpoints is not None else None
    first = _restore(course, file) if file is not None and file.is_file() else 0
    parameters = [p for group in course.optimizer.param_groups for p in group["params"]]
    highest = [group["lr"] for group in course.optimizer.param_groups]
    course.learner.train()
    saved = time.monotonic()
    for step in progress.track(range(first, course.steps), course.stage):
        for group, rate in zip(course.optimizer.param_groups, highest, strict=True):
            group["lr"] = rate * course.rate(step / course.steps)
        loss = _seeded_loss(course, step)
        if not math.isfinite(value := float(loss.detach())):
            raise DescentError(
                f"{course.stage}, step {step + 1} of {course.steps}: the loss is {value}. Try another seed or a lower rate"
            )
        course.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if math.isfinite(course.clip):
            nn.utils.clip_grad_norm_(parameters, course.clip)
        course.optimizer.step()
        progress.tell(f"loss {value:.4g}")
        if file is not None and time.monotonic() - saved > _CHECKPOINT_S:
            _save(course, file, step + 1)
            saved = time.monotonic()
    for group, rate in zip(course.optimizer.param_groups, highest, strict=True):
        group["lr"] = rate
    if file is not None:
        _save(course, file, course.steps)
    course.learner.eval()


def _seeded_loss(course: Course, step: int) -> Tensor:
    device = next(course.learner.parameters()).device
    key = hashlib.sha256(f"{course.seed} {course.stage} {step}".encode()).digest()
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

    The last batch of an epoch may be smaller.

    >>> sorted(batch_of(0, 5, 3, seed=0) + batch_of(1, 5, 3, seed=0))
    [0, 1, 2, 3, 4]
    """
    epoch, place = divmod(step, math.ceil(count / size))
    key = int.from_bytes(hashlib.sha256(f"{seed} {epoch}".encode()).digest()[:7], "big")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(key))
    return [int(k) for k in order[place * size : (place + 1) * size]]


def steps_of(epochs: int, count: int, size: int) -> int:
    """Steps of so many epochs over `count` things in batches of `size`, the smaller last batch included.

    >>> steps_of(2, 5, 3)
    4
    """
    return epochs * math.ceil(count / size)


def best_device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def checkpoints_of(out: Path, decides: bytes, resume: bool) -> Iterator[Path]:
    """The folder OUT.checkpoint for as long as the fit takes; what a cut-off fit left there is used when `resume`.

    decides: all that decides the fit's result. Raises DescentError where a checkpoint is in the way or of another fit.
    """
    folder = out.with_name(out.name + ".checkpoint")
    digest = hashlib.sha256(decides).hexdigest()
    if folder.exists():
        if not resume:
            raise DescentError(f"{folder}: a fit that was cut off; go on with --resume, or remove it to begin again")
        told = folder / _FINGERPRINT
        if not told.is_file() or told.read_text() != digest:
            raise DescentError(f"{folder}: of other photographs or another recipe; give the same as then, or remove it")
    else:
        folder.mkdir(parents=True)
        (folder / _FINGERPRINT).write_text(digest)
    try:
        yield folder
    except BaseException:
        if not any(folder.glob("*.safetensors")):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder)


def _tensors(course: Course) -> dict[str, Tensor]:
    """Everything that learning changes, by name; the tensors themselves."""
    state: dict[str, Tensor] = dict(course.learner.state_dict())
    of_optimizer = course.optimizer.state_dict()["state"]
    for k, values in of_optimizer.items():
        state |= {f"optimizer.{k}.{name}": value for name, value in values.items() if isinstance(value, Tensor)}
    return state


def _save(course: Course, file: Path, steps: int) -> None:
    """Whole or not at all."""
    content = save({key: value.contiguous() for key, value in _tensors(course).items()}, {"steps": json.dumps(steps)})
    part = file.with_name(f".{file.name}.part")
    try:
        with part.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
    except OSError as e:
        raise DescentError(f"{file}: cannot be written: {e.strerror or e}") from e


def _restore(course: Course, file: Path) -> int:
    """Steps done; learner and optimizer as they were then."""
    try:
        with safe_open(file, framework="pt") as opened:
            steps = int(json.loads((opened.metadata() or {})["steps"]))
        saved = load_file(file)
    except (SafetensorError, OSError, KeyError, ValueError) as e:
        raise DescentError(f"{file}: cannot be read ({e}); remove it and begin again") from e
    course.learner.load_state_dict({key: value for key, value in saved.items() if not key.startswith("optimizer.")})
    described: dict[str, Any] = course.optimizer.state_dict()
    by_parameter: dict[int, dict[str, Tensor]] = {}
    for key, value in saved.items():
        if key.startswith("optimizer."):
            _, k, name = key.split(".", 2)
            by_parameter.setdefault(int(k), {})[name] = value
    course.optimizer.load_state_dict({"state": by_parameter, "param_groups": described["param_groups"]})
    return steps
