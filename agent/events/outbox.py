"""Events on their way to the broker: numbered without gaps, one per part, on disk until delivered and some time longer.

While the disk takes nothing, events wait in memory under a stream of their own; they count as durable only once delivered, so
that the ejector's journal keeps them until then.
"""

import contextlib
import functools
import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from agent.clock import utc_now
from agent.error import OutageError
from agent.events.change import Acknowledged, Disowned, Mark
from agent.events.database import connect
from agent.events.event import ALERT_TOPIC, alert, lost_alert
from agent.events.memory import Entry, EventMemory
from agent.events.rows import NOT_KEPT, Kind, Lost, Row, whole_row
from agent.events.salvage import open_or_replace
from agent.events.store import DELIVERED, REFUSED, SENT
from agent.events.writer import Writer, mark_suspect
from agent.sections import KeepAll

log = logging.getLogger(__name__)

_EVENT_COLUMNS = "seq, key, topic, time, data"
_EXPLAINED = 200  # events between which numbers are missing that are told of in one alert


class OutboxError(OutageError):
    """The outbox cannot be opened; the message names the file."""


class Outbox:
    """The events of one station. keep: how much of them. machine: names the boot of the machine. told_as: station and topic; an
    outbox of others is taken over.

    Raises OutboxError where there can be no file at all; a broken one is set aside and what it held is saved, and one on a disk
    that is full or fails is opened once that is over: a line that was stopped must be able to start.
    """

    def __init__(self, file: Path, keep: KeepAll | None = None, machine: str = "", told_as: str = "") -> None:
        self._file = file
        self._memory = EventMemory()
        self._disowned = self._not_read = ""
        self._reader: sqlite3.Connection | None = None
        opens = functools.partial(open_or_replace, file, keep or KeepAll(), machine, told_as)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._writer = Writer(file, opens, self._memory)
        except (sqlite3.Error, OSError) as e:
            raise OutboxError(f"{file}: cannot be opened as an outbox: {e}") from e
        with contextlib.suppress(sqlite3.OperationalError):  # then it is opened when something is to be read
            self._reader = connect(file) if self._writer.is_open else None

    def __enter__(self) -> "Outbox":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._writer.close()
        if self._reader is not None:
            self._reader.close()

    @property
    def stream(self) -> str:
        """Names the sequence of the file's events; while it cannot be opened, of those in memory."""
        return self._writer.stream

    @property
    def memory_stream(self) -> str:
        """Names the sequence of the events in memory."""
        return self._memory.stream

    @property
    def trouble(self) -> str:
        """Why the disk takes or gives nothing now, empty where it does."""
        return self._writer.trouble or self._not_read

    def check(self) -> None:
        """Raises what ended the writer thread, if it ended."""
        if self._writer.failure:
            raise OutboxError(f"{self._file}: writer stopped") from self._writer.failure

    def put(self, entry: Entry) -> bool:
        """Hands an event to the writer; False when it is too far behind: offer it again later. Never waits."""
        return self._writer.offer(entry)

    def delivered(self, row: Row) -> None:
        """The event has reached where it must go."""
        self._settle(row, DELIVERED)

    def refused(self, row: Row, reason: str) -> None:
        """The broker will never take this event; it is set aside, with an alert, so that those behind it move."""
        self._settle(row, REFUSED)
        if row.topic != ALERT_TOPIC:  # an alert for each refused alert would never end
            lost = Lost("refused", row.stream, row.seq, row.seq, 1, detail=f"{row.key}: {reason}")
            self.alert(lost.key, lost_alert(lost))

    def alert(self, key: str, data: bytes, on_durable: Callable[[str], None] = lambda key: None) -> None:
        """An alert among the events, once for each key; where the writer is too far behind there is only the log."""
        self.put(Entry(key, Kind.ALERT, ALERT_TOPIC, utc_now(), data, on_durable))

    def sent(self, row: Row) -> None:
        """The broker has taken the event over; the collector that must have it has not said so yet."""
        self._settle(row, SENT)

    def acknowledged(self, seq: int, stream: str = "") -> None:
        """The collector has every event of the stream up to this number; those that were not sent are sent even so. stream: which
        may have just ended; empty: this one.

        A number that was never given out ends the stream: this file was put back from a backup. `stream` is another then.
        """
        self._writer.change(Acknowledged(stream or self.stream, seq))

    def is_anothers(self, seq: int, key: str) -> bool:
        """Whether the event of this number and key, in this stream, is none of these; False too where nobody can say. For one
        thread only."""
        found = self._read("SELECT seq, (SELECT key FROM event WHERE seq = ?) FROM sqlite_sequence", seq)
        return bool(found) and (seq > found[0][0] or found[0][1] not in (None, key))

    def disown(self, stream: str, detail: str) -> None:
        """Others number events in this stream too: another begins, in which all is told again that nobody has acknowledged."""
        if stream == self._disowned:
            return
        self._disowned = stream
        log.error("stream %s: %s; another begins", stream, detail)
        self.alert(f"stream-of-another/{stream}/{self.memory_stream}", alert("stream-of-another", detail))
        self._writer.change(Disowned(stream))

    def acknowledged_in_memory(self, seq: int) -> None:
        """The same of the events in memory, for which the gate's journal waits."""
        self._memory.settle(0, seq)

    def waiting(self, after: int, limit: int, last: int | None = None) -> Sequence[Row]:
        """Events not yet delivered with after < seq (<= last), oldest first. For one thread only."""
        up_to = 2**63 - 1 if last is None else last
        query = f"SELECT {_EVENT_COLUMNS} FROM event WHERE state = 0 AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
        return [whole_row(self.stream, *row) for row in self._read(query, after, up_to, limit)]

    def kept(self, after: int, limit: int, last: int) -> Sequence[Row]:
        """Events with after < seq <= last, delivered ones too, as far as they are still kept. For one thread only.

        Not the refused ones: each time they are sent the connection may end.
        """
        query = f"SELECT {_EVENT_COLUMNS} FROM event WHERE seq > ? AND seq <= ? AND state != {REFUSED} ORDER BY seq LIMIT ?"
        return [whole_row(self.stream, *row) for row in self._read(query, after, last, limit)]

    def not_kept(self, first: int) -> Lost | None:
        """Numbers from this one on that were given out and are gone, as far as one alert can say; None where none are. For one
        thread only."""
        kept_from = f"SELECT 1, seq FROM event WHERE seq >= ? ORDER BY seq LIMIT {_EXPLAINED}"  # a refused one has its own alert
        found = self._read(f"SELECT 0, seq FROM sqlite_sequence UNION ALL SELECT * FROM ({kept_from})", first)  # both, or nothing
        newest = max((int(seq) for is_kept, seq in found if not is_kept), default=0)
        kept = sorted(int(seq) for is_kept, seq in found if is_kept)
        known = kept if len(kept) == _EXPLAINED else [*kept, newest + 1]
        gone = tuple((a + 1, b - 1) for a, b in zip([first - 1, *known[:-1]], known, strict=True) if b - a > 1)
        return Lost.of(NOT_KEPT, self.stream, gone, detail="delivered long ago") if gone else None

    def number_of(self, key: str) -> int | None:
        """Of the event with this key, if it is kept. For one thread only."""
        found = self._read("SELECT seq FROM event WHERE key = ?", key)
        return int(found[0][0]) if found else None

    def unacknowledged(self, limit: int) -> Sequence[Row]:
        """Events that the broker has and the collector has not acknowledged yet, oldest first. For one thread only."""
        query = f"SELECT {_EVENT_COLUMNS} FROM event WHERE state = {SENT} ORDER BY seq LIMIT ?"
        return [whole_row(self.stream, *row) for row in self._read(query, limit)]

    def in_memory(self, after: int, limit: int) -> Sequence[Row]:
        """Events that no disk has taken, with after < seq in the memory's own stream."""
        return self._memory.waiting(after, limit)

    def newest(self) -> int:
        """The highest number given out. For the thread that calls `waiting`."""
        rows = self._read("SELECT seq FROM sqlite_sequence")
        return int(rows[0][0]) if rows else 0

    def backlog(self) -> int:
        """How many events wait for delivery. For the thread that calls `waiting`."""
        counted = self._read("SELECT count(*) FROM event WHERE state = 0")
        return (int(counted[0][0]) if counted else 0) + len(self._memory)

    def wait_for_commit(self, seen: int, timeout_s: float) -> int:
        """Returns the number of the newest commit, at once if it is not `seen`, else after the next or the timeout."""
        return self._writer.wait_for_commit(seen, timeout_s)

    def _read(self, query: str, *values: int | str) -> list[tuple[Any, ...]]:
        """Raises OutboxError where the file is broken: the next start sets it aside and saves what can be read."""
        if not self._writer.is_open:
            return []
        try:
            if self._reader is None:
                self._reader = connect(self._file)
            rows = self._reader.execute(query, values).fetchall()
        except sqlite3.OperationalError as e:  # another one writes, or the disk is away: nothing to be read now
            log.error("%s: not read: %s", self._file, e)
            self._not_read = f"{self._file}: not read: {e}"
            return []
        except sqlite3.DatabaseError as e:
            mark_suspect(self._file)
            raise OutboxError(f"{self._file}: broken: {e}") from e
        self._not_read = ""
        return rows

    def _settle(self, row: Row, state: int) -> None:
        if row.stream == self._memory.stream:
            if state != SENT:
                self._memory.settle(row.seq, row.seq)
        elif row.stream == self.stream:
            self._writer.change(Mark(row.seq, row.seq, state))
