"""Slow verdicts are an alarm for as long as they are slow."""

from agent.observation.pressure import Pressure

MS = 1_000_000


def test_a_belt_that_has_emptied_is_not_slow_for_ever() -> None:
    pressure = Pressure(due_ns=400 * MS)
    [pressure.took(360.0, n * 100 * MS) for n in range(100)]
    slow = pressure.is_on

    pressure.look(19_899 * MS)
    still = pressure.is_on
    pressure.look(19_900 * MS)

    assert (slow, still, pressure.is_on) == (True, True, False)
