"""Where the belt was at an instant, and when it came to a place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.gate.belt import Belt

readings = st.lists(st.tuples(st.integers(1, 1000), st.integers(-50, 200)), min_size=2, max_size=30)


def belt_of(steps: list[tuple[int, int]], direction: int = 1) -> tuple[Belt, list[tuple[int, int]]]:
    """A belt that was read after each (ns, counts), and its readings as (ns, place)."""
    belt, ns, place, read = Belt(direction), 0, 0, []
    for later_ns, counts in steps:
        ns, place = ns + later_ns, place + counts
        belt.moved(direction * place, ns)
        read.append((ns, place))
    return belt, read


def test_before_its_first_reading_nobody_knows_where_it_is() -> None:
    belt = Belt(1)

    assert (belt.place, belt.at(5), belt.when(5)) == (None, None, None)


def test_between_two_readings_it_moves_evenly_and_afterwards_it_goes_on_for_as_long_as_between_two() -> None:
    belt, _ = belt_of([(100, 0), (100, 50)])

    assert [belt.at(ns) for ns in (50, 100, 150, 200, 250, 300, 10**9)] == [0, 0, 25, 50, 75, 100, 100]


def test_of_two_readings_of_one_instant_the_later_one_counts() -> None:
    belt = Belt(1)
    for place, ns in ((0, 1000), (10, 2000), (12, 2000)):
        belt.moved(place, ns)

    assert (belt.at(1500), belt.at(2000), belt.at(2500), belt.when(6)) == (6, 12, 18, 1500)


def test_a_belt_that_stands_is_where_it_was() -> None:
    belt, _ = belt_of([(100, 0), (100, 50), (100, 0), (100, 0), (100, 0)])

    assert [belt.at(ns) for ns in (200, 450, 500, 10**9)] == [50, 50, 50, 50]


def test_it_remembers_when_it_came_to_a_place_and_not_where_it_never_was() -> None:
    belt, _ = belt_of([(100, 0), (100, 50), (100, -30), (100, 60)])

    assert belt.when(20 + 30) == 300 + 50
    assert belt.when(81) is None
    assert belt.when(0) is None


def test_how_far_it_came_lately_is_nothing_where_it_stands_or_turned_back_or_was_never_read() -> None:
    running, _ = belt_of([(100, 0), (100, 50)])
    standing, _ = belt_of([(100, 0), (100, 50), (100, 0)])
    turned, _ = belt_of([(100, 100), (100, -30)])

    assert [belt.came(50) for belt in (running, standing, turned, Belt(1))] == [25, 0, 0, 0]
    assert [running.came(ns) for ns in (100, 10**9)] == [50, 50]


def test_an_encoder_that_counts_down_is_turned_round() -> None:
    belt, _ = belt_of([(100, 0), (100, 50)], direction=-1)

    assert belt.place == 50


@pytest.mark.parametrize("direction", [0, 2, -3])
def test_no_other_direction_is_taken(direction: int) -> None:
    with pytest.raises(ValueError, match="direction of 1 or -1"):
        Belt(direction)


@given(readings)
def test_at_each_reading_it_is_where_it_was_read(steps: list[tuple[int, int]]) -> None:
    belt, read = belt_of(steps)

    assert all(belt.at(ns) == place for ns, place in read)
    assert belt.place == read[-1][1]


@given(readings)
def test_the_instant_of_a_place_it_came_to_lies_in_what_was_read(steps: list[tuple[int, int]]) -> None:
    belt, read = belt_of(steps)

    came = [(place, belt.when(place)) for _, place in read[1:]]

    assert all(ns is None or read[0][0] <= ns <= read[-1][0] for _, ns in came)
