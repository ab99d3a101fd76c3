"""A thread for a driver that has to wait for a network, so that the ejector process does not."""

import os
import select
import threading
from collections.abc import Callable
from types import TracebackType

_LEAVE_WITHIN_S = 5.0


class DriverThread:
    """Runs `work(stop)` from its entry to its exit. `ring` wakes the ejector process, which then finds `fileno` readable."""

    def __init__(self, name: str, work: Callable[[threading.Event], object]) -> None:
        self._work = work
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> "DriverThread":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(_LEAVE_WITHIN_S)
        if not self._thread.is_alive():  # else it may still ring
            os.close(self._bell)

    def fileno(self) -> int:
        return self._bell

    def ring(self) -> None:
        os.eventfd_write(self._bell, 1)

    def heard(self) -> None:
        """What rang is looked after; a thread that died is loud here: raises RuntimeError from what ended it."""
        if self._failure:
            raise RuntimeError(f"the thread {self._thread.name} stopped") from self._failure
        if select.select([self._bell], [], [], 0)[0]:
            os.eventfd_read(self._bell)

    def _run(self) -> None:
        try:
            self._work(self._stop)
        except Exception as e:  # noqa: BLE001 - raised in the ejector process by heard()
            self._failure = e
            self.ring()
