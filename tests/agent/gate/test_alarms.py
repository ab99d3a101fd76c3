"""Alarms of the gate: told once a minute, kept until taken, never a storm."""

from agent.gate.alarms import Alarms

MINUTE_NS = 60 * 10**9


def taken(alarms: Alarms) -> list[tuple[str, str]]:
    """(name, detail) of all that wait."""
    found = []
    while (alarm := alarms.next()) is not None:
        found.append((alarm.name, alarm.detail))
        alarms.taken()
    return found


def test_the_same_alarm_is_told_once_a_minute_and_others_at_once() -> None:
    alarms = Alarms("boot")

    for ns, name in [(0, "a"), (1, "a"), (2, "b"), (MINUTE_NS - 1, "a"), (MINUTE_NS, "a")]:
        alarms.add(name, f"at {ns}", ns)

    assert taken(alarms) == [("a", "at 0"), ("b", "at 2"), ("a", f"at {MINUTE_NS}")]


def test_an_alarm_that_was_not_taken_is_there_again_with_the_same_key() -> None:
    alarms = Alarms("boot")
    alarms.add("a", "once", 0)

    assert alarms.next() == alarms.next()


def test_an_alarm_is_told_to_each_who_comes_until_it_is_safe() -> None:
    alarms = Alarms("boot")
    alarms.add("a", "once", 0)
    told = alarms.next()
    assert told is not None
    to_the_first = taken(alarms)

    alarms.tell_again()
    to_the_next = taken(alarms)
    alarms.heeded((told.key,))
    alarms.tell_again()

    assert to_the_first == to_the_next == [("a", "once")]
    assert taken(alarms) == []


def test_no_two_alarms_have_one_key() -> None:
    alarms = Alarms("boot")
    alarms.add("a", "", 0)
    first = alarms.next()
    alarms.taken()
    alarms.add("a", "", MINUTE_NS)
    second = alarms.next()

    assert first is not None
    assert second is not None
    assert first.key != second.key


def test_after_a_reset_the_same_alarm_is_told_at_once() -> None:
    alarms = Alarms("boot")
    alarms.add("a", "before", 0)

    alarms.reset()
    alarms.add("a", "after", 1)

    assert taken(alarms) == [("a", "before"), ("a", "after")]


def test_those_that_nobody_takes_are_bounded_and_the_oldest_go() -> None:
    alarms = Alarms("boot")

    for n in range(70):
        alarms.add(f"alarm {n}", "", 0)

    kept = taken(alarms)
    assert (len(kept), kept[0][0], alarms.dropped) == (64, "alarm 6", 6)
