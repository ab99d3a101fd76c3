"""What the outbox keeps of an event, how much room that takes, and what it tells of events that are gone."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from agent.sections import Keep, KeepAll

Runs = tuple[tuple[int, int], ...]  # of numbers, both ends included

POWER_CUT = "power cut"  # what was lost had no number yet
NOT_KEPT = "not kept"  # why numbers are missing that were delivered long ago
PAGE_BYTES = 1024  # of the file; a commit of one event writes half of what it writes with 4096
_TOPIC = re.compile("[a-z]+(/[a-z]+)?")
_COLUMNS_BYTES = 36  # numbers and lengths in a row; about as much in the indexes


class Kind(IntEnum):
    """Classes of events, those that may go first first."""

    PASS = 0
    FAULT = 1
    REJECT = 2
    ALERT = 3


def keep_of(keep: KeepAll, kind: Kind) -> Keep:
    """How much of one class is kept."""
    return {Kind.PASS: keep.passes, Kind.FAULT: keep.fault, Kind.REJECT: keep.reject, Kind.ALERT: keep.alert}[kind]


@dataclass(frozen=True, slots=True)
class Row:
    """An event that is kept. stream, seq: its number. key: what it is about, the same for every copy of it."""

    stream: str
    seq: int
    key: str
    topic: str
    time: str
    data: bytes


def whole_row(stream: str, seq: int, key: Any, topic: Any, time: Any, data: Any) -> Row:
    """PURE  An event as a file gives it, whatever has become of the file: it can be published, and keeps no other one back.

    >>> whole_row("s", 7, "a1b2/7", "re\\0ult/pass", None, "{}")
    Row(stream='s', seq=7, key='a1b2/7', topic='result/reject', time='', data=b'{}')
    """
    where = _text(topic) if _TOPIC.fullmatch(_text(topic)) else "result/reject"  # a broker ends the connection over some letters
    return Row(stream, seq, _text(key), where, _text(time), data if isinstance(data, bytes) else _text(data).encode())


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return "" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Lost:
    """Numbers that no subscriber will see, and why. reason: `room`, `age`, `refused`, `power cut`, `corrupt`, `restored` or
    `not kept`: of those asked for, delivered so long ago that they are gone.

    count: events lost between first and last, None where nobody can know. runs: which ones, where others lie between them.
    """

    reason: str
    stream: str
    first: int
    last: int
    count: int | None
    kind: str = ""
    detail: str = ""
    runs: Runs = ()

    @classmethod
    def of(cls, reason: str, stream: str, runs: Runs, kind: str = "", detail: str = "") -> "Lost":
        """runs: exactly these, ascending, at least one."""
        count = sum(last - first + 1 for first, last in runs)
        return cls(reason, stream, runs[0][0], runs[-1][1], count, kind, detail, runs if len(runs) > 1 else ())

    @property
    def key(self) -> str:
        """Of the alert that tells of it, the same each time."""
        return f"lost/{self.reason}/{self.stream}/{self.first}-{self.last}"


def runs_of(numbers: Sequence[int]) -> Runs:
    """PURE  Ascending numbers, as the first and the last of those that follow each other.

    >>> runs_of([1, 2, 3, 7, 9, 10])
    ((1, 3), (7, 7), (9, 10))
    """
    starts = [k for k, number in enumerate(numbers) if k == 0 or number != numbers[k - 1] + 1]
    return tuple((numbers[a], numbers[b - 1]) for a, b in zip(starts, [*starts[1:], len(numbers)], strict=True))


@dataclass(frozen=True, slots=True)
class New:
    """An event to be kept."""

    key: str
    kind: Kind
    topic: str
    time: str
    data: bytes


def on_disk(event: New) -> int:
    """Bytes that the event takes in the file: whole pages where it does not share one, and its places in the indexes."""
    row = len(event.data) + len(event.key) + len(event.topic) + len(event.time) + _COLUMNS_BYTES
    rows_in_page = (PAGE_BYTES - 8) // row
    in_pages = PAGE_BYTES // rows_in_page if rows_in_page else PAGE_BYTES * math.ceil(row / (PAGE_BYTES - 4))
    return in_pages + 2 * len(event.key) + _COLUMNS_BYTES
