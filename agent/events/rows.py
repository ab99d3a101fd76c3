"""What the outbox keeps of an event, how much room that takes, and what it tells of events that are gone."""

import math
from dataclasses import dataclass
from enum import IntEnum

from agent.sections import Keep, KeepAll

PAGE_BYTES = 1024  # of the file; a commit of one event writes half of what it writes with 4096
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


@dataclass(frozen=True, slots=True)
class Lost:
    """Numbers that no subscriber will see, and why. reason: `room`, `age`, `refused`, `power cut`, `corrupt` or `restored`.

    count: events lost between first and last, None where nobody can know.
    """

    reason: str
    stream: str
    first: int
    last: int
    count: int | None
    kind: str = ""
    detail: str = ""

    @property
    def key(self) -> str:
        """Of the alert that tells of it, the same each time."""
        return f"lost/{self.reason}/{self.stream}/{self.first}-{self.last}"


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
