"""The account adds up: each triggered part ends once, and what does not is a number that is not 0."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.inspection import Cause, Closed, Measured, Outcome, Part, Verdict
from agent.observation.metrics import LATENCY_MS, Account, Histogram, Tally

DUE_NS = 1000


def part(n: int, boot: str = "boot") -> Part:
    return Part(boot, n)


def closed(n: int, outcome: Outcome = Outcome.PASS, cause: Cause = Cause.SCORE, late_ns: int | None = None) -> Closed:
    actual_ns = None if late_ns is None else 5_000_000 + late_ns
    return Closed(part(n), Verdict(outcome, cause, ""), 0, 5_000_000, actual_ns)


def test_a_part_that_has_not_ended_in_time_is_the_difference() -> None:
    account = Account(DUE_NS)
    account.opened(part(1), now_ns=0)
    account.opened(part(2), now_ns=500)
    account.ended(part(2))

    assert (account.in_flight(900), account.overdue(900)) == (1, 0)
    assert (account.in_flight(1001), account.overdue(1001)) == (0, 1)


def test_a_part_that_ends_too_late_makes_the_difference_0_again() -> None:
    account = Account(DUE_NS)
    account.opened(part(1), now_ns=0)
    account.ended(part(1))

    assert account.overdue(5000) == 0


def test_an_end_told_twice_counts_once() -> None:
    account = Account(DUE_NS)
    account.opened(part(1), now_ns=0)

    assert [account.ended(part(1)), account.ended(part(1))] == [True, False]
    assert account.triggers == 1


def test_a_number_left_out_is_a_part_that_was_triggered_and_must_end_too() -> None:
    account = Account(DUE_NS)
    account.opened(part(1), now_ns=0)
    account.opened(part(4), now_ns=10)
    [account.ended(part(n)) for n in (1, 3, 4)]

    assert account.triggers == 4
    assert account.overdue(2000) == 1


def test_parts_of_before_this_process_are_not_missing() -> None:
    account = Account(DUE_NS)
    account.opened(part(500), now_ns=0)
    account.ended(part(500))
    account.ended(part(499))

    assert account.triggers == 2
    assert account.overdue(9999) == 0


def test_ends_of_a_predecessors_parts_that_come_out_of_order_leave_nothing_open() -> None:
    account = Account(DUE_NS)
    [account.ended(part(n)) for n in (7, 4)]  # 5 and 6 passed, and were confirmed, before this process began
    account.opened(part(8), now_ns=0)
    account.ended(part(8))

    assert (account.triggers, account.overdue(9999)) == (3, 0)


def test_where_an_encoder_says_when_a_part_has_come_none_is_overdue_however_long_the_belt_stands() -> None:
    account = Account(None)
    account.opened(part(1), now_ns=0)

    assert (account.in_flight(10**15), account.overdue(10**15)) == (1, 0)


@given(st.lists(st.integers(1, 30), max_size=60), st.integers(0, 30), st.randoms(use_true_random=False))
def test_whatever_comes_in_whatever_order_triggers_are_ends_and_parts_in_flight(ends: list[int], newest: int, random) -> None:
    account = Account(DUE_NS)
    acts = [(lambda one: account.opened(one, 0), n) for n in range(1, newest + 1)] + [(account.ended, n) for n in ends]
    random.shuffle(acts)

    [act(part(n)) for act, n in acts]

    assert account.triggers == len(set(ends)) + account.in_flight(0)
    assert account.overdue(0) == 0


def test_a_histogram_has_each_value_in_one_place() -> None:
    histogram = Histogram((1.0, 2.0))

    [histogram.add(value) for value in (0.5, 1.0, 1.5, 99.0)]

    assert histogram.content == ([2, 1, 1], 102.0)


def test_a_tally_counts_what_really_happened_at_the_gate() -> None:
    tally = Tally(DUE_NS)
    tally.took(Measured("top", raw=1.0, score=0.5, p_value=0.5, latency_ms=30.0))

    tally.closed(closed(1))
    tally.closed(closed(2, Outcome.REJECT, Cause.LATE, late_ns=300_000))
    tally.closed(closed(2, Outcome.REJECT, Cause.LATE, late_ns=300_000))

    assert tally.counts == {"pass": 1, "pass/score": 1, "reject": 1, "reject/late": 1}
    assert tally.late_ms.content[1] == pytest.approx(0.3)
    assert tally.latency_ms.content[0][LATENCY_MS.index(35.0)] == 1
