"""The writer's side of the table of kept images: what is counted, listed, and worth least."""

import logging
import sqlite3
from collections.abc import Iterable, Sequence

from agent.record.table import COLUMNS, LEAVING, REVIEWED, WHOLE, WRITING, Kept, Review, Table, Worth

log = logging.getLogger(__name__)


class RecordIndex(Table):
    """Which images are kept, for the record's thread. Raises sqlite3.DatabaseError where what it reads is damaged."""

    def check(self) -> None:
        """Reads all of it, and counts anew. Raises sqlite3.DatabaseError for the first thing that is not as it was written."""
        if (found := str(self.db.execute("PRAGMA integrity_check(1)").fetchone()[0])) != "ok":
            raise sqlite3.DatabaseError(found)
        n = size = newest = 0
        for row in self.db.execute(f"SELECT {COLUMNS} FROM kept ORDER BY kept.id"):
            one = _checked(Kept(*row))
            n, size, newest = n + 1, size + one.bytes, one.id
        if self.next_id() <= newest:
            raise sqlite3.DatabaseError(f"there is an image {newest}, and {self.next_id()} is to be the next")
        if (told := self.total()[:2]) != (n, size):
            log.error("%d images of %d bytes were counted as %d of %d: set right", n, size, *told)
            self.db.execute("UPDATE total SET n = ?, bytes = ?", (n, size))

    def kept(self, query: str, *values: float) -> Sequence[Kept]:
        return [_checked(one) for one in super().kept(query, *values)]

    def total(self) -> tuple[int, int, float]:
        """How many are kept, their bytes, and the seconds of production so far."""
        try:
            n, size, produced_s = self.db.execute("SELECT n, bytes, produced_s FROM total").fetchone()
            return int(n), int(size), float(produced_s)
        except (TypeError, ValueError) as e:
            raise sqlite3.DatabaseError(f"the counts are damaged: {e}") from e

    def produced(self, produced_s: float) -> None:
        self.db.execute("UPDATE total SET produced_s = ?", (produced_s,))

    def next_id(self) -> int:
        """The number that the next row gets; numbers are never used twice."""
        row = self.db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'kept'").fetchone() or (0,)
        if not isinstance(row[0], int):
            raise sqlite3.DatabaseError(f"the newest number is {row[0]!r}")
        return row[0] + 1

    def begin(self, kept: Kept, heat: bytes) -> None:
        """It is counted from now on, and not yet listed."""
        self._insert(kept, heat, WRITING)

    def finish(self, number: int) -> None:
        """Its file is whole."""
        self.db.execute("UPDATE kept SET state = ? WHERE id = ?", (WHOLE, number))

    def found_again(self, kept: Iterable[Kept], reviews: Iterable[tuple[int, Review]] = ()) -> tuple[int, int]:
        """Images whose rows were lost, and what people said of them: all or nothing. Gives how many of each were not here."""
        images = judged = 0
        with self.together():
            for one in kept:
                if not self.knows(one.id):
                    self._insert(one, b"", WHOLE)
                    images += 1
            for number, review in reviews:
                worth = f"UPDATE kept SET worth = worth % {REVIEWED} + {REVIEWED} WHERE"
                if self.db.execute(f"{worth} id = ?", (number,)).rowcount:
                    self.db.execute(f"{worth} beside = ? AND beside > 0", (number,))
                    said = (review.judgment, review.defect, review.note, review.reviewer, review.time)
                    judged += self.db.execute("INSERT OR IGNORE INTO review VALUES (?, ?, ?, ?, ?, ?)", (number, *said)).rowcount
        return images, judged

    def least_worth(self, limit: int, at_most: Worth | None = None) -> Sequence[Kept]:
        """The first to go: of the least worth, the oldest. at_most: only those not worth more than this."""
        where = f"state = {WHOLE} AND worth <= ?"
        highest = 2 * REVIEWED if at_most is None else int(at_most)
        return self.kept(f"SELECT {COLUMNS} FROM kept WHERE {where} ORDER BY worth, kept.id LIMIT ?", highest, limit)

    def older_than(self, produced_s: float, limit: int) -> Sequence[Kept]:
        """Not those that a person has judged."""
        where = f"worth < {REVIEWED} AND produced_s < ? AND state = {WHOLE}"
        return self.kept(f"SELECT {COLUMNS} FROM kept WHERE {where} ORDER BY produced_s LIMIT ?", produced_s, limit)

    def not_whole(self) -> Sequence[Kept]:
        """What a kill left behind: half written, or half deleted."""
        return self.kept(f"SELECT {COLUMNS} FROM kept WHERE state <> {WHOLE}")

    def leaving(self, numbers: Sequence[int]) -> None:
        """Not listed any more; their files go next."""
        with self.together():
            self.db.executemany(f"UPDATE kept SET state = {LEAVING} WHERE id = ?", [(n,) for n in numbers])

    def gone(self, numbers: Sequence[int]) -> None:
        """Their files are gone."""
        with self.together():
            self.db.executemany("DELETE FROM kept WHERE id = ?", [(n,) for n in numbers])

    def knows(self, number: int) -> bool:
        return self.db.execute("SELECT 1 FROM kept WHERE id = ?", (number,)).fetchone() is not None

    def _insert(self, kept: Kept, heat: bytes, state: int) -> None:
        numbers = (kept.id, kept.part, kept.camera, kept.time, kept.worth, kept.cause, kept.detail, kept.raw, kept.score)
        rest = (kept.bundle_id, kept.produced_s, kept.file, kept.bytes, state, heat, kept.beside)
        self.db.execute(f"INSERT INTO kept VALUES ({', '.join('?' * 16)})", numbers + rest)


def _checked(one: Kept) -> Kept:
    numbers_are_whole = all(isinstance(number, int) for number in (one.id, one.worth, one.bytes, one.beside))
    if (
        not (numbers_are_whole and isinstance(one.produced_s, float) and isinstance(one.file, str))
        or not 0 <= one.worth < 2 * REVIEWED
        or one.worth % REVIEWED not in list(Worth)
        or one.bytes < 0
        or not all(isinstance(text, str) and text.isprintable() and "\ufffd" not in text for text in (one.part, one.file))
        or (one.file and one.file.rpartition("/")[2].partition("_")[0] != str(one.id))
    ):
        raise sqlite3.DatabaseError(f"the row of image {one.id} is damaged")
    return one
