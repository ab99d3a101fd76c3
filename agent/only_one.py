"""One process per role and state folder: a second one would drive the same gate or write the same outbox."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agent.error import InputError


class AlreadyRunningError(InputError):
    """Another process holds this role; the message names its process id."""


@contextmanager
def only_one(folder: Path, role: str) -> Iterator[None]:
    """Holds a role for this process until it ends, however it ends. Raises AlreadyRunningError."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = _opened(folder / f"{role}.lock")
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise AlreadyRunningError(f"{folder}: a `kensa {role}` runs here already (process {holder})") from e
        with suppress(OSError):  # a full or read-only disk: the role is held all the same, only by whom is not said
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def is_held(folder: Path, role: str) -> bool:
    """Whether a process has this role now; makes nothing. Raises OSError where that cannot be seen."""
    try:
        descriptor = os.open(folder / f"{role}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _opened(lock: Path) -> int:
    """A descriptor; on a disk that has become read-only, one of the file that is there from before."""
    try:
        return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    except OSError as e:
        if e.errno != errno.EROFS or not lock.exists():
            raise
        return os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
