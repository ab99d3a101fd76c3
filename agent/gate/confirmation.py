"""Whether rejected parts really fell into the bin, by a sensor there."""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

from agent.inspection import Part

_MOST_WAITING = 1000


@dataclass(slots=True)
class _Awaited:
    """since_ns: from when its time runs; None while a belt still has to bring it through the gate."""

    part: Part
    from_ns: int
    since_ns: int | None


class Confirmation:
    """Ejected parts that the sensor behind the gate has not seen yet; each edge of it confirms the oldest. Times in ns.

    within_ns: how long a part may need to the sensor, from its pulse, with a belt from when that has brought it through the gate.
    unexpected: edges that belong to no ejected part.
    """

    def __init__(self, within_ns: int) -> None:
        self.unexpected = 0
        self._within_ns = within_ns
        self._waiting: deque[_Awaited] = deque()

    def ejected(self, part: Part, from_ns: int, at_ns: int | None) -> None:
        """from_ns: when the part may first have left the belt; an output says only later (at_ns) that it was on. at_ns: None
        where `through` follows."""
        self._waiting.append(_Awaited(part, from_ns, at_ns))

    def through(self, part: Part, now_ns: int) -> None:
        """The belt has brought it through the gate, if it is still awaited."""
        for awaited in self._waiting:
            if awaited.part == part:
                awaited.since_ns = now_ns

    def forget(self, parts: Collection[Part]) -> None:
        """Nobody knows any more when they come through."""
        self._waiting = deque(one for one in self._waiting if one.part not in parts)

    def seen(self, edge_ns: int) -> None:
        """
        >>> sensor = Confirmation(100); sensor.ejected(Part("b", 1), 8, 10); sensor.seen(50); sensor.overdue(1000)
        []
        """
        if self._waiting and self._waiting[0].from_ns <= edge_ns:
            self._waiting.popleft()
        else:
            self.unexpected += 1

    def overdue(self, now_ns: int) -> list[Part]:
        """Takes off the list the parts that the sensor should have seen by now."""
        late = []
        while self._waiting and (self._is_late(self._waiting[0], now_ns) or len(self._waiting) > _MOST_WAITING):
            late.append(self._waiting.popleft().part)
        return late

    def wake_ns(self) -> int | None:
        since_ns = self._waiting[0].since_ns if self._waiting else None
        return None if since_ns is None else since_ns + self._within_ns + 1

    def _is_late(self, awaited: _Awaited, now_ns: int) -> bool:
        return awaited.since_ns is not None and awaited.since_ns + self._within_ns < now_ns
