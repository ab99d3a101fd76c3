"""What was raised is cleared once, also by the process after the one that raised it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from waiting import wait_until

from agent.observation.alarm_watch import AlarmWatch

Told = list[tuple[str, str]]


@contextmanager
def watch(file: Path, told: Told) -> Iterator[AlarmWatch]:
    one = AlarmWatch(lambda name, state, words: told.append((name, state)), file)
    yield one
    one.close()


def test_an_alarm_that_is_over_after_a_restart_is_cleared_and_one_that_lasts_is_not_raised_again(tmp_path: Path) -> None:
    told: Told = []
    with watch(tmp_path / "alarms.json", told) as before:
        before.look({"slow": "...", "record": "disk full"})
    told.clear()

    with watch(tmp_path / "alarms.json", told) as after:
        after.look({"record": "disk full"})
        after.look({})

    assert told == [("slow", "cleared"), ("record", "cleared")]
    assert (tmp_path / "alarms.json").read_bytes() == b"{}"


def test_one_that_was_killed_had_kept_what_it_raised(tmp_path: Path) -> None:
    told: Told = []
    killed = AlarmWatch(lambda *_: None, tmp_path / "alarms.json")
    killed.look({"slow": "..."})
    wait_until((tmp_path / "alarms.json").exists)

    with watch(tmp_path / "alarms.json", told) as after:
        after.look({})

    killed.close()
    assert told == [("slow", "cleared")]


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff"])
def test_a_broken_file_costs_the_memory_and_nothing_else(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "alarms.json").write_bytes(content)
    told: Told = []

    with watch(tmp_path / "alarms.json", told) as after:
        after.look({"slow": "..."})

    assert told == [("slow", "raised")]


def test_a_disk_that_refuses_the_file_does_not_keep_alarms_from_being_told(tmp_path: Path) -> None:
    told: Told = []

    with watch(tmp_path / "nowhere" / "alarms.json", told) as refused:
        refused.look({"slow": "..."})
        refused.look({})

    assert told == [("slow", "raised"), ("slow", "cleared")]
