"""A thread for what may hang, a disk or a terminal: who hands it something waits a moment, and not at all while it hangs."""

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")

_LEAVE_WITHIN_S = 2.0


class PatientThread(Generic[T]):
    """Does `work` with one item after the other. most: that may wait; then older ones are dropped, counted.

    patience_s: how long `hand_over` waits where the thread is not behind already.
    """

    def __init__(self, name: str, work: Callable[[T], None], most: int, patience_s: float) -> None:
        self.dropped = 0
        self._work = work
        self._most = most
        self._patience_s = patience_s
        self._handed_over = self._done = 0
        self._items: queue.SimpleQueue[tuple[int, T] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_behind(self) -> bool:
        """Whether something that was handed over is not done."""
        return not self._is_done_within(0.0)

    def hand_over(self, item: T) -> bool:
        """Whether it is done. From one thread at a time. Raises RuntimeError from what ended the thread, if it ended."""
        if self._failure:
            raise RuntimeError(f"the thread {self._thread.name} stopped") from self._failure
        patience_s = 0.0 if self.is_behind else self._patience_s
        while self._items.qsize() >= self._most:
            self._items.get()
            self.dropped += 1
        self._handed_over += 1
        self._items.put((self._handed_over, item))
        return self._is_done_within(patience_s)

    def close(self) -> None:
        """Once all is done, if it does not hang."""
        self._items.put(None)
        self._thread.join(_LEAVE_WITHIN_S)

    def _is_done_within(self, patience_s: float) -> bool:
        until_s = time.monotonic() + patience_s
        with suppress(queue.Empty):
            while self._done < self._handed_over:
                self._done = self._answers.get(timeout=max(0.0, until_s - time.monotonic()))
        return self._done == self._handed_over

    def _run(self) -> None:
        try:
            while (handed_over := self._items.get()) is not None:
                n, item = handed_over
                self._work(item)
                self._answers.put(n)
        except Exception as e:  # noqa: BLE001 - raised by hand_over()
            self._failure = e
