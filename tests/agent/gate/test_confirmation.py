"""The sensor behind the gate: each ejected part is seen once, or missed."""

from agent.gate.confirmation import Confirmation
from agent.inspection import Part

WITHIN = 100


def part(n: int) -> Part:
    return Part("boot", n)


def test_each_edge_confirms_the_oldest_part() -> None:
    sensor = Confirmation(WITHIN)
    sensor.ejected(part(1), 0, 10)
    sensor.ejected(part(2), 20, 30)

    sensor.seen(40)

    assert sensor.overdue(10 + WITHIN + 1) == []
    assert sensor.overdue(30 + WITHIN + 1) == [part(2)]


def test_a_part_is_overdue_once_and_only_when_its_time_is_over() -> None:
    sensor = Confirmation(WITHIN)
    sensor.ejected(part(1), 0, 10)

    assert sensor.wake_ns() == 10 + WITHIN + 1
    assert [sensor.overdue(ns) for ns in (10 + WITHIN, 10 + WITHIN + 1, 10**9)] == [[], [part(1)], []]
    assert sensor.wake_ns() is None


def test_an_edge_before_its_part_could_have_left_the_belt_belongs_to_nobody() -> None:
    sensor = Confirmation(WITHIN)
    sensor.seen(5)
    sensor.ejected(part(1), 20, 30)

    sensor.seen(19)

    assert sensor.unexpected == 2
    assert sensor.overdue(1000) == [part(1)]


def test_parts_that_wait_are_bounded() -> None:
    sensor = Confirmation(WITHIN)
    waiting = [sensor.ejected(part(n), 0, 10) for n in range(1005)]

    assert len(waiting) - len(sensor.overdue(10)) == 1000


def test_the_time_of_a_part_that_a_belt_brings_begins_when_it_is_through() -> None:
    sensor = Confirmation(WITHIN)
    [sensor.ejected(part(n), from_ns=10 * n, at_ns=None) for n in (1, 2, 3)]
    sensor.through(part(1), 5000)
    sensor.through(part(9), 5000)  # seen long ago

    assert sensor.wake_ns() == 5000 + WITHIN + 1
    assert sensor.overdue(5000 + WITHIN) == []
    assert sensor.overdue(5000 + WITHIN + 1) == [part(1)]
    assert (sensor.overdue(10**12), sensor.wake_ns()) == ([], None)  # the others are not through


def test_parts_of_which_nobody_knows_where_they_are_do_not_stand_in_the_way_of_later_ones() -> None:
    sensor = Confirmation(WITHIN)
    sensor.ejected(part(1), from_ns=10, at_ns=None)
    sensor.forget({part(1)})
    sensor.ejected(part(2), from_ns=20, at_ns=30)

    sensor.seen(40)

    assert sensor.overdue(1000) == []
