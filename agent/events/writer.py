"""The thread that writes the outbox: in group commits, off every other thread's way."""

import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from agent.clock import utc_now
from agent.events.change import Change, Changes
from agent.events.database import suspect
from agent.events.event import ALERT_TOPIC, lost_alert
from agent.events.memory import Entry, EventMemory
from agent.events.rows import Kind, Lost, New
from agent.events.store import EventStore

log = logging.getLogger(__name__)

_QUEUE = 4096  # events the writer may be behind; what does not fit stays in the ejector's journal
_GROUP = 256  # events in one commit
_MARKS_WAIT_S = 0.5  # a delivery is written with the next event, or after so long: each commit wears the disk
_RETRY_S = 1.0
_EVICT_EVERY = 500
_OF_THE_DISK = ("disk I/O error", "disk is full")  # SQLite's words: Python 3.10 gives no code


class Writer:
    """Opens the store and closes it at its end; what no disk takes meanwhile goes to the memory.

    opens: the store; called again and again while the disk is full or fails. Raises its other errors, at the beginning.
    trouble: why the disk takes nothing now, empty where it does. failure: what ended the thread, if it ended.
    """

    def __init__(self, file: Path, opens: Callable[[], EventStore], memory: EventMemory) -> None:
        self._file = file
        self._opens = opens
        self._store: EventStore | None = None
        self._memory = memory
        self.trouble = ""
        try:
            self._store = opens()
        except sqlite3.OperationalError as e:
            if not any(words in str(e) for words in _OF_THE_DISK):
                raise
            self.trouble = f"{file}: {e}"
            log.error("%s: not opened, tried again and again, events wait in memory: %s", file, e)
        self.failure: Exception | None = None
        self._entries: queue.Queue[Entry] = queue.Queue(_QUEUE)
        self._changes = Changes()
        self._changing = threading.Lock()
        self._stop = threading.Event()
        self._committed = threading.Condition()
        self._generation = 0
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Once all that was handed over is written, as far as the disk takes it."""
        self._stop.set()
        self._thread.join(timeout=10)

    @property
    def stream(self) -> str:
        """Names the sequence of the file's events; another one after a file put back from a backup was found out. While it
        cannot be opened, of those in memory."""
        return self._memory.stream if self._store is None else self._store.stream

    @property
    def is_open(self) -> bool:
        """Whether there is a file to be read."""
        return self._store is not None

    def offer(self, entry: Entry) -> bool:
        """An event to be written; False when there are too many already. Never waits."""
        try:
            self._entries.put_nowait(entry)
        except queue.Full:
            return False
        return True

    def change(self, change: Change) -> None:
        """What has become of events, to be written. Never waits."""
        with self._changing:
            self._changes.add(change)

    def wait_for_commit(self, seen: int, timeout_s: float) -> int:
        """Returns the number of the newest commit, at once if it is not `seen`, else after the next or the timeout."""
        with self._committed:
            self._committed.wait_for(lambda: self._generation != seen, timeout_s)
            return self._generation

    def _run(self) -> None:
        try:
            self._write_forever()
        except Exception as e:  # noqa: BLE001 - raised in the loop by check()
            self.failure = e
            mark_suspect(self._file)  # a number that is none may be an index that lies
        finally:
            if self._store is not None:
                self._store.close()

    def _write_forever(self) -> None:
        if self._store is not None:
            self._report(self._store)
        since_evict, retry_at_s = _EVICT_EVERY, 0.0
        while not (self._stop.is_set() and self._entries.empty() and not self._changes):
            entries = [] if self.trouble and self._memory.is_full else self._next_group()
            if (pause_s := retry_at_s - time.monotonic()) > 0 and not self._stop.is_set():
                self._memory.keep(entries)
                self._announce()
                if self._memory.is_full:
                    self._stop.wait(pause_s)
                continue
            untold = self._memory.untold()
            if not (untold or entries or self._changes or self.trouble):  # in trouble the disk is asked with nothing, too
                continue
            try:
                store = self._store = self._store or self._opens()
                self._commit(store, [*untold.values(), *entries])
                self._memory.forget(untold)
            except sqlite3.OperationalError as e:  # full, read-only, locked: the line goes on
                self._degrade(entries, e)
                retry_at_s = time.monotonic() + _RETRY_S
                if self._stop.is_set():
                    return
                continue
            self.trouble = ""
            self._report(store)
            since_evict += len(entries)
            if since_evict >= _EVICT_EVERY:
                since_evict = _EVICT_EVERY if self._evict(store) else 0

    def _degrade(self, entries: Sequence[Entry], error: sqlite3.OperationalError) -> None:
        """The disk takes nothing: events can be delivered from memory meanwhile."""
        self._memory.keep(entries)
        self._announce()
        self.trouble = f"{self._file}: {error}"
        log.error("%s: not written, tried again in %s s, %d events in memory: %s", self._file, _RETRY_S, len(self._memory), error)
        if self._store is not None:
            with contextlib.suppress(sqlite3.Error):
                self._store.rollback()

    def _next_group(self) -> list[Entry]:
        """Events to be written together: those that came during the last commit, or within the time that changes may wait."""
        entries: list[Entry] = []
        with contextlib.suppress(queue.Empty):
            if not self._stop.is_set():
                entries.append(self._entries.get(timeout=_MARKS_WAIT_S))
            while len(entries) < _GROUP:
                entries.append(self._entries.get_nowait())
        return entries

    def _commit(self, store: EventStore, entries: Sequence[Entry]) -> None:
        """With all changes; what the disk did not take is a change still to be written."""
        with self._changing:
            left, self._changes = self._changes, Changes()
        try:
            store.insert([New(e.key, e.kind, e.topic, e.time, e.data) for e in entries])
            still = left.write(store)
            store.commit()
            left = still
        finally:
            with self._changing:
                left.add_all(self._changes)
                self._changes = left
        for entry in entries:
            entry.on_durable(entry.key)
        self._announce()

    def _announce(self) -> None:
        with self._committed:
            self._generation += 1
            self._committed.notify_all()

    def _evict(self, store: EventStore) -> bool:
        """Whether more has to go; not before what has come meanwhile is written."""
        try:
            lost, is_more = store.evict()
            self._tell(store, lost)
            store.commit()
            return is_more
        except sqlite3.OperationalError as e:  # as in _write_forever; there will be a next time
            store.rollback()
            log.error("%s: nothing is deleted yet: %s", self._file, e)
            return False

    def _report(self, store: EventStore) -> None:
        try:
            self._tell(store, store.lost)
            store.lost = []
        except sqlite3.OperationalError as e:  # told after the next commit
            store.rollback()
            log.error("%s: not reported yet: %s", self._file, e)

    def _tell(self, store: EventStore, lost: Sequence[Lost]) -> None:
        """A number that nobody will see is itself an event, written together with what has made it so."""
        if not lost:
            return
        for one in lost:
            log.error("events lost: %s", one)
            store.insert([New(one.key, Kind.ALERT, ALERT_TOPIC, utc_now(), lost_alert(one))])
        store.commit()
        self._announce()


def mark_suspect(file: Path) -> None:
    """The next start looks at the whole file; so it does with a small one anyway, where not even this can be written."""
    with contextlib.suppress(OSError):
        suspect(file).touch()
