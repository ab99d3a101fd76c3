"""One process per role and state folder: a second one would drive the same gate or write the same outbox."""

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
    descriptor = os.open(folder / f"{role}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise AlreadyRunningError(f"{folder}: a `kensa {role}` runs here already (process {holder})") from e
        with suppress(OSError):  # a full disk: the role is held all the same, only by whom is not said
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
