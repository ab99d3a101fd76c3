"""Which images are kept, in one SQLite file: what they are worth, whether they are whole, what people said of them.

A row is there before its file and gone after it, so that a kill at any point leaves neither a torn image that is listed nor a
file that nobody counts. The writer is the record's thread; the page's process reads, and writes reviews.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType

INDEX = "index.db"
IMAGES = "images"

_VERSION = 2
_WRITING, _WHOLE, _LEAVING = range(3)
_REVIEWED = 100  # added to the worth of what a person has judged
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
CREATE INDEX by_age ON kept (produced_s) WHERE worth < {_REVIEWED};
CREATE INDEX not_whole ON kept (id) WHERE state <> {_WHOLE};
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
_COLUMNS = "kept.id, part, camera, kept.time, worth, cause, detail, raw, score, bundle_id, produced_s, file, bytes, beside"


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
        return Worth(self.worth % _REVIEWED)


@dataclass(frozen=True, slots=True)
class Review:
    """A person's judgment. judgment: `true` for a defect that was rightly rejected, `false` for a good part. defect: its kind."""

    judgment: str
    defect: str
    note: str
    reviewer: str
    time: str


class RecordIndex:
    """The index in a record's folder, made if there is none. Raises sqlite3.Error and OSError."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(folder / INDEX, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")  # a power cut may cost the last rows, never the file
            version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
            if version == 0:
                self._db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
            elif version == 1:
                self._db.executescript(_FROM_VERSION_1)
            elif version != _VERSION:
                raise sqlite3.DatabaseError(f"{folder / INDEX}: expected version {_VERSION}, found {version}")
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> "RecordIndex":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._db.close()

    # ------------------------------------------------------------ for the writer

    def total(self) -> tuple[int, int, float]:
        """How many are kept, their bytes, and the seconds of production so far."""
        n, size, produced_s = self._db.execute("SELECT n, bytes, produced_s FROM total").fetchone()
        return int(n), int(size), float(produced_s)

    def produced(self, produced_s: float) -> None:
        self._db.execute("UPDATE total SET produced_s = ?", (produced_s,))

    def next_id(self) -> int:
        """The number that the next row gets; numbers are never used twice."""
        row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'kept'").fetchone()
        return int(row[0]) + 1 if row else 1

    def begin(self, kept: Kept, heat: bytes) -> None:
        """It is counted from now on, and not yet listed."""
        self._insert(kept, heat, _WRITING)

    def finish(self, number: int) -> None:
        """Its file is whole."""
        self._db.execute("UPDATE kept SET state = ? WHERE id = ?", (_WHOLE, number))

    def found_again(self, kept: Iterable[Kept]) -> None:
        """Images whose rows were lost."""
        with self._together():
            for one in kept:
                self._insert(one, b"", _WHOLE)

    def least_worth(self, limit: int, at_most: Worth | None = None) -> Sequence[Kept]:
        """The first to go: of the least worth, the oldest. at_most: only those not worth more than this."""
        where = f"state = {_WHOLE} AND worth <= ?"
        highest = 2 * _REVIEWED if at_most is None else int(at_most)
        return self._kept(f"SELECT {_COLUMNS} FROM kept WHERE {where} ORDER BY worth, kept.id LIMIT ?", highest, limit)

    def older_than(self, produced_s: float, limit: int) -> Sequence[Kept]:
        """Not those that a person has judged."""
        where = f"worth < {_REVIEWED} AND produced_s < ? AND state = {_WHOLE}"
        return self._kept(f"SELECT {_COLUMNS} FROM kept WHERE {where} ORDER BY produced_s LIMIT ?", produced_s, limit)

    def not_whole(self) -> Sequence[Kept]:
        """What a kill left behind: half written, or half deleted."""
        return self._kept(f"SELECT {_COLUMNS} FROM kept WHERE state <> {_WHOLE}")

    def leaving(self, numbers: Sequence[int]) -> None:
        """Not listed any more; their files go next."""
        with self._together():
            self._db.executemany(f"UPDATE kept SET state = {_LEAVING} WHERE id = ?", [(n,) for n in numbers])

    def gone(self, numbers: Sequence[int]) -> None:
        """Their files are gone."""
        with self._together():
            self._db.executemany("DELETE FROM kept WHERE id = ?", [(n,) for n in numbers])

    def knows(self, number: int) -> bool:
        return self._db.execute("SELECT 1 FROM kept WHERE id = ?", (number,)).fetchone() is not None

    # ------------------------------------------------------------ for the page

    def one(self, number: int) -> Kept | None:
        """A whole one."""
        found = self._kept(f"SELECT {_COLUMNS} FROM kept WHERE kept.id = ? AND state = {_WHOLE}", number)
        return found[0] if found else None

    def newest(self) -> int:
        """Number of the newest whole one, 0 where there is none."""
        row = self._db.execute(f"SELECT id FROM kept WHERE state = {_WHOLE} ORDER BY id DESC LIMIT 1").fetchone()
        return int(row[0]) if row else 0

    def of_part(self, part: str) -> Kept | None:
        """The newest whole image of a part; the one that decided, where there are several."""
        where = f"part = ? AND state = {_WHOLE} AND file <> ''"
        query = f"SELECT {_COLUMNS} FROM kept WHERE {where} ORDER BY beside, kept.id DESC LIMIT 1"
        row = self._db.execute(query, (part,)).fetchone()
        return Kept(*row) if row else None

    def beside(self, number: int) -> list[tuple[Kept, bool]]:
        """What the other cameras saw of the same part, each with whether it has a heat map."""
        columns = f"{_COLUMNS}, length(heat) > 0"
        query = f"SELECT {columns} FROM kept WHERE beside = ? AND beside > 0 AND state = {_WHOLE} ORDER BY kept.id"
        return [(Kept(*row[:-1]), bool(row[-1])) for row in self._db.execute(query, (number,))]

    def heat(self, number: int) -> bytes:
        row = self._db.execute("SELECT heat FROM kept WHERE id = ?", (number,)).fetchone()
        return bytes(row[0]) if row else b""

    def search(
        self, kind: Worth | None, judgment: str, text: str, before: int | None, limit: int, after: int = 0
    ) -> tuple[int, list[tuple[Kept, Review | None, bool]]]:
        """How many parts fit in all, and the newest between two numbers: each with its review and whether it has a heat map.

        judgment: `true`, `false`, `open` for those without, empty for all. text: in the part's number, note or defect.
        """
        where, values = [f"state = {_WHOLE}", "beside = 0"], []
        if kind is not None:
            where.append(f"worth IN ({int(kind)}, {int(kind) + _REVIEWED})")
        if judgment:
            where.append("judgment IS NULL" if judgment == "open" else "judgment = ?")
            values += [] if judgment == "open" else [judgment]
        if text:
            escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            where.append("(part LIKE ? ESCAPE '\\' OR note LIKE ? ESCAPE '\\' OR defect LIKE ? ESCAPE '\\')")
            values += [f"%/{escaped}", f"%{escaped}%", f"%{escaped}%"]
        source = f"FROM kept LEFT JOIN review ON review.id = kept.id WHERE {' AND '.join(where)}"
        total = int(self._db.execute(f"SELECT count(*) {source}", values).fetchone()[0])
        columns = f"{_COLUMNS}, judgment, defect, note, reviewer, review.time, length(heat) > 0"
        older = "" if before is None else "AND kept.id < ?"
        rows = self._db.execute(
            f"SELECT {columns} {source} AND kept.id > ? {older} ORDER BY kept.id DESC LIMIT ?",
            [*values, after, *([] if before is None else [before]), limit],
        ).fetchall()
        return total, [(Kept(*row[:14]), Review(*row[14:19]) if row[14] else None, bool(row[19])) for row in rows]

    def review(self, number: int, review: Review) -> bool:
        """Keeps a judgment, the last one counts; False for an image that is not there any more.

        A good part is good in all its pictures. A defect is known to be in the picture that was judged only; those beside it stay
        with it and are not judged.
        """
        with self._together():
            worth = f"UPDATE kept SET worth = worth % {_REVIEWED} + {_REVIEWED} WHERE state = {_WHOLE} AND"
            if not self._db.execute(f"{worth} id = ?", (number,)).rowcount:
                return False
            self._db.execute(f"{worth} beside = ? AND beside > 0", (number,))
            self._db.execute("DELETE FROM review WHERE id IN (SELECT id FROM kept WHERE beside = ? AND beside > 0)", (number,))
            values = (review.judgment, review.defect, review.note, review.reviewer, review.time)
            self._db.execute("INSERT OR REPLACE INTO review VALUES (?, ?, ?, ?, ?, ?)", (number, *values))
            if review.judgment == "false":
                others = "SELECT id, ?, ?, ?, ?, ? FROM kept WHERE beside = ? AND beside > 0"
                self._db.execute(f"INSERT OR REPLACE INTO review {others}", (*values, number))
        return True

    def reviewed(self) -> list[tuple[Kept, Review]]:
        """Every judged one that has an image, oldest first."""
        columns = f"{_COLUMNS}, judgment, defect, note, reviewer, review.time"
        source = f"FROM kept JOIN review ON review.id = kept.id WHERE state = {_WHOLE} AND file <> ''"
        query = f"SELECT {columns} {source} ORDER BY kept.id"
        return [(Kept(*row[:14]), Review(*row[14:])) for row in self._db.execute(query)]

    def defects(self) -> list[str]:
        """The kinds that people have named so far."""
        query = "SELECT DISTINCT defect FROM review WHERE defect <> '' ORDER BY defect LIMIT 100"
        return [row[0] for row in self._db.execute(query)]

    def _insert(self, kept: Kept, heat: bytes, state: int) -> None:
        numbers = (kept.id, kept.part, kept.camera, kept.time, kept.worth, kept.cause, kept.detail, kept.raw, kept.score)
        rest = (kept.bundle_id, kept.produced_s, kept.file, kept.bytes, state, heat, kept.beside)
        self._db.execute(f"INSERT INTO kept VALUES ({', '.join('?' * 16)})", numbers + rest)

    def _kept(self, query: str, *values: float) -> Sequence[Kept]:
        return [Kept(*row) for row in self._db.execute(query, values)]

    @contextlib.contextmanager
    def _together(self) -> Iterator[None]:
        """All of it or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
