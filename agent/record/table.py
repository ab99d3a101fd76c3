"""The table of kept images, in one SQLite file, and what people said of them: its rows, its schema, how it is opened.

A row is there before its file and gone after it, so that a kill at any point leaves neither a torn image that is listed nor a
file that nobody counts. The writer is the record's thread (agent/record/index.py); the page's process reads, and writes reviews
(agent/record/gallery.py).
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from agent.damaged import damaged_text

INDEX = "index.db"
IMAGES = "images"

_Self = TypeVar("_Self", bound="Table")
_VERSION = 2
WRITING, WHOLE, LEAVING = range(3)
REVIEWED = 100  # added to the worth of what a person has judged
_WAIT_S = 5.0
_SCHEMA = f"""
CREATE TABLE kept (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    part TEXT NOT NULL,
    camera TEXT NOT NULL,
    time TEXT NOT NULL,
    worth INTEGER NOT NULL,
    cause TEXT NOT NULL,
    detail TEXT NOT NULL,
    raw REAL,
    score REAL,
    bundle_id TEXT NOT NULL,
    produced_s REAL NOT NULL,
    file TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    state INTEGER NOT NULL,
    heat BLOB NOT NULL,
    beside INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX by_worth ON kept (worth, id);
CREATE INDEX by_deciding ON kept (beside) WHERE beside > 0;
CREATE INDEX by_age ON kept (produced_s) WHERE worth < {REVIEWED};
CREATE INDEX not_whole ON kept (id) WHERE state <> {WHOLE};
CREATE TABLE review (
    id INTEGER PRIMARY KEY,
    judgment TEXT NOT NULL,
    defect TEXT NOT NULL,
    note TEXT NOT NULL,
    reviewer TEXT NOT NULL,
    time TEXT NOT NULL
);
CREATE TABLE total (n INTEGER NOT NULL, bytes INTEGER NOT NULL, produced_s REAL NOT NULL);
INSERT INTO total VALUES (0, 0, 0);
CREATE TRIGGER more AFTER INSERT ON kept BEGIN UPDATE total SET n = n + 1, bytes = bytes + new.bytes; END;
CREATE TRIGGER less AFTER DELETE ON kept BEGIN
    UPDATE total SET n = n - 1, bytes = bytes - old.bytes;
    DELETE FROM review WHERE id = old.id;
END;
PRAGMA user_version = {_VERSION};
"""
_FROM_VERSION_1 = """
BEGIN;
ALTER TABLE kept ADD COLUMN beside INTEGER NOT NULL DEFAULT 0;
CREATE INDEX by_deciding ON kept (beside) WHERE beside > 0;
PRAGMA user_version = 2;
COMMIT;
"""
COLUMNS = "kept.id, part, camera, kept.time, worth, cause, detail, raw, score, bundle_id, produced_s, file, bytes, beside"


class Worth(IntEnum):
    """Why an image is kept; what is worth least goes first. A person's review is worth more than all of them."""

    PASS = 0
    NEAR = 1
    FAULT = 2
    REJECT = 3


@dataclass(frozen=True, slots=True)
class Kept:
    """One kept part as one camera saw it. file: below the folder of the images, empty where there was no image.

    beside: number of the picture that decided about the part, 0 for that picture itself.
    """

    id: int
    part: str
    camera: str
    time: str
    worth: int
    cause: str
    detail: str
    raw: float | None
    score: float | None
    bundle_id: str
    produced_s: float
    file: str
    bytes: int
    beside: int = 0

    @property
    def kind(self) -> Worth:
        return Worth(self.worth % REVIEWED)


@dataclass(frozen=True, slots=True)
class Review:
    """A person's judgment. judgment: `true` for a defect that was rightly rejected, `false` for a good part. defect: its kind."""

    judgment: str
    defect: str
    note: str
    reviewer: str
    time: str


class Table:
    """The table in a record's folder, made if there is none. Raises sqlite3.Error and OSError."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.db = sqlite3.connect(folder / INDEX, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
        self.db.text_factory = damaged_text
        try:
            self.db.execute("PRAGMA journal_mode=WAL")
            self.db.execute("PRAGMA synchronous=NORMAL")  # a power cut may cost the last rows, never the file
            version = self._version()
            if version == 0:
                self._make()
            elif version == 1:
                self.db.executescript(_FROM_VERSION_1)
            elif version != _VERSION:
                raise sqlite3.DatabaseError(f"{folder / INDEX}: expected version {_VERSION}, found {version}")
        except BaseException:
            self.db.close()
            raise

    def _make(self) -> None:
        try:
            self.db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        except sqlite3.OperationalError:
            if self.db.in_transaction:
                self.db.rollback()
            if self._version() != _VERSION:  # else the other process has just made it
                raise

    def _version(self) -> int:
        return int(self.db.execute("PRAGMA user_version").fetchone()[0])

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.db.close()

    def kept(self, query: str, *values: float) -> Sequence[Kept]:
        return [Kept(*row) for row in self.db.execute(query, values)]

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """All of it or nothing."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")
