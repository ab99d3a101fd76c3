"""The output's time: as wide as was asked for, never longer than is allowed, off at the end."""

from hypothesis import given
from hypothesis import strategies as st

from agent.gate.pulse import Pulse

WIDTH, GAP, LONGEST = 30, 20, 200


def pulse() -> Pulse:
    return Pulse(WIDTH, GAP, LONGEST)


def on_times(rejects: list[int]) -> list[tuple[int, int]]:
    """(on, off) of the output for rejects at these instants, looked at every nanosecond, until nothing happens any more."""
    one, on, found = pulse(), None, []
    for now in range(rejects[-1] + 2 * LONGEST):
        for _ in range(rejects.count(now)):
            on = now if on is None else on
            one.reject(now)
        if one.is_over(now) and on is not None:
            found.append((on, now))
            one.ended(now)
            on = None
    assert not one.is_on
    return found


instants = st.lists(st.integers(0, 800), min_size=1, max_size=40).map(sorted)


def test_a_pulse_is_on_for_its_width() -> None:
    assert on_times([100]) == [(100, 130)]


def test_a_reject_during_a_pulse_makes_it_longer() -> None:
    one = pulse()
    one.reject(100)
    one.reject(120)

    assert (one.off_ns, one.merged) == (150, 1)


def test_an_output_that_was_slow_to_come_on_stays_on_for_its_width() -> None:
    one = pulse()
    one.reject(100)

    one.confirmed(115)

    assert one.off_ns == 145


def test_a_reject_before_the_gap_is_over_comes_in_time_and_is_counted() -> None:
    one = pulse()
    one.reject(0)
    one.ended(30)

    one.reject(30 + GAP - 1)

    assert (one.is_on, one.short_gaps) == (True, 1)


def test_a_gap_that_is_long_enough_is_not_counted() -> None:
    one = pulse()
    one.reject(0)
    one.ended(30)

    one.reject(30 + GAP)

    assert one.short_gaps == 0


def test_holding_over_never_shortens_a_pulse_and_does_nothing_to_an_output_that_is_off() -> None:
    on, off = pulse(), pulse()
    on.reject(0)

    on.hold_over(10)
    off.hold_over(10)

    assert (on.off_ns, off.off_ns) == (30, None)


def test_a_pulse_that_is_let_go_ends_after_its_width_and_not_when_it_was_held_over_to() -> None:
    one = pulse()
    one.reject(0)
    one.hold_over(150)
    held_ns = one.off_ns

    one.let_go()

    assert (held_ns, one.off_ns) == (150, 30)


def test_what_a_pulse_was_held_over_to_is_forgotten_at_its_end() -> None:
    one = pulse()
    one.reject(0)
    one.hold_over(150)
    one.ended(160)

    one.reject(170)

    assert one.off_ns == 200


def test_no_hold_makes_a_pulse_longer_than_is_allowed() -> None:
    one = pulse()
    one.reject(0)

    one.hold_over(LONGEST + 1)

    assert one.off_ns == LONGEST


def test_a_reject_so_late_in_a_long_pulse_that_its_width_does_not_fit_is_cut() -> None:
    one = pulse()
    one.reject(0)

    cut = [one.is_cut(ns) for ns in (LONGEST - WIDTH, LONGEST - WIDTH + 1, LONGEST)]
    one.ended(LONGEST)

    assert (cut, one.is_cut(LONGEST)) == ([False, True, True], True)


@given(instants)
def test_the_output_is_never_on_for_longer_than_is_allowed(rejects: list[int]) -> None:
    assert all(off - on <= LONGEST for on, off in on_times(rejects))


@given(instants)
def test_the_output_is_on_at_each_reject(rejects: list[int]) -> None:
    times = on_times(rejects)

    assert all(any(on <= ns <= off for on, off in times) for ns in rejects)


@given(instants)
def test_no_pulse_is_shorter_than_its_width(rejects: list[int]) -> None:
    assert all(off - on >= WIDTH for on, off in on_times(rejects))
