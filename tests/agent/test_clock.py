"""The wall clock as events write it, and the name of this boot."""

import re
from datetime import datetime, timezone

from agent.clock import machine_boot, utc_now


def test_the_time_is_utc_with_microseconds() -> None:
    now = utc_now()

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", now)
    read = datetime.strptime(now, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    assert abs((datetime.now(timezone.utc) - read).total_seconds()) < 60


def test_the_boot_has_one_name_until_the_next() -> None:
    assert machine_boot() == machine_boot() != ""
