"""Events on their way to the broker: numbered without gaps, one per part, on disk until delivered and some time longer.

One thread writes, in group commits, off every other thread's way. While the disk takes nothing, events wait in memory under
a stream of their own; they count as durable only once delivered, so that the ejector's journal keeps them until then.
"""

import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from agent.clock import utc_now
from agent.events.change import Acknowledged, Change, Changes, Mark
from agent.events.event import ALERT_TOPIC, lost_alert
from agent.events.memory import Entry, EventMemory
from agent.events.rows import Kind, Lost, New, Row
from agent.events.salvage import open_or_replace
from agent.events.store import DELIVERED, REFUSED, SENT, connect, suspect
from agent.sections import KeepAll

log = logging.getLogger(__name__)

_QUEUE = 4096  # requests the writer may be behind; what does not fit stays in the ejector's journal
_GROUP = 256  # requests in one commit
_MARKS_WAIT_S = 0.5  # a delivery is written with the next event, or after so long: each commit wears the disk
_RETRY_S = 1.0
_EVICT_EVERY = 500
_EVENT_COLUMNS = "seq, key, topic, time, data"


class OutboxError(Exception):
    """The outbox cannot be opened; the message names the file."""


class Outbox:
    """The events of one station. keep: how much of them. machine: names the boot of the machine.

    Raises OutboxError where there can be no file at all; a broken one is set aside and what it held is saved.
    """

    def __init__(self, file: Path, keep: KeepAll | None = None, machine: str = "") -> None:
        self._file = file
        self._requests: queue.Queue[Entry | Change] = queue.Queue(_QUEUE)
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._committed = threading.Condition()
        self._generation = 0
        self._memory = EventMemory()
        self.trouble = ""
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._store = open_or_replace(file, keep or KeepAll(), machine)
            self._reader = connect(file)
        except (sqlite3.Error, OSError) as e:
            raise OutboxError(f"{file}: cannot be opened as an outbox: {e}") from e
        self._writer = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._writer.start()

    def __enter__(self) -> "Outbox":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._writer.join(timeout=10)
        self._reader.close()

    @property
    def stream(self) -> str:
        """Names the sequence of the file's events."""
        return self._store.stream

    def check(self) -> None:
        """Raises what ended the writer thread, if it ended."""
        if self._failure:
            raise OutboxError(f"{self._file}: writer stopped") from self._failure

    def put(self, entry: Entry) -> bool:
        """Hands an event to the writer; False when it is too far behind: offer it again later. Never waits."""
        try:
            self._requests.put_nowait(entry)
        except queue.Full:
            return False
        return True

    def delivered(self, row: Row) -> None:
        """The event has reached where it must go."""
        self._settle(row, DELIVERED)

    def refused(self, row: Row, reason: str) -> None:
        """The broker will never take this event; it is set aside, with an alert, so that those behind it move."""
        self._settle(row, REFUSED)
        if row.topic != ALERT_TOPIC:  # an alert for each refused alert would never end
            lost = Lost("refused", row.stream, row.seq, row.seq, 1, detail=f"{row.key}: {reason}")
            self.alert(_key(lost), lost_alert(lost))

    def alert(self, key: str, data: bytes) -> None:
        """An alert among the events, once for each key; where the writer is too far behind there is only the log."""
        self.put(Entry(key, Kind.ALERT, ALERT_TOPIC, utc_now(), data, lambda key: None))

    def sent(self, row: Row) -> None:
        """The broker has taken the event over; the collector that must have it has not said so yet."""
        self._settle(row, SENT)

    def acknowledged(self, seq: int) -> None:
        """The collector has every event of the stream up to this number.

        A number that was never given out ends the stream: this file was put back from a backup. `stream` is another then.
        """
        self._requests.put(Acknowledged(self.stream, seq))

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
        with self._committed:
            self._committed.wait_for(lambda: self._generation != seen, timeout_s)
            return self._generation

    def _read(self, query: str, *values: int) -> list[tuple[Any, ...]]:
        """Raises OutboxError where the file is broken: the next start sets it aside and saves what can be read."""
        try:
            return self._reader.execute(query, values).fetchall()
        except sqlite3.OperationalError as e:  # another one writes, or the disk is away: nothing to be read now
            log.error("%s: not read: %s", self._file, e)
            return []
        except sqlite3.DatabaseError as e:
            self._suspect()
            raise OutboxError(f"{self._file}: broken: {e}") from e

    def _suspect(self) -> None:
        """The next start looks at the whole file; so it does with a small one anyway, where not even this can be written."""
        with contextlib.suppress(OSError):
            suspect(self._file).touch()

    def _settle(self, row: Row, state: int) -> None:
        if row.stream == self.stream:
            self._requests.put(Mark(row.seq, row.seq, state))
        elif row.stream == self._memory.stream and state != SENT:
            self._memory.settle(row.seq)

    def _run(self) -> None:
        try:
            self._write_forever()
        except sqlite3.DatabaseError as e:
            self._failure = e
            self._suspect()
        except Exception as e:  # noqa: BLE001 - raised in the loop by check()
            self._failure = e
        finally:
            self._store.close()

    def _write_forever(self) -> None:
        self._report()
        changes = Changes()
        since_evict, retry_at_s = _EVICT_EVERY, 0.0
        while not (self._stop.is_set() and self._requests.empty()):
            entries = [] if self._memory.is_full else self._next_group(changes)
            if (pause_s := retry_at_s - time.monotonic()) > 0 and not self._stop.is_set():
                self._memory.keep(entries)
                self._announce()
                if self._memory.is_full:
                    self._stop.wait(pause_s)
                continue
            untold = self._memory.untold()
            if not untold and not entries and not changes:
                continue
            try:
                changes = self._commit([*untold.values(), *entries], changes)
                self._memory.forget(untold)
            except sqlite3.OperationalError as e:  # full, read-only, locked: the line goes on
                self._degrade(entries, e)
                retry_at_s = time.monotonic() + _RETRY_S
                if self._stop.is_set():
                    return
                continue
            self.trouble = ""
            self._report()
            since_evict += len(entries)
            if since_evict >= _EVICT_EVERY:
                since_evict = 0
                self._evict()

    def _degrade(self, entries: Sequence[Entry], error: sqlite3.OperationalError) -> None:
        """The disk takes nothing: events can be delivered from memory meanwhile."""
        self._memory.keep(entries)
        self._announce()
        self.trouble = f"{self._file}: {error}"
        log.error("%s: not written, tried again in %s s, %d events in memory: %s", self._file, _RETRY_S, len(self._memory), error)
        with contextlib.suppress(sqlite3.Error):
            self._store.rollback()

    def _next_group(self, changes: Changes) -> list[Entry]:
        """Events to be written together, those that came during the last commit; deliveries are added to `changes`."""
        entries: list[Entry] = []
        until_s = time.monotonic() + _MARKS_WAIT_S
        with contextlib.suppress(queue.Empty):
            while not entries and len(changes) < _GROUP and not self._stop.is_set():
                _sort(self._requests.get(timeout=max(0.0, until_s - time.monotonic())), entries, changes)
            while len(entries) < _GROUP:
                _sort(self._requests.get_nowait(), entries, changes)
        return entries

    def _commit(self, entries: Iterable[Entry], changes: Changes) -> Changes:
        """Gives those changes that need another commit."""
        self._store.insert([New(e.key, e.kind, e.topic, e.time, e.data) for e in entries])
        left = changes.write(self._store)
        self._store.commit()
        for entry in entries:
            entry.on_durable(entry.key)
        self._announce()
        return left

    def _announce(self) -> None:
        with self._committed:
            self._generation += 1
            self._committed.notify_all()

    def _evict(self) -> None:
        try:
            self._tell(self._store.evict())
            self._store.commit()
        except sqlite3.OperationalError as e:  # as in _write_forever; there will be a next time
            self._store.rollback()
            log.error("%s: nothing is deleted yet: %s", self._file, e)

    def _report(self) -> None:
        try:
            self._tell(self._store.lost)
            self._store.lost = []
        except sqlite3.OperationalError as e:  # told after the next commit
            self._store.rollback()
            log.error("%s: not reported yet: %s", self._file, e)

    def _tell(self, lost: Sequence[Lost]) -> None:
        """A number that nobody will see is itself an event, written together with what has made it so."""
        if not lost:
            return
        for one in lost:
            log.error("events lost: %s", one)
            self._store.insert([New(_key(one), Kind.ALERT, ALERT_TOPIC, utc_now(), lost_alert(one))])
        self._store.commit()
        self._announce()


def _sort(request: Entry | Change, entries: list[Entry], changes: Changes) -> None:
    if isinstance(request, Entry):
        entries.append(request)
    else:
        changes.add(request)


def _key(lost: Lost) -> str:
    return f"lost/{lost.reason}/{lost.stream}/{lost.first}-{lost.last}"
