"""What the ejector process must not forget when it is killed: parts on the belt, and closed parts not yet in the outbox.

Appended to files with one write() a record and no fsync: a killed process loses nothing. Segments are rotated by size and deleted
as a whole once each of their parts is confirmed. A disk that hangs, is full or read-only costs the memory of a kill for as long
as it is, and never the line: what it did not take is written when it takes more.
"""

import logging
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import msgspec

from agent.gate.segments import Segments
from agent.inspection import Closed, Part

log = logging.getLogger(__name__)

_SEGMENT_BYTES = 1 << 22
_PATIENCE_S = 0.01


class _Boot(msgspec.Struct, frozen=True, tag="boot"):
    """First line of a segment: the machine boot that its times belong to."""

    machine: str


class Way(msgspec.Struct, frozen=True):
    """How a part comes to the gate, whatever comes after it. delay_ns: from its trigger to where the output must switch. recipe:
    as Closed has it."""

    delay_ns: int
    recipe: int | None


class _Opened(msgspec.Struct, frozen=True, tag="opened"):
    part: Part
    triggered_ns: int
    way: Way | None = None  # which older versions did not write


class _Closed(msgspec.Struct, frozen=True, tag="closed"):
    closed: Closed


class _Confirmed(msgspec.Struct, frozen=True, tag="confirmed"):
    parts: tuple[Part, ...]


_Record = _Boot | _Opened | _Closed | _Confirmed


class Journal:
    """The records of one station's gate.

    folder: where the segments are. machine: the machine's boot id; times of another boot mean nothing now.
    capacity: closed parts kept for an inspection process that does not come back; then the oldest are given up, counted.
    patience_s: so long a disk is waited for that hangs, once.
    """

    def __init__(
        self,
        folder: Path,
        machine: str,
        capacity: int = 20_000,
        segment_bytes: int = _SEGMENT_BYTES,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.unconfirmed: dict[Part, Closed] = {}
        self.ways: dict[Part, Way] = {}  # of the open parts, as far as they are known
        self.given_up = 0
        self.unreadable: list[str] = []  # segments set aside, by name
        self._machine = machine
        self._capacity = capacity
        self._segment_bytes = segment_bytes
        self._open_parts: dict[Part, tuple[int, bool]] = {}  # triggered_ns, of this machine boot
        self._segment_of: dict[Part, int] = {}
        self._alive: Counter[int] = Counter()
        self._segments = sorted(int(p.stem) for p in folder.glob("*.journal"))
        self._files = Segments(folder, msgspec.json.encode(_Boot(machine)), patience_s)
        for segment in self._segments:
            self._replay(segment)
        self._start_segment()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._files.close()

    @property
    def unwritten(self) -> int:
        """How often a disk that is full or read-only has refused something."""
        return self._files.refused

    @property
    def left_open(self) -> dict[Part, tuple[int, bool]]:
        """Parts that were on the belt: trigger instant, and whether that clock still runs (no reboot since)."""
        return dict(self._open_parts)

    def opened(self, part: Part, triggered_ns: int, way: Way | None = None) -> None:
        opened = _Opened(part, triggered_ns, way)
        self._write(opened)
        self._note_opened(opened, same_boot=True, segment=self._current)

    def closed(self, closed: Closed) -> None:
        self._write(_Closed(closed))
        self._note_closed(closed, self._current)
        if len(self.unconfirmed) > self._capacity:
            self._give_up(next(iter(self.unconfirmed)))

    def confirmed(self, parts: tuple[Part, ...]) -> None:
        self._write(_Confirmed(parts))
        self._note_confirmed(parts)
        self._delete_finished()

    def _give_up(self, part: Part) -> None:
        self.given_up += 1
        log.error("part %s: no inspection process took its record in time, given up (%d so far)", part, self.given_up)
        self.confirmed((part,))

    def _write(self, record: _Record) -> None:
        if self._handed_over > self._segment_bytes:  # before: a record belongs to the segment that is current after it
            self._start_segment()
        encoded = msgspec.json.encode(record)
        self._handed_over += len(encoded)
        self._files.append(self._current, encoded)

    def _start_segment(self) -> None:
        self._current = (self._segments[-1] if self._segments else 0) + 1
        self._segments.append(self._current)
        self._handed_over = 0
        self._delete_finished()

    def _delete_finished(self) -> None:
        """Drops leading segments none of whose parts is alive; later ones may hold the end of an earlier part."""
        while self._segments[0] != self._current and not self._alive[self._segments[0]]:
            finished = self._segments.pop(0)
            del self._alive[finished]
            self._files.delete(finished)

    def _replay(self, segment: int) -> None:
        same_boot = False
        file = self._files.path(segment)
        try:
            content = file.read_bytes()
        except OSError as e:  # a broken block of the disk: the gate must start all the same, and tell
            log.error("%s: cannot be read, set aside: %s", file, e.strerror)
            self.unreadable.append(file.name)
            with suppress(OSError):
                file.rename(file.with_suffix(".unreadable"))
            return
        for line in filter(None, content.splitlines()):
            try:
                record: _Record = msgspec.json.decode(line, type=_Record)
            except (msgspec.DecodeError, UnicodeDecodeError):
                log.warning("%s: an unreadable record of %d bytes is left out", file, len(line))
                continue
            match record:
                case _Boot(machine=machine):
                    same_boot = machine == self._machine
                case _Opened():
                    self._note_opened(record, same_boot, segment)
                case _Closed(closed=closed):
                    self._note_closed(closed, segment)
                case _Confirmed(parts=parts):
                    self._note_confirmed(parts)

    def _note_opened(self, opened: _Opened, same_boot: bool, segment: int) -> None:
        self._open_parts[opened.part] = (opened.triggered_ns, same_boot)
        if opened.way is not None:
            self.ways[opened.part] = opened.way
        self._segment_of[opened.part] = segment
        self._alive[segment] += 1

    def _note_closed(self, closed: Closed, segment: int) -> None:
        self._open_parts.pop(closed.part, None)
        self.ways.pop(closed.part, None)
        self.unconfirmed[closed.part] = closed
        if closed.part not in self._segment_of:
            self._segment_of[closed.part] = segment
            self._alive[segment] += 1

    def _note_confirmed(self, parts: tuple[Part, ...]) -> None:
        for part in parts:
            if self.unconfirmed.pop(part, None) is not None:
                self._alive[self._segment_of.pop(part)] -= 1
