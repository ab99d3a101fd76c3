"""The writer's side of the table of kept images: what is counted, listed, and worth least."""

from collections.abc import Iterable, Sequence

from agent.record.table import COLUMNS, LEAVING, REVIEWED, WHOLE, WRITING, Kept, Table, Worth


class RecordIndex(Table):
    """Which images are kept, for the record's thread."""

    def total(self) -> tuple[int, int, float]:
        """How many are kept, their bytes, and the seconds of production so far."""
        n, size, produced_s = self.db.execute("SELECT n, bytes, produced_s FROM total").fetchone()
        return int(n), int(size), float(produced_s)

    def produced(self, produced_s: float) -> None:
        self.db.execute("UPDATE total SET produced_s = ?", (produced_s,))

    def next_id(self) -> int:
        """The number that the next row gets; numbers are never used twice."""
        row = self.db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'kept'").fetchone()
        return int(row[0]) + 1 if row else 1

    def begin(self, kept: Kept, heat: bytes) -> None:
        """It is counted from now on, and not yet listed."""
        self._insert(kept, heat, WRITING)

    def finish(self, number: int) -> None:
        """Its file is whole."""
        self.db.execute("UPDATE kept SET state = ? WHERE id = ?", (WHOLE, number))

    def found_again(self, kept: Iterable[Kept]) -> None:
        """Images whose rows were lost."""
        with self.together():
            for one in kept:
                self._insert(one, b"", WHOLE)

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
