"""Whatever frames get lost and however late parts are heard of: none is judged by another one's frame and left at that."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.cameras._matching import Doubt, Matching
from agent.cameras._source import Exposes, Frame

MS = 1_000_000
LONGEST_WAY, LATEST = 60, 80  # ms that a frame is on its way, and that Kensa's trigger is behind the camera's


@dataclass(frozen=True)
class Part:
    """In ms. gap: behind the part before. late: of Kensa's trigger behind the camera's. unheard: until anybody knows of it."""

    gap: int
    way: int
    late: int
    unheard: int
    loses_frame: bool = False


@dataclass(frozen=True)
class Way:
    """The shortest that a frame is on it, and how much longer the others are."""

    shortest: int
    more: int


def parts(gaps: st.SearchStrategy[int], loses_frame: st.SearchStrategy[bool], latest: int) -> st.SearchStrategy[list[Part]]:
    ways, unheard = st.integers(0, LONGEST_WAY), st.integers(0, 400)
    return st.lists(st.builds(Part, gaps, ways, st.integers(0, latest), unheard, loses_frame), min_size=2, max_size=12)


class Belt:
    """A cabled camera beside a belt, a ms at a time. given: whose frame each part got; called_back: parts that may not pass."""

    def __init__(self, coming: list[Part], shortest_way: int, delay: int, timeout: int, opens_after: int) -> None:
        self.given: dict[int, int] = {}
        self.called_back: set[int] = set()
        self._matching = Matching(Exposes.CABLED, delay, timeout)
        self._opens_after, self._opens_at, self._opened_at = opens_after, 0, 0
        self._waiting: deque[int] = deque()
        self._triggered: list[int] = []  # when, as Kensa knows it
        self._arrivals: dict[int, list[tuple[int, int]]] = {}  # of whose frames, and when they were exposed
        self._heard_at: list[int] = []
        exposed = heard = 0
        for n, part in enumerate(coming):
            exposed += part.gap
            heard = max(heard, exposed + part.late + part.unheard)
            self._triggered.append(exposed + part.late)
            self._heard_at.append(heard)
            self._arrivals.setdefault(exposed + shortest_way + part.way, []).extend([(n, exposed)] * (not part.loses_frame))
        self._ends = max(heard, exposed) + timeout + LONGEST_WAY + opens_after

    def run(self) -> "Belt":
        for now in range(self._ends):
            if now == self._opens_at:
                self._matching.opened(now * MS)
                self._opened_at = now
            for n, exposed in self._arrivals.get(now, []):
                if self._is_open(now) and exposed >= self._opened_at:
                    self._matching.came(Frame(np.full((1, 1, 3), n, np.uint8), "rgb8", now * MS))
            for n in [n for n, heard_at in enumerate(self._heard_at) if heard_at == now]:
                self._hear_of(n, now)
            while self._waiting and self._answer(self._waiting[0], now):
                self._waiting.popleft()
        return self

    def _is_open(self, now: int) -> bool:
        return now >= self._opens_at

    def _close(self, now: int) -> None:
        self._matching.clear()
        self._opens_at = now + self._opens_after

    def _hear_of(self, n: int, now: int) -> None:
        if (doubtful_ns := self._matching.heard(self._triggered[n] * MS)) is not None:
            self.called_back |= {k for k in self.given if self._triggered[k] * MS == doubtful_ns}
            self._close(now)
        self._waiting.append(n)

    def _answer(self, n: int, now: int) -> bool:
        """Whether the part has got its frame, or none."""
        triggered_ns = self._triggered[n] * MS
        if not self._is_open(now) or self._matching.came_before_opening(triggered_ns):
            return True
        taken = self._matching.take(triggered_ns)
        if isinstance(taken, Frame):
            assert not isinstance(taken.image, Doubt)
            self.given[n] = int(taken.image[0, 0, 0])  # type: ignore[index]
            return True
        missed = taken is None and now * MS >= self._matching.until_ns(triggered_ns)
        if isinstance(taken, Doubt) or missed:
            self._close(now)
        return isinstance(taken, Doubt) or missed

    def wrong(self) -> dict[int, int]:
        """Parts that pass, if they do, by another part's frame; with whose."""
        return {n: frame for n, frame in self.given.items() if frame != n and n not in self.called_back}


@given(
    parts(st.integers(5, 400), st.booleans(), LATEST),
    st.integers(0, 100),
    st.integers(0, 800),
    st.integers(1, 400),
)
def test_no_part_keeps_another_ones_frame_whatever_is_lost_and_however_late_parts_are_heard_of(
    coming: list[Part], shortest_way: int, patience: int, opens_after: int
) -> None:
    """delay_ms is the shortest way of a frame less the latest trigger, often below 0; timeout_ms anything beyond the longest."""
    delay, timeout = shortest_way - LATEST, shortest_way + LONGEST_WAY + patience + 1

    belt = Belt(coming, shortest_way, delay, timeout, opens_after).run()

    assert belt.wrong() == {}


@given(parts(st.integers(LONGEST_WAY + LATEST + 1, 500), st.just(False), LATEST), st.integers(0, 100), st.integers(0, 800))
def test_where_no_frame_is_lost_each_part_keeps_its_own(coming: list[Part], shortest_way: int, patience: int) -> None:
    """Parts are further from each other than frames and triggers may be late."""
    after_opening = [Part(500, 0, 0, 0), *coming]

    belt = Belt(after_opening, shortest_way, shortest_way - LATEST, shortest_way + LONGEST_WAY + patience + 1, 1).run()

    assert belt.given == {n: n for n in range(len(after_opening))}
    assert belt.called_back == set()
