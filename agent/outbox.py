"""Events on their way to the broker, on disk: numbered without gaps, kept until delivered, one per part."""

import contextlib
import logging
import queue
import sqlite3
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

log = logging.getLogger(__name__)

_QUEUE = 4096  # requests the writer may be behind; what does not fit stays in the ejector's journal
_GROUP = 256  # requests in one commit
_RETRY_S = 1.0
_PRUNE_EVERY = 1000

_WAITING, _DELIVERED, _REFUSED = 0, 1, 2

_TABLES = """
CREATE TABLE IF NOT EXISTS stream (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    topic TEXT NOT NULL,
    time TEXT NOT NULL,
    data BLOB NOT NULL,
    state INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS waiting ON event (seq) WHERE state = 0;
"""


class OutboxError(Exception):
    """The outbox cannot be opened; the message names the file."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An event to be kept. key: what it is about; a second entry with the same key is the same event and is not kept.

    on_durable is called from the writer thread once it is on disk (or was there already).
    """

    key: str
    topic: str
    time: str
    data: bytes
    on_durable: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Row:
    """An event that is on disk."""

    seq: int
    topic: str
    time: str
    data: bytes


class Outbox:
    """One SQLite file (WAL, synchronous=FULL), written by one thread in group commits, off every other thread's way.

    keep_delivered: delivered events kept for replay. It must be larger than the ejector's journal, whose parts may
    come again and must be recognised.
    """

    def __init__(self, file: Path, keep_delivered: int = 50_000) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file
        self._keep_delivered = keep_delivered
        self._requests: queue.Queue[Entry | tuple[int, int]] = queue.Queue(_QUEUE)
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._committed = threading.Condition()
        self._generation = 0
        try:
            with self._connect() as db:
                db.execute("PRAGMA journal_mode=WAL")
                db.executescript(_TABLES)
                if db.execute("SELECT count(*) FROM stream").fetchone()[0] == 0:
                    db.execute("INSERT INTO stream VALUES (?)", (uuid.uuid4().hex,))
                db.commit()
                self.stream = str(db.execute("SELECT id FROM stream").fetchone()[0])
            db.close()
        except sqlite3.Error as e:
            raise OutboxError(f"{file}: cannot be opened as an outbox: {e}") from e
        self._reader = self._connect()
        self._writer = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._writer.start()

    def __enter__(self) -> "Outbox":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._writer.join(timeout=10)
        self._reader.close()

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

    def delivered(self, seq: int) -> None:
        """The broker has taken over this event."""
        self._requests.put((seq, _DELIVERED))

    def refused(self, seq: int) -> None:
        """The broker will never take this event; it is set aside so that those behind it move."""
        self._requests.put((seq, _REFUSED))

    def waiting(self, after: int, limit: int) -> Sequence[Row]:
        """Events not yet delivered with seq > after, oldest first. For one thread only."""
        query = "SELECT seq, topic, time, data FROM event WHERE state = 0 AND seq > ? ORDER BY seq LIMIT ?"
        return [Row(*row) for row in self._reader.execute(query, (after, limit))]

    def backlog(self) -> int:
        """How many events wait for delivery. For the thread that calls `waiting`."""
        return int(self._reader.execute("SELECT count(*) FROM event WHERE state = 0").fetchone()[0])

    def wait_for_commit(self, seen: int, timeout_s: float) -> int:
        """Returns the number of the newest commit, at once if it is not `seen`, else after the next or the timeout."""
        with self._committed:
            self._committed.wait_for(lambda: self._generation != seen, timeout_s)
            return self._generation

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._file, timeout=5.0, check_same_thread=False)
        db.execute("PRAGMA synchronous=FULL")
        return db

    def _run(self) -> None:
        try:
            self._write_forever()
        except Exception as e:  # noqa: BLE001 - raised in the loop by check()
            self._failure = e

    def _write_forever(self) -> None:
        db = self._connect()
        since_prune = 0
        while not (self._stop.is_set() and self._requests.empty()):
            group = self._next_group()
            while group:
                try:
                    self._commit(db, group)
                    break
                except sqlite3.OperationalError as e:  # disk full, read-only, locked: events stay in memory and in the journal
                    db.rollback()
                    log.error("%s: not written, tried again in %s s: %s", self._file, _RETRY_S, e)
                    if self._stop.wait(_RETRY_S):
                        return
            since_prune += len(group)
            if since_prune >= _PRUNE_EVERY:
                since_prune = 0
                self._prune(db)
        db.close()

    def _next_group(self) -> list[Entry | tuple[int, int]]:
        """What is there to be written, waiting a moment for the first; a commit takes all that came during the last one."""
        group: list[Entry | tuple[int, int]] = []
        with contextlib.suppress(queue.Empty):
            group.append(self._requests.get(timeout=0.2))
            while len(group) < _GROUP:
                group.append(self._requests.get_nowait())
        return group

    def _commit(self, db: sqlite3.Connection, group: list[Entry | tuple[int, int]]) -> None:
        entries = [request for request in group if isinstance(request, Entry)]
        marks = [request for request in group if not isinstance(request, Entry)]
        for entry in entries:
            row = (entry.key, entry.topic, entry.time, entry.data)
            db.execute(
                "INSERT INTO event (key, topic, time, data) SELECT ?1, ?2, ?3, ?4 "
                "WHERE NOT EXISTS (SELECT 1 FROM event WHERE key = ?1)",
                row,
            )
        db.executemany("UPDATE event SET state = ?2 WHERE seq = ?1", marks)
        db.commit()
        for entry in entries:
            entry.on_durable(entry.key)
        if entries:
            with self._committed:
                self._generation += 1
                self._committed.notify_all()

    def _prune(self, db: sqlite3.Connection) -> None:
        try:
            db.execute("DELETE FROM event WHERE state != 0 AND seq <= (SELECT max(seq) FROM event) - ?", (self._keep_delivered,))
            db.commit()
        except sqlite3.OperationalError as e:  # as in _write_forever; there will be a next time
            db.rollback()
            log.error("%s: delivered events are not deleted yet: %s", self._file, e)
