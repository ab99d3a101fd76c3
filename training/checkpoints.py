"""What is kept of a descent while it lasts: enough to go on from, bit by bit, and nothing once it is done."""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from agent.error import InputError
from agent.whole_file import write_whole
from training.processes import is_first

_FINGERPRINT = "decides.sha256"
_AT_WORK = "at-work"  # locked for as long as a process works on the folder
_OPTIMIZER = "optimizer."  # so begin the names of its tensors


class DescentError(InputError):
    """A descent that cannot go on; the message says why and what to do."""


@contextmanager
def checkpoints_of(out: Path, decides: bytes, resume: bool) -> Iterator[Path]:
    """The folder OUT.checkpoint for as long as the work takes; what was left there when it was cut off is used when `resume`.

    decides: all that decides the result. Raises DescentError where a checkpoint is in the way, of other work, or at work.
    """
    folder = out.with_name(out.name + ".checkpoint")
    if not is_first():
        yield folder
        return
    with _alone_in(folder):
        _take_up(folder, hashlib.sha256(decides).hexdigest(), resume)
        try:
            yield folder
        except BaseException:
            if not any(folder.glob("*.safetensors")):
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """The folder is there, and no other process is at work in it. Its lock goes with the process, whatever ends that."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock: IO[bytes] = (folder / _AT_WORK).open("ab")
    except OSError as e:
        raise DescentError(f"{folder}: cannot be written: {e.strerror or e}") from e
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise DescentError(f"{folder}: another process is at work in it; wait for its end, or choose another --out") from e
        except OSError:
            pass  # a file system without locks
        yield


def _take_up(folder: Path, digest: str, resume: bool) -> None:
    """New, or what was left there, if that is of the same work and wanted. Raises DescentError."""
    told = folder / _FINGERPRINT
    if not any(folder.glob("*.safetensors")):  # new, or cut off before there was anything to go on from
        try:
            write_whole(told, digest.encode())
        except OSError as e:
            raise DescentError(f"{folder}: cannot be written: {e.strerror or e}") from e
        return
    if not resume:
        raise DescentError(f"{folder}: left by one that was cut off; go on with --resume, or remove it to begin again")
    if not told.is_file() or told.read_text() != digest:
        raise DescentError(f"{folder}: of other photographs or other options; give the same as then, or remove it")


def _tensors(learner: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Everything that learning changes, by name; the tensors themselves."""
    state: dict[str, Tensor] = dict(learner.state_dict())
    of_optimizer = optimizer.state_dict()["state"]
    for k, values in of_optimizer.items():
        state |= {f"{_OPTIMIZER}{k}.{name}": value for name, value in values.items() if isinstance(value, Tensor)}
    return state


def save_state(learner: nn.Module, optimizer: torch.optim.Optimizer, file: Path, steps: int) -> None:
    """After so many steps. Whole or not at all; of several processes the first alone writes. Raises DescentError."""
    if not is_first():
        return
    content = save({key: value.contiguous() for key, value in _tensors(learner, optimizer).items()}, {"steps": json.dumps(steps)})
    try:
        write_whole(file, content)
    except OSError as e:
        raise DescentError(f"{file}: cannot be written: {e.strerror or e}") from e


def restore_state(learner: nn.Module, optimizer: torch.optim.Optimizer, file: Path) -> int:
    """Steps done; learner and optimizer are as they were then. Raises DescentError."""
    try:
        with safe_open(file, framework="pt") as opened:
            steps = int(json.loads((opened.metadata() or {})["steps"]))
        saved = load_file(file)
    except (SafetensorError, OSError, KeyError, ValueError) as e:
        raise DescentError(f"{file}: cannot be read ({e}); remove it and begin again") from e
    of_optimizer: dict[int, dict[str, Tensor]] = {}
    for key in [key for key in saved if key.startswith(_OPTIMIZER)]:
        _, k, name = key.split(".", 2)
        of_optimizer.setdefault(int(k), {})[name] = saved.pop(key)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    try:
        learner.load_state_dict(saved)
        state = {k: {n: _laid_out_as(parameters[k], v) for n, v in values.items()} for k, values in of_optimizer.items()}
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except (RuntimeError, ValueError, IndexError) as e:
        raise DescentError(f"{file}: of another network or optimizer; remove it and begin again ({e})") from e
    return steps


def _laid_out_as(parameter: Tensor, value: Tensor) -> Tensor:
    """In the parameter's memory format, so that every sum has its order. What is not of its shape (Adam's step) stays."""
    return torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
