"""The outbox's file: how it is laid out, opened and found to be whole."""

import contextlib
import sqlite3
import uuid
from pathlib import Path

from agent.damaged import damaged_text
from agent.events.rows import PAGE_BYTES

_VERSION = 2
_WAL_BYTES = 1 << 22  # that the journal beside the file keeps when it was longer
_SMALL_BYTES = 1 << 25  # read through in a tenth of a second
_TABLES = f"""
CREATE TABLE stream (id TEXT NOT NULL, operated_s REAL NOT NULL, machine TEXT NOT NULL, is_closed INTEGER NOT NULL);
CREATE TABLE event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    kind INTEGER NOT NULL,
    topic TEXT NOT NULL,
    time TEXT NOT NULL,
    operated_s REAL NOT NULL,
    bytes INTEGER NOT NULL,
    data BLOB NOT NULL,
    state INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX waiting ON event (seq) WHERE state = 0;
CREATE INDEX unsettled ON event (seq) WHERE state IN (0, 3);
CREATE INDEX of_kind ON event (kind, state, seq, bytes, operated_s);
PRAGMA user_version = {_VERSION};
"""
_COLUMNS = (
    "SELECT id, operated_s, machine, is_closed FROM stream",
    "SELECT seq, key, kind, topic, time, operated_s, bytes, data, state FROM event",
)


def open_file(file: Path, machine: str) -> sqlite3.Connection:
    """Made where there is none. machine: names the boot of the machine. Raises sqlite3.DatabaseError where it is broken or of
    another version, sqlite3.OperationalError where the disk does not give it."""
    db = connect(file)
    with contextlib.ExitStack() as unless_whole:
        unless_whole.callback(db.close)
        if file.stat().st_size < _SMALL_BYTES or suspect(file).exists():
            _check_pages(db)
        if _version(db) == 0:
            db.executescript(f"BEGIN; {_TABLES}")  # all of it with its first row, or nothing
            db.execute("INSERT INTO stream VALUES (?, 0.0, ?, 1)", (uuid.uuid4().hex, machine))
            db.commit()
        for columns in _COLUMNS:  # names that are damaged are met here, not when an event is to be written
            db.execute(f"{columns} LIMIT 0")
        unless_whole.pop_all()
    with contextlib.suppress(OSError):
        suspect(file).unlink()  # found whole
    return db


def connect(file: Path) -> sqlite3.Connection:
    """A connection that commits safely and waits for another one's writing."""
    db = sqlite3.connect(file, timeout=1.0, check_same_thread=False)
    with contextlib.ExitStack() as unless_open:
        unless_open.callback(db.close)
        db.text_factory = damaged_text
        db.execute(f"PRAGMA page_size={PAGE_BYTES}")  # of a new file
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute(f"PRAGMA journal_size_limit={_WAL_BYTES}")
        unless_open.pop_all()
    return db


def suspect(file: Path) -> Path:
    """Stands beside a file in which an error was met; the next start looks at all of it."""
    return file.with_suffix(".suspect")


def _check_pages(db: sqlite3.Connection) -> None:
    """Reads the whole file: seconds for a large one, so only where somebody met an error in it. Its indexes too: a row that one
    of them lacks would never be told."""
    if (found := str(db.execute("PRAGMA integrity_check(1)").fetchone()[0])) != "ok":
        raise sqlite3.DatabaseError(found)


def _version(db: sqlite3.Connection) -> int:
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    has_tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] > 0
    if version != _VERSION and (version or has_tables):
        raise sqlite3.DatabaseError(f"an outbox of version {version}, this agent writes version {_VERSION}")
    return version
