"""The output follows the belt through the gate, and a part that went through without it is told of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.gate.schedule import InFlight
from agent.gate.window import Windows, Wish
from agent.inspection import Part

DUE, COUNTS, LEAD = 100, 60, 20


def part(n: int = 1, due: int = DUE) -> InFlight:
    return InFlight(Part("boot", n), 0, 0, None, due)


def windows(*parts: InFlight) -> Windows:
    found = Windows(COUNTS, LEAD)
    for one in parts:
        found.reject(one)
    return found


@pytest.mark.parametrize(
    ("places", "wished"),
    [
        ([99, 100, 130, 159, 160], "OFF ON ON ON OFF"),
        ([100, 120, 120, 121], "STAY ON STAY ON"),
        ([100, 130, 90, 130], "STAY ON OFF ON"),
        ([110, 111, 110, 111, 110], "STAY ON STAY STAY STAY"),
        ([120, 118, 117, 118], "STAY ON ON STAY"),
    ],
    ids=["through", "stands and goes on", "turns back", "stands and its encoder trembles", "creeps back"],
)
def test_the_output_is_wanted_while_the_belt_moves_within_a_stretch(places: list[int], wished: str) -> None:
    through = windows(part())

    assert [through.moved(place, 0, is_on=True) for place in places] == [Wish[name] for name in wished.split()]


def test_the_output_goes_off_before_the_end_by_as_far_as_the_belt_comes_until_it_has_obeyed() -> None:
    through = windows(part())
    through.moved(DUE, 0, is_on=True)

    assert [through.moved(DUE + 49, 10, is_on=True), through.moved(DUE + 50, 10, is_on=True)] == [Wish.ON, Wish.OFF]


def test_a_belt_that_slows_down_after_the_output_went_off_has_it_on_again() -> None:
    through = windows(part())
    through.moved(DUE, 0, is_on=True)
    through.moved(DUE + 50, 10, is_on=True)

    assert through.moved(DUE + 51, 8, is_on=False) is Wish.ON


def test_the_output_stays_on_until_the_front_is_at_the_gate_however_fast_the_belt_comes() -> None:
    through = windows(part())
    through.moved(DUE, 0, is_on=True)

    assert [through.moved(DUE + LEAD - 1, 99, is_on=True), through.moved(DUE + LEAD, 99, is_on=True)] == [Wish.ON, Wish.OFF]


def test_an_encoder_that_trembles_is_not_told_of_as_a_belt_that_moved_with_the_output_off() -> None:
    one = part()
    through = windows(one)
    through.answered(one, at_ns=7, problem="")

    [through.moved(place, 0, is_on=False) for place in [DUE, DUE + 1] * 100]
    through.moved(DUE + COUNTS, 0, is_on=True)

    assert [gone.problem for gone in through.gone(through.place)] == [""]


def test_what_goes_by_after_the_output_was_let_go_is_not_told_of() -> None:
    one = part()
    through = windows(one)
    through.answered(one, at_ns=7, problem="")

    through.moved(DUE, 0, is_on=True)
    through.moved(DUE + COUNTS - LEAD - 5, LEAD + 5, is_on=True)
    through.moved(DUE + COUNTS, LEAD, is_on=False)

    assert [gone.problem for gone in through.gone(through.place)] == [""]


def test_a_part_is_gone_once_the_belt_has_passed_its_stretch_and_the_output_has_answered() -> None:
    one = part()
    through = windows(one)

    through.moved(DUE + COUNTS, 0, is_on=True)

    assert through.gone(through.place) == []
    through.answered(one, at_ns=7, problem="")
    assert [(gone.in_flight, gone.at_ns, gone.problem) for gone in through.gone(through.place)] == [(one, 7, "")]
    assert len(through) == 0


@pytest.mark.parametrize(("unguarded", "is_told"), [(LEAD, False), (LEAD + 1, True)], ids=["in time", "too late"])
def test_a_belt_that_moved_on_with_the_output_off_is_told_of(unguarded: int, is_told: bool) -> None:
    one = part()
    through = windows(one)
    through.answered(one, at_ns=7, problem="")

    through.moved(DUE, 0, is_on=True)
    through.moved(DUE + unguarded, 0, is_on=False)
    through.moved(DUE + COUNTS, 0, is_on=True)

    assert [bool(gone.problem) for gone in through.gone(through.place)] == [is_told]


@pytest.mark.parametrize(("unguarded", "is_told"), [((COUNTS - LEAD) // 2, False), ((COUNTS - LEAD) // 2 + 1, True)])
def test_behind_the_front_a_long_lead_forgives_nothing(unguarded: int, is_told: bool) -> None:
    one = part()
    through = Windows(COUNTS - LEAD + 500, 500)
    through.reject(one)
    through.answered(one, at_ns=7, problem="")
    front = DUE + 500

    through.moved(front, 0, is_on=True)
    through.moved(front + unguarded, 0, is_on=False)
    through.moved(front + COUNTS - LEAD, 0, is_on=True)

    assert [bool(gone.problem) for gone in through.gone(through.place)] == [is_told]


def test_a_belt_of_few_counts_that_goes_on_at_the_gate_is_not_told_of() -> None:
    one = part()
    through = Windows(3, 2)
    through.reject(one)
    through.answered(one, at_ns=7, problem="")

    through.moved(DUE + 2, 0, is_on=True)
    through.moved(DUE + 3, 0, is_on=False)

    assert [gone.problem for gone in through.gone(through.place)] == [""]


@pytest.mark.parametrize(("to", "says"), [(DUE, ""), (DUE + 1, "it is kept off"), (DUE + COUNTS, "it is kept off")])
def test_a_part_that_moves_through_the_gate_while_the_output_is_kept_off_is_told_of(to: int, says: str) -> None:
    one = part()
    through = windows(one)

    through.moved(DUE - 5, 0, is_on=False, why_off="it is kept off")
    through.moved(to, 0, is_on=False, why_off="it is kept off")
    through.moved(to, 0, is_on=True)
    through.answered(one, at_ns=7, problem="")
    through.moved(DUE + COUNTS, 0, is_on=True)

    assert [gone.problem for gone in through.gone(through.place)] == [says]


def test_an_output_that_fails_is_told_of_with_the_parts_in_the_gate_and_no_other() -> None:
    gone_by, in_it, to_come = part(1, due=DUE - COUNTS), part(2), part(3, due=DUE + 10)
    through = windows(gone_by, in_it, to_come)
    [through.answered(one, at_ns=7, problem="") for one in (gone_by, in_it, to_come)]
    through.moved(DUE + 5, 0, is_on=True)

    through.failed("coil 3 does not answer")
    through.moved(DUE + 10 + COUNTS, 0, is_on=True)

    assert [gone.problem for gone in through.gone(through.place)] == ["", "coil 3 does not answer", ""]


@given(st.lists(st.integers(-30, 60), max_size=60))
def test_every_part_leaves_once_however_the_belt_moves(steps: list[int]) -> None:
    parts = [part(n, due=50 * n) for n in range(1, 6)]
    through, place, left = windows(*parts), 0, []
    for one in parts:
        through.answered(one, at_ns=1, problem="")

    for step in [*steps, 10_000]:
        place += step
        through.moved(place, 0, is_on=True)
        left += [gone.in_flight for gone in through.gone(through.place)]

    assert sorted(one.part.n for one in left) == [1, 2, 3, 4, 5]


def test_nobody_knows_where_the_belt_is_clears_all_and_a_failed_output_its_part() -> None:
    first, second = part(1), part(2, due=300)
    through = windows(first, second)

    through.answered(first, None, "coil 3 does not answer")

    assert [(gone.in_flight, gone.problem) for gone in through.gone(through.place)] == [(first, "coil 3 does not answer")]
    assert through.clear() == [second]
