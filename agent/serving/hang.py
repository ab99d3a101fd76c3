"""An inspection that hangs ends its process: the kernel does it, whatever the process itself can still do.

A timer is armed before a part is looked at and disarmed after it: two system calls, about a microsecond. When it runs out,
SIGALRM writes where every thread stands into a file, without the interpreter, and ends the process. The gate rejects its parts
meanwhile, the supervisor starts it again, and the successor finds the file and tells of it. Measurements: docs/decisions.md 7.
"""

import faulthandler
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FILE = "hung.txt"
SHORTEST_S = 1.0  # a machine may pause that long without anything being wrong


@dataclass(frozen=True, slots=True)
class HangWatch:
    """limit_s: how long a part may take. left: where the process before stood when it hung, empty when it did not."""

    limit_s: float
    left: str

    @contextmanager
    def limited(self) -> Iterator[None]:
        """The process ends when the block takes longer. One block at a time in a process."""
        signal.setitimer(signal.ITIMER_REAL, self.limit_s)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def hang_watch(state: Path, limit_s: float) -> Iterator[HangWatch]:
    """For the whole life of a process, in its main thread."""
    file = state / FILE
    state.mkdir(parents=True, exist_ok=True)
    left = file.read_text(errors="replace") if file.exists() else ""
    with file.open("w") as trace:
        faulthandler.register(signal.SIGALRM, file=trace, all_threads=True, chain=True)
        try:
            yield HangWatch(limit_s, left)
        finally:
            faulthandler.unregister(signal.SIGALRM)
    file.unlink(missing_ok=True)
