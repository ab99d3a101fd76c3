"""A thread for a driver that has to wait for a network, so that the ejector process does not."""

import os
import select
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

_LEAVE_WITHIN_S = 5.0

T = TypeVar("T")


class DriverThread(Generic[T]):
    """Runs `work(stop)` from its entry to its exit. What it tells wakes the ejector process, which then finds `fileno` readable.

    error: raised by `heard` once the thread has died. most: what is told and not heard; of more the oldest goes.
    """

    def __init__(
        self, name: str, work: Callable[[threading.Event], object], error: type[Exception], most: int | None = None
    ) -> None:
        self._work = work
        self._error = error
        self._told: deque[T] = deque(maxlen=most)
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> "DriverThread[T]":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(_LEAVE_WITHIN_S)
        if not self._thread.is_alive():  # else it may still ring
            os.close(self._bell)

    def fileno(self) -> int:
        return self._bell

    def tell(self, *told: T) -> None:
        """For the thread: it waits for nobody."""
        self._told.extend(told)
        os.eventfd_write(self._bell, 1)

    @property
    def unheard(self) -> int:
        return len(self._told)

    def heard(self) -> list[T]:
        """What was told since the last call, oldest first; a thread that died is loud here."""
        if self._failure:
            raise self._error(f"the thread {self._thread.name} stopped: {self._failure}") from self._failure
        if select.select([self._bell], [], [], 0)[0]:
            os.eventfd_read(self._bell)
        return [self._told.popleft() for _ in range(len(self._told))]

    def _run(self) -> None:
        try:
            self._work(self._stop)
        except Exception as e:  # noqa: BLE001 - raised in the ejector process by heard()
            self._failure = e
            self.tell()
