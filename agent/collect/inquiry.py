"""PURE  Which missing events a collector asks its stations for, and when."""

from collections import defaultdict
from collections.abc import Sequence

from agent.collect.ledger import Gap

_GAP_IS_OLD_S = 2.0  # younger ones may close by themselves: live events overtake the backlog
_ASK_AGAIN_S, _AT_LAST_S = 10.0, 600.0  # each time after twice as long: some stations are gone for ever
_RANGE = 5000  # numbers asked for at once
_GAPS = 8  # of a stream, asked for at once: a station remembers few requests


class Inquiry:
    """What was asked for when."""

    def __init__(self) -> None:
        self._since_s: dict[tuple[str, int], float] = {}
        self._asked_s: dict[tuple[str, int], float] = {}
        self._pause_s: dict[tuple[str, int], float] = {}
        self._asked_to: dict[str, int] = {}

    def due(self, gaps: Sequence[Gap], now_s: float) -> list[Gap]:
        """What to ask for now, of each stream what was not asked for longest. gaps: all that there are.

        A gap is known by its first number: while events arrive, it begins later and later and is left alone.
        """
        standing = {(gap.stream, gap.first) for gap in gaps}
        self._since_s = {key: self._since_s.get(key, now_s) for key in standing}
        self._asked_s = {key: at_s for key, at_s in self._asked_s.items() if key in standing}
        self._pause_s = {key: self._pause_s[key] for key in self._asked_s}
        of_stream: dict[str, list[Gap]] = defaultdict(list)
        for gap in sorted(gaps, key=self._asked_at_s):
            if self._is_due(gap, now_s) and len(of_stream[gap.stream]) < _GAPS:
                of_stream[gap.stream].append(self._note(gap, now_s))
        return [gap for found in of_stream.values() for gap in found]

    def anew(self, stream: str) -> None:
        """Its station is there again, and has heard nothing of what it was asked meanwhile."""
        self._asked_s = {key: at_s for key, at_s in self._asked_s.items() if key[0] != stream}

    def _asked_at_s(self, gap: Gap) -> float:
        return self._asked_s.get((gap.stream, gap.first), float("-inf"))

    def _is_due(self, gap: Gap, now_s: float) -> bool:
        is_old = now_s - self._since_s[gap.stream, gap.first] >= _GAP_IS_OLD_S
        goes_on = self._asked_to.get(gap.stream) == gap.first - 1  # all before it was asked for, and came
        pause_s = self._pause_s.get((gap.stream, gap.first), 0.0)
        return (is_old or goes_on) and now_s - self._asked_at_s(gap) >= pause_s

    def _note(self, gap: Gap, now_s: float) -> Gap:
        asked = Gap(gap.stream, gap.topic, gap.first, min(gap.last, gap.first + _RANGE - 1))
        key = gap.stream, gap.first
        self._pause_s[key] = min(2 * self._pause_s[key], _AT_LAST_S) if key in self._asked_s else _ASK_AGAIN_S
        self._asked_s[key] = now_s
        self._asked_to[gap.stream] = asked.last
        return asked
