"""PURE  What a station counts of its parts, and the account that must add up; the page's process makes Prometheus text of it."""

import bisect
from collections import Counter, OrderedDict

from agent.inspection import Closed, Measured, Part

LATENCY_MS = (1.0, 2.0, 5.0, 10.0, 20.0, 35.0, 50.0, 75.0, 100.0, 150.0, 250.0, 500.0, 1000.0, 2500.0)
LATE_MS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
SCORES = (-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)

_REMEMBERED = 20_000  # parts of which a second report is known as such; the ejector's journal holds as many


class Histogram:
    """How many values were at most each of the bounds, and their sum."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect.bisect_left(self._bounds, value)] += 1
        self._sum += value

    @property
    def content(self) -> tuple[list[int], float]:
        """Counts of the values within each pair of bounds, the last one of those beyond all; and the sum."""
        return list(self._counts), self._sum


class Account:
    """Each triggered part ends exactly once. Times in ns of CLOCK_MONOTONIC.

    due_ns: after its trigger a part must have ended, and its end been told; None where an encoder says so: the belt may stand.
    What this process never heard the trigger of belongs to its predecessor's account, unless its number is missing between those
    that were announced to it.
    """

    def __init__(self, due_ns: int | None) -> None:
        self._due_ns = due_ns
        self._open: OrderedDict[Part, int] = OrderedDict()
        self._ended: OrderedDict[Part, None] = OrderedDict()
        self._newest: dict[str, int] = {}
        self.triggers = 0

    def opened(self, part: Part, now_ns: int) -> None:
        """A part was announced; the numbers left out between it and the one before were triggered as well."""
        first = self._newest.get(part.boot, part.n - 1) + 1
        for n in range(max(first, part.n - _REMEMBERED), part.n + 1):
            if Part(part.boot, n) not in self._ended:
                self._open[Part(part.boot, n)] = now_ns
                self.triggers += 1
        self._newest[part.boot] = max(self._newest.get(part.boot, 0), part.n)

    def ended(self, part: Part) -> bool:
        """False when its end was told before."""
        if part in self._ended:
            return False
        if self._open.pop(part, None) is None:
            self.triggers += 1
        self._ended[part] = None
        if len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
        return True

    def overdue(self, now_ns: int) -> int:
        """Parts that should have ended and have not: the difference of the account, which must be 0."""
        due_ns = self._due_ns
        return 0 if due_ns is None else sum(1 for since_ns in self._open.values() if now_ns - since_ns > due_ns)

    def in_flight(self, now_ns: int) -> int:
        """Parts on their way to the gate."""
        return len(self._open) - self.overdue(now_ns)


class Tally:
    """All that is counted of parts since the process began."""

    def __init__(self, due_ns: int | None) -> None:
        self.account = Account(due_ns)
        self.counts: Counter[str] = Counter()
        self.latency_ms = Histogram(LATENCY_MS)
        self.late_ms = Histogram(LATE_MS)
        self.scores = Histogram(SCORES)

    def took(self, measured: Measured) -> None:
        """A verdict was told to the gate."""
        if measured.latency_ms is not None:
            self.latency_ms.add(measured.latency_ms)
        if measured.score is not None:
            self.scores.add(measured.score)

    def closed(self, closed: Closed) -> bool:
        """A part has passed the gate; False when this was told before."""
        if not self.account.ended(closed.part):
            return False
        outcome, cause = closed.verdict.outcome.value, closed.verdict.cause.value
        self.counts[outcome] += 1
        self.counts[f"{outcome}/{cause}"] += 1
        if closed.actual_ns is not None:
            self.late_ms.add(max(0.0, (closed.actual_ns - closed.planned_ns) / 1e6))
        return True
