"""The page's side of the table of kept images: what is searched and looked at, and what people said of it."""

from agent.record.table import COLUMNS, REVIEWED, WHOLE, Kept, Review, Table, Worth


class Gallery(Table):
    """Which images are kept, for those who look at them."""

    def one(self, number: int) -> Kept | None:
        """A whole one."""
        found = self.kept(f"SELECT {COLUMNS} FROM kept WHERE kept.id = ? AND state = {WHOLE}", number)
        return found[0] if found else None

    def newest(self) -> int:
        """Number of the newest whole one, 0 where there is none."""
        row = self.db.execute(f"SELECT id FROM kept WHERE state = {WHOLE} ORDER BY id DESC LIMIT 1").fetchone()
        return int(row[0]) if row else 0

    def of_part(self, part: str) -> Kept | None:
        """The newest whole image of a part; the one that decided, where there are several."""
        where = f"part = ? AND state = {WHOLE} AND file <> ''"
        query = f"SELECT {COLUMNS} FROM kept WHERE {where} ORDER BY beside, kept.id DESC LIMIT 1"
        row = self.db.execute(query, (part,)).fetchone()
        return Kept(*row) if row else None

    def beside(self, number: int) -> list[tuple[Kept, bool]]:
        """What the other cameras saw of the same part, each with whether it has a heat map."""
        columns = f"{COLUMNS}, length(heat) > 0"
        query = f"SELECT {columns} FROM kept WHERE beside = ? AND beside > 0 AND state = {WHOLE} ORDER BY kept.id"
        return [(Kept(*row[:-1]), bool(row[-1])) for row in self.db.execute(query, (number,))]

    def heat(self, number: int) -> bytes:
        row = self.db.execute("SELECT heat FROM kept WHERE id = ?", (number,)).fetchone()
        return bytes(row[0]) if row else b""

    def search(
        self, kind: Worth | None, judgment: str, text: str, before: int | None, limit: int, after: int = 0
    ) -> tuple[int, list[tuple[Kept, Review | None, bool]]]:
        """How many parts fit in all, and the newest between two numbers: each with its review and whether it has a heat map.

        judgment: `true`, `false`, `open` for those without, empty for all. text: in the part's number, note or defect.
        """
        where, values = [f"state = {WHOLE}", "beside = 0"], []
        if kind is not None:
            where.append(f"worth IN ({int(kind)}, {int(kind) + REVIEWED})")
        if judgment:
            where.append("judgment IS NULL" if judgment == "open" else "judgment = ?")
            values += [] if judgment == "open" else [judgment]
        if text:
            escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            where.append("(part LIKE ? ESCAPE '\\' OR note LIKE ? ESCAPE '\\' OR defect LIKE ? ESCAPE '\\')")
            values += [f"%/{escaped}", f"%{escaped}%", f"%{escaped}%"]
        source = f"FROM kept LEFT JOIN review ON review.id = kept.id WHERE {' AND '.join(where)}"
        total = int(self.db.execute(f"SELECT count(*) {source}", values).fetchone()[0])
        columns = f"{COLUMNS}, judgment, defect, note, reviewer, review.time, length(heat) > 0"
        older = "" if before is None else "AND kept.id < ?"
        rows = self.db.execute(
            f"SELECT {columns} {source} AND kept.id > ? {older} ORDER BY kept.id DESC LIMIT ?",
            [*values, after, *([] if before is None else [before]), limit],
        ).fetchall()
        return total, [(Kept(*row[:14]), Review(*row[14:19]) if row[14] else None, bool(row[19])) for row in rows]

    def review(self, number: int, review: Review) -> bool:
        """Keeps a judgment, the last one counts; False for an image that is not there any more.

        A good part is good in all its pictures. A defect is known to be in the picture that was judged only; those beside it stay
        with it and are not judged.
        """
        with self.together():
            worth = f"UPDATE kept SET worth = worth % {REVIEWED} + {REVIEWED} WHERE state = {WHOLE} AND"
            if not self.db.execute(f"{worth} id = ?", (number,)).rowcount:
                return False
            self.db.execute(f"{worth} beside = ? AND beside > 0", (number,))
            self.db.execute("DELETE FROM review WHERE id IN (SELECT id FROM kept WHERE beside = ? AND beside > 0)", (number,))
            values = (review.judgment, review.defect, review.note, review.reviewer, review.time)
            self.db.execute("INSERT OR REPLACE INTO review VALUES (?, ?, ?, ?, ?, ?)", (number, *values))
            if review.judgment == "false":
                others = "SELECT id, ?, ?, ?, ?, ? FROM kept WHERE beside = ? AND beside > 0"
                self.db.execute(f"INSERT OR REPLACE INTO review {others}", (*values, number))
        return True

    def reviewed(self) -> list[tuple[Kept, Review]]:
        """Every judged one that has an image, oldest first."""
        columns = f"{COLUMNS}, judgment, defect, note, reviewer, review.time"
        source = f"FROM kept JOIN review ON review.id = kept.id WHERE state = {WHOLE} AND file <> ''"
        query = f"SELECT {columns} {source} ORDER BY kept.id"
        return [(Kept(*row[:14]), Review(*row[14:])) for row in self.db.execute(query)]

    def defects(self) -> list[str]:
        """The kinds that people have named so far."""
        query = "SELECT DISTINCT defect FROM review WHERE defect <> '' ORDER BY defect LIMIT 100"
        return [row[0] for row in self.db.execute(query)]
