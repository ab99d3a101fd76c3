"""How late the pulses were: the figure that says whether this machine is good enough for its line."""

from collections import deque

_PULSES = 1000
_FEWEST = 100  # below that a 99th percentile is the maximum


class Lateness:
    """Of the last 1000 pulses, ms."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=_PULSES)

    def add(self, late_ns: int) -> None:
        self._last.append(late_ns / 1e6)

    def is_over(self, limit_ms: float) -> bool:
        """Whether the 99th percentile is; never before there are 100 pulses."""
        return len(self._last) >= _FEWEST and self.figures()["p99_ms"] > limit_ms

    def figures(self) -> dict[str, float]:
        """
        >>> late = Lateness(); late.add(2_000_000); late.add(1_000_000); late.figures()
        {'pulses': 2, 'p50_ms': 2.0, 'p99_ms': 2.0, 'max_ms': 2.0}
        """
        if not self._last:
            return {"pulses": 0}
        ordered = sorted(self._last)
        p50, p99 = ordered[len(ordered) // 2], ordered[int(0.99 * len(ordered))]
        return {"pulses": len(ordered), "p50_ms": round(p50, 3), "p99_ms": round(p99, 3), "max_ms": round(ordered[-1], 3)}
