"""The only place that reads the wall clock: for events and file names, never for control."""

from datetime import datetime, timezone
from pathlib import Path


def utc_now() -> str:
    """RFC 3339 with microseconds, such as 2026-11-21T09:30:00.000000Z."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")


def machine_boot() -> str:
    """Names this boot of the machine; CLOCK_MONOTONIC values of two boots cannot be compared."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
