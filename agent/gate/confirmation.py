"""Whether rejected parts really fell into the bin, by a sensor there."""

from collections import deque

from agent.inspection import Part

_MOST_WAITING = 1000


class Confirmation:
    """Ejected parts that the sensor behind the gate has not seen yet; each edge of it confirms the oldest. Times in ns.

    within_ns: how long after its pulse a part may need to the sensor. unexpected: edges that belong to no ejected part.
    """

    def __init__(self, within_ns: int) -> None:
        self.unexpected = 0
        self._within_ns = within_ns
        self._waiting: deque[tuple[int, int, Part]] = deque()

    def ejected(self, part: Part, from_ns: int, at_ns: int) -> None:
        """from_ns: when the part may first have left the belt; an output says only later (at_ns) that it was on."""
        self._waiting.append((from_ns, at_ns, part))

    def seen(self, edge_ns: int) -> None:
        """
        >>> sensor = Confirmation(100); sensor.ejected(Part("b", 1), 8, 10); sensor.seen(50); sensor.overdue(1000)
        []
        """
        if self._waiting and self._waiting[0][0] <= edge_ns:
            self._waiting.popleft()
        else:
            self.unexpected += 1

    def overdue(self, now_ns: int) -> list[Part]:
        """Takes off the list the parts that the sensor should have seen by now."""
        late = []
        while self._waiting and (self._waiting[0][1] + self._within_ns < now_ns or len(self._waiting) > _MOST_WAITING):
            late.append(self._waiting.popleft()[2])
        return late

    def wake_ns(self) -> int | None:
        return self._waiting[0][1] + self._within_ns + 1 if self._waiting else None
