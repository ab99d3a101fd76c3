"""The wall clock as events write it, and the name of this boot."""

import re
import time
from datetime import datetime, timezone

import pytest

from agent.clock import Clock, clock_state, machine_boot, now, utc_now


def test_the_time_is_utc_with_microseconds() -> None:
    now = utc_now()

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", now)
    read = datetime.strptime(now, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    assert abs((datetime.now(timezone.utc) - read).total_seconds()) < 60


def test_the_boot_has_one_name_until_the_next() -> None:
    assert machine_boot() == machine_boot() != ""


@pytest.mark.parametrize(
    ("year", "status", "max_error_us", "state"),
    [
        (2026, 0x1, 20_000, Clock.SYNCED),
        (2026, 0x2041, 20_000, Clock.UNSYNCED),
        (2026, 0x1, 3_000_000, Clock.HOLDOVER),
        (1970, 0x1, 20_000, Clock.UNSYNCED),
    ],
    ids=["NTP keeps it", "the kernel says no", "not set right for an hour", "before this program was written"],
)
def test_the_clock_is_believed_as_far_as_the_kernel_does_and_the_year_can_be(
    year: int, status: int, max_error_us: int, state: Clock
) -> None:
    assert clock_state(datetime(year, 11, 21, tzinfo=timezone.utc), status, max_error_us) is state


def test_an_instant_has_both_clocks() -> None:
    before_ns = time.monotonic_ns()

    instant = now("boot")

    assert before_ns <= instant.mono_ns <= time.monotonic_ns()
    assert instant.boot_id == "boot"
    assert instant.clock in Clock
