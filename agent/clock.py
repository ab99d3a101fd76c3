"""The only place that reads the wall clock: for events and file names, never for control."""

import ctypes
import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum
from pathlib import Path

_WRITTEN = datetime(2026, 1, 1, tzinfo=timezone.utc)  # this program is not older: a clock that is has never been set
_UNSYNC = 0x40  # STA_UNSYNC of adjtimex(2)
_WORDS = 64  # of struct timex, and more
_STATUS, _MAX_ERROR = 5, 3  # where they stand in it; the words before are as wide as a long on every Linux
_LIBC = ctypes.CDLL(None)
_HOLDOVER_US = 2_000_000  # the kernel adds 500 us a second to its largest error: nobody has set it right for an hour


class Clock(Enum):
    """How far the wall clock can be believed. HOLDOVER: it was set right once, and not for about an hour."""

    SYNCED = "synced"
    UNSYNCED = "unsynced"
    HOLDOVER = "holdover"


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment. utc: as the wall clock had it, RFC 3339. mono_ns: CLOCK_MONOTONIC of the machine's boot `boot_id`."""

    utc: str
    clock: Clock
    mono_ns: int
    boot_id: str


def utc() -> datetime:
    """What the wall clock shows."""
    return datetime.now(timezone.utc)


def utc_now() -> str:
    """RFC 3339 with microseconds, such as 2026-11-21T09:30:00.000000Z."""
    return _text(utc())


def now(boot_id: str) -> Instant:
    """This moment. boot_id: of `machine_boot`, which needs no second reading."""
    shown = utc()
    return Instant(_text(shown), clock_state(shown, *_kernel()), time.monotonic_ns(), boot_id)


def clock_state(shown: datetime, status: int, max_error_us: int) -> Clock:
    """PURE  What the kernel's word about its clock is worth.

    >>> clock_state(datetime(1970, 1, 1, tzinfo=timezone.utc), 0, 1000)
    <Clock.UNSYNCED: 'unsynced'>
    """
    if status & _UNSYNC or shown < _WRITTEN:
        return Clock.UNSYNCED
    return Clock.HOLDOVER if max_error_us > _HOLDOVER_US else Clock.SYNCED


def corrected(told: str, mono_ns: int, later: Instant) -> str | None:
    """PURE  The UTC time of an earlier moment of the same boot as `later`, by the clock of `later`; None where it is no other.

    >>> later = Instant("2026-11-21T09:30:10.000000Z", Clock.SYNCED, 15_000_000_000, "boot")
    >>> corrected("1970-01-01T00:00:05.000000Z", 5_000_000_000, later)
    '2026-11-21T09:30:00.000000Z'
    """
    right = _moment(later.utc) - timedelta(microseconds=(later.mono_ns - mono_ns) // 1000)
    return _text(right) if abs(right - _moment(told)) > timedelta(seconds=1) and right >= _WRITTEN else None


def machine_boot() -> str:
    """Names this boot of the machine; CLOCK_MONOTONIC values of two boots cannot be compared."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _kernel() -> tuple[int, int]:
    """Status and largest error (us) of the kernel's clock, which NTP keeps; unsynchronized where it cannot be asked."""
    words = (ctypes.c_long * _WORDS)()  # all zero: nothing is to be changed
    if _LIBC.adjtimex(words) < 0:
        return _UNSYNC, 0
    return ctypes.c_int.from_buffer(words, _STATUS * ctypes.sizeof(ctypes.c_long)).value, words[_MAX_ERROR]


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
