"""Events on their way to the broker: numbered without gaps, one per part, on disk until delivered and some time longer.

While the disk takes nothing, events wait in memory under a stream of their own; they count as durable only once delivered, so
that the ejector's journal keeps them until then.
"""

import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from agent.clock import utc_now
from agent.events.change import Acknowledged, Mark
from agent.events.event import ALERT_TOPIC, lost_alert
from agent.events.memory import Entry, EventMemory
from agent.events.rows import Kind, Lost, Row
from agent.events.salvage import open_or_replace
from agent.events.store import DELIVERED, REFUSED, SENT, connect
from agent.events.writer import Writer, mark_suspect
from agent.sections import KeepAll

log = logging.getLogger(__name__)

_EVENT_COLUMNS = "seq, key, topic, time, data"


class OutboxError(Exception):
    """The outbox cannot be opened; the message names the file."""


class Outbox:
    """The events of one station. keep: how much of them. machine: names the boot of the machine.

    Raises OutboxError where there can be no file at all; a broken one is set aside and what it held is saved.
    """

    def __init__(self, file: Path, keep: KeepAll | None = None, machine: str = "") -> None:
        self._file = file
        self._memory = EventMemory()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            store = open_or_replace(file, keep or KeepAll(), machine)
            self._reader = connect(file)
        except (sqlite3.Error, OSError) as e:
            raise OutboxError(f"{file}: cannot be opened as an outbox: {e}") from e
        self._writer = Writer(file, store, self._memory)

    def __enter__(self) -> "Outbox":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._writer.close()
        self._reader.close()

    @property
    def stream(self) -> str:
        """Names the sequence of the file's events."""
        return self._writer.stream

    @property
    def trouble(self) -> str:
        """Why the disk takes nothing now, empty where it does."""
        return self._writer.trouble

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

    def acknowledged(self, seq: int) -> None:
        """The collector has every event of the stream up to this number.

        A number that was never given out ends the stream: this file was put back from a backup. `stream` is another then.
        """
        self._writer.change(Acknowledged(self.stream, seq))

    def waiting(self, after: int, limit: int, last: int | None = None) -> Sequence[Row]:
        """Events not yet delivered with after < seq (<= last), oldest first. For one thread only."""
        up_to = 2**63 - 1 if last is None else last
        query = f"SELECT {_EVENT_COLUMNS} FROM event WHERE state = 0 AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
        return [Row(self.stream, *row) for row in self._read(query, after, up_to, limit)]

    def kept(self, after: int, limit: int, last: int) -> Sequence[Row]:
        """Events with after < seq <= last, delivered ones too, as far as they are still kept. For one thread only.

        Not the refused ones: each time they are sent the connection may end.
        """
        query = f"SELECT {_EVENT_COLUMNS} FROM event WHERE seq > ? AND seq <= ? AND state != {REFUSED} ORDER BY seq LIMIT ?"
        return [Row(self.stream, *row) for row in self._read(query, after, last, limit)]

    def unacknowledged(self, limit: int) -> Sequence[Row]:
        """Events that the broker has and the collector has not acknowledged yet, oldest first. For one thread only."""
        query = f"SELECT {_EVENT_COLUMNS} FROM event WHERE state = {SENT} ORDER BY seq LIMIT ?"
        return [Row(self.stream, *row) for row in self._read(query, limit)]

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

    def _read(self, query: str, *values: int) -> list[tuple[Any, ...]]:
        """Raises OutboxError where the file is broken: the next start sets it aside and saves what can be read."""
        try:
            return self._reader.execute(query, values).fetchall()
        except sqlite3.OperationalError as e:  # another one writes, or the disk is away: nothing to be read now
            log.error("%s: not read: %s", self._file, e)
            return []
        except sqlite3.DatabaseError as e:
            mark_suspect(self._file)
            raise OutboxError(f"{self._file}: broken: {e}") from e

    def _settle(self, row: Row, state: int) -> None:
        if row.stream == self.stream:
            self._writer.change(Mark(row.seq, row.seq, state))
        elif row.stream == self._memory.stream and state != SENT:
            self._memory.settle(row.seq)
