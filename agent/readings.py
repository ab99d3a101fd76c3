"""What was measured on each part, and by whom, until its event is durable."""

import threading
from collections import OrderedDict

from agent.inspection import Judge, Measured, Part

_READINGS = 2000
NOBODY = Judge()


class Readings:
    """What was measured on parts whose event is not durable yet; bounded: beyond that the oldest go, their events say less.

    judge: who measures from now on; each part's is remembered with what was measured.
    """

    def __init__(self, judge: Judge = NOBODY) -> None:
        self.judge = judge
        self._of: OrderedDict[Part, tuple[tuple[Measured, ...], Judge]] = OrderedDict()
        self._done: OrderedDict[Part, None] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._of)

    def keep(self, part: Part, measured: tuple[Measured, ...]) -> None:
        """Called before the gate is told; a part that was closed as late meanwhile is not kept any more."""
        with self._lock:
            if part in self._done:
                return
            self._of[part] = (measured, self.judge)
            if len(self._of) > _READINGS:
                self._of.popitem(last=False)

    def of(self, part: Part) -> tuple[tuple[Measured, ...], Judge]:
        """What was measured, and by whom; for a part that nobody has measured nothing, and who measures now.

        Still kept afterwards: a part may be reported again until it is confirmed.
        """
        with self._lock:
            return self._of.get(part, ((), self.judge))

    def forget(self, part: Part) -> None:
        with self._lock:
            self._of.pop(part, None)
            self._done[part] = None
            if len(self._done) > _READINGS:
                self._done.popitem(last=False)
