"""The timer trigger: each edge once, at its own instant."""

import time

from hypothesis import given
from hypothesis import strategies as st

from agent.triggers.timer import Config, Timer


@given(st.integers(1, 1000), st.integers(1, 50), st.lists(st.integers(0, 3000), min_size=1, max_size=40))
def test_every_edge_is_taken_exactly_once_whenever_one_looks(period_ns: int, count: int, waits: list[int]) -> None:
    timer = Timer(first_ns=100, period_ns=period_ns, count=count)
    looks = [sum(waits[: k + 1]) for k in range(len(waits))]

    taken = [edge for now_ns in [*looks, 10**9] for edge in timer.take(now_ns)]

    assert taken == [100 + k * period_ns for k in range(count)]


@given(st.integers(1, 1000), st.integers(0, 100_000))
def test_no_edge_is_given_before_its_instant(period_ns: int, now_ns: int) -> None:
    timer = Timer(first_ns=100, period_ns=period_ns, count=None)

    taken = timer.take(now_ns)

    assert all(edge <= now_ns for edge in taken)
    assert timer.wake_ns() == 100 + len(taken) * period_ns


def test_it_never_wakes_anybody_after_its_last_edge() -> None:
    timer = Timer(first_ns=10, period_ns=5, count=2)

    timer.take(100)

    assert timer.wake_ns() is None


def test_the_first_edge_comes_after_the_delay() -> None:
    before_ns = time.monotonic_ns()

    with Config(period_ms=10, delay_ms=500).open() as timer:
        first_ns = timer.wake_ns()

    assert first_ns is not None
    assert before_ns + 500e6 <= first_ns <= time.monotonic_ns() + 500e6
