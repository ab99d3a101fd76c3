"""Parts announced by another program of this machine: one datagram to a Unix socket is one part.

The datagram is empty, or the part's instant on CLOCK_MONOTONIC in ns as decimal digits: `echo -n | socat - UNIX-SENDTO:FILE`.
"""

import logging
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import msgspec

log = logging.getLogger(__name__)

_MOST_AT_ONCE = 256
_LONGEST_BYTES = 107  # of a Unix socket's path
_DIGITS = 20


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """path: of the socket; who may write to it may trigger."""

    path: str
    bounces: ClassVar[bool] = True  # the other program may hand on what a sensor says

    def __post_init__(self) -> None:
        if len(self.path.encode()) > _LONGEST_BYTES:
            raise ValueError(f"{self.path} is longer than the {_LONGEST_BYTES} bytes of a Unix socket's path")

    @contextmanager
    def open(self) -> Iterator["Software"]:
        path = Path(self.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.setblocking(False)
            listener.bind(self.path)
            path.chmod(0o660)
            yield Software(listener)


class Software:
    """What came to the socket."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener

    def take(self, now_ns: int) -> Sequence[int]:
        edges = []
        for _ in range(_MOST_AT_ONCE):
            try:
                said = self._listener.recv(_DIGITS + 1)
            except BlockingIOError:
                break
            edges.append(self._instant(said, time.monotonic_ns()))  # what was said since now_ns is not in the future
        return sorted(edges)

    def wake_ns(self) -> int | None:
        return None

    def filenos(self) -> Sequence[int]:
        return [self._listener.fileno()]

    def active_since_ns(self) -> int | None:
        return None

    def problem(self) -> str | None:
        return None

    def _instant(self, said: bytes, now_ns: int) -> int:
        """A part that says nothing sensible of its time is here now: it is a part in any case."""
        if said.strip().isdigit() and len(said) <= _DIGITS and 0 < int(said) <= now_ns:
            return int(said)
        if said:
            log.warning("trigger with %r instead of an instant in the past, taken as now", said)
        return now_ns
