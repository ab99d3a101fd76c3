"""What was measured on a part is kept until its event is durable, and no longer."""

from agent.inspection import Measured, Part
from agent.readings import NOBODY, Readings


def part(n: int) -> Part:
    return Part("boot", n)


def fill(readings: Readings, numbers: range) -> None:
    for n in numbers:
        readings.keep(part(n), (Measured("top", raw=float(n)),))


def test_readings_are_kept_until_their_event_is_durable() -> None:
    readings = Readings()
    fill(readings, range(2))

    readings.forget(part(0))

    assert readings.of(part(0)) == ((), NOBODY)
    assert readings.of(part(1)) == ((Measured("top", raw=1.0),), NOBODY)
    assert len(readings) == 1


def test_a_reading_is_still_there_when_its_part_is_reported_again() -> None:
    readings = Readings()
    fill(readings, range(1))

    first, again = readings.of(part(0)), readings.of(part(0))

    assert first == again == ((Measured("top", raw=0.0),), NOBODY)


def test_a_reading_that_comes_after_its_part_was_closed_is_not_kept() -> None:
    readings = Readings()
    readings.forget(part(0))

    fill(readings, range(1))

    assert len(readings) == 0


def test_readings_are_bounded_and_the_oldest_go_first() -> None:
    readings = Readings()

    fill(readings, range(2005))

    assert len(readings) == 2000
    assert readings.of(part(4))[0] == ()
    assert readings.of(part(5))[0] != ()
