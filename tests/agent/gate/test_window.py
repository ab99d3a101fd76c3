"""The output follows the belt through the gate, and a part that went through without it is told of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.gate.schedule import InFlight
from agent.gate.window import Windows
from agent.inspection import Part

DUE, COUNTS, SPARE = 100, 60, 20


def part(n: int = 1, due: int = DUE) -> InFlight:
    return InFlight(Part("boot", n), 0, 0, None, due)


def windows(*parts: InFlight) -> Windows:
    found = Windows(COUNTS, SPARE)
    for one in parts:
        found.reject(one)
    return found


@pytest.mark.parametrize(
    ("places", "wanted"),
    [
        ([99, 100, 130, 159, 160], [False, True, True, True, False]),
        ([100, 120, 120, 121], [False, True, False, True]),
        ([100, 130, 90, 130], [False, True, False, True]),
    ],
    ids=["through", "stands and goes on", "turns back"],
)
def test_the_output_is_wanted_while_the_belt_moves_within_a_stretch(places: list[int], wanted: list[bool]) -> None:
    through = windows(part())

    assert [through.moved(place, is_on=True) for place in places] == wanted


def test_a_part_is_gone_once_the_belt_has_passed_its_stretch_and_the_output_has_answered() -> None:
    one = part()
    through = windows(one)

    through.moved(DUE + COUNTS, is_on=True)

    assert through.gone() == []
    through.answered(one, at_ns=7, problem="")
    assert [(gone.in_flight, gone.at_ns, gone.problem) for gone in through.gone()] == [(one, 7, "")]
    assert len(through) == 0


@pytest.mark.parametrize(("unguarded", "is_told"), [(SPARE, False), (SPARE + 1, True)], ids=["in time", "too late"])
def test_a_belt_that_moved_on_with_the_output_off_is_told_of(unguarded: int, is_told: bool) -> None:
    one = part()
    through = windows(one)
    through.answered(one, at_ns=7, problem="")

    through.moved(DUE, is_on=True)
    through.moved(DUE + unguarded, is_on=False)
    through.moved(DUE + COUNTS, is_on=True)

    assert [bool(gone.problem) for gone in through.gone()] == [is_told]


@given(st.lists(st.integers(-30, 60), max_size=60))
def test_every_part_leaves_once_however_the_belt_moves(steps: list[int]) -> None:
    parts = [part(n, due=50 * n) for n in range(1, 6)]
    through, place, left = windows(*parts), 0, []
    for one in parts:
        through.answered(one, at_ns=1, problem="")

    for step in [*steps, 10_000]:
        place += step
        through.moved(place, is_on=True)
        left += [gone.in_flight for gone in through.gone()]

    assert sorted(one.part.n for one in left) == [1, 2, 3, 4, 5]


def test_nobody_knows_where_the_belt_is_clears_all_and_a_failed_output_its_part() -> None:
    first, second = part(1), part(2, due=300)
    through = windows(first, second)

    assert through.clear(first) == [first]
    assert through.clear() == [second]
