"""A device that is away is told of once, and said in the state for as long as it is."""

import pytest

from agent.gate.alarms import Alarms
from agent.gate.device_watch import DeviceWatch

S = 1_000_000_000


@pytest.fixture
def alarms() -> Alarms:
    return Alarms("boot")


def told(alarms: Alarms) -> list[str]:
    names = []
    while (alarm := alarms.next()) is not None:
        names.append(alarm.name)
        alarms.taken()
    return names


def test_one_that_is_away_for_a_night_is_one_alert(alarms: Alarms) -> None:
    watch = DeviceWatch(alarms)

    for s in range(0, 6 * 3600, 5):
        watch.look({"plc": f"silent for {s} s"}, s * S)

    assert told(alarms) == ["device-plc"]
    assert watch.words == "plc: silent for 5 s"


def test_one_that_comes_back_and_goes_again_is_told_again_but_not_within_the_minute(alarms: Alarms) -> None:
    watch = DeviceWatch(alarms)

    for s in range(600):  # away for five seconds of ten
        watch.look({"plc": "silent"} if s % 10 < 5 else {}, s * S)

    assert told(alarms) == ["device-plc"] * 10
    assert watch.words == ""


def test_a_moment_is_nothing_but_a_trigger_that_is_stuck_has_lasted_already(alarms: Alarms) -> None:
    watch = DeviceWatch(alarms)

    watch.look({"plc": "silent", "trigger-stuck": "on for 2 s"}, 5 * S)
    watch.look({"trigger-stuck": "on for 2.9 s"}, 5 * S + S - 1)

    assert told(alarms) == ["trigger-stuck"]
    assert watch.words == "trigger-stuck: on for 2 s"
