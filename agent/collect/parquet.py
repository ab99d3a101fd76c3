"""The collector's events as Parquet files, for tools that read those: each event in exactly one, whatever was killed when.

A file's name says which rows of the ledger it holds, so what is written is known without a record of it. A file appears whole or
not at all. Rows are counted as they came into the ledger, and no number is given twice, whatever is deleted there.
"""

import logging
import re
import sqlite3
from pathlib import Path
from typing import Any

from agent.collect.onlooker import Onlooker
from agent.drivers import ConfigError
from agent.whole_file import sync

log = logging.getLogger(__name__)

_EVERY_S = 3600.0
_ROWS = 100_000  # in one file
_COLUMNS = ("topic", "source", "id", "stream", "seq", "type", "time", "outcome", "cause", "data")
_UNFINISHED = ".new"
_NAME = re.compile(r"events-(\d{12})-(\d{12})\.parquet")


class ParquetFolder(Onlooker):
    """Files of one ledger in a folder of their own. ConfigError where pyarrow is missing or they are of another ledger."""

    def __init__(self, folder: Path, ledger: Path) -> None:
        try:
            import pyarrow.parquet
        except ModuleNotFoundError as e:
            raise ConfigError("--parquet needs the package pyarrow, which is not installed: pip install pyarrow") from e
        self._arrow, self._write = pyarrow, pyarrow.parquet.write_table
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for left_over in folder.glob(f".events-*{_UNFINISHED}"):  # of a collector that was killed
                left_over.unlink()
        except OSError as e:
            raise ConfigError(f"--parquet {folder}: expected a folder that can be written: {e.strerror or e}") from e
        self._db = sqlite3.connect(f"{ledger.resolve().as_uri()}?mode=ro", uri=True)
        self._next_s = 0.0
        (newest,) = self._db.execute("SELECT ifnull(max(seq), 0) FROM sqlite_sequence").fetchone()
        self._written = self._last()
        if self._written > newest:
            raise ConfigError(
                f"{folder}: expected files of {ledger}, which has {newest} events; found some up to row {self._written}: "
                "they are of another ledger, choose another folder"
            )

    @property
    def written(self) -> int:
        """The last row of the ledger that is in a file."""
        return self._written

    def _last(self) -> int:
        return max((int(found[2]) for file in self._folder.iterdir() if (found := _NAME.fullmatch(file.name))), default=0)

    def export(self) -> None:
        """All that is in the ledger and in no file yet; what cannot be written waits there."""
        columns = ", ".join(_COLUMNS)
        of_stations = "event LEFT JOIN (SELECT id AS stream, topic FROM stream) USING (stream)"
        query = f"SELECT row, {columns} FROM {of_stations} WHERE row > ? ORDER BY row LIMIT {_ROWS}"
        try:
            self._written = self._last()
            while rows := self._db.execute(query, (self._written,)).fetchall():
                self._put(rows)
                self._written = rows[-1][0]
        except OSError as e:
            log.error("%s cannot be written: %s; its events wait in the ledger", self._folder, e)

    def _put(self, rows: list[tuple[Any, ...]]) -> None:
        """One file, whole or not there."""
        file = self._folder / f"events-{rows[0][0]:012d}-{rows[-1][0]:012d}.parquet"
        table = dict(zip(("row", *_COLUMNS), map(list, zip(*rows, strict=True)), strict=True))
        fresh = self._folder / f".{file.stem}{_UNFINISHED}"  # readers of a folder leave out what begins with a dot
        try:
            self._write(self._arrow.table(table, schema=self._schema()), fresh, compression="zstd")
            sync(fresh)
            fresh.replace(file)
        finally:
            fresh.unlink(missing_ok=True)
        sync(self._folder)

    def look(self, now_s: float) -> None:
        """Once an hour: a year is some thousand files, and what is newer is in the ledger."""
        if now_s >= self._next_s:
            self._next_s = now_s + _EVERY_S
            self.export()

    def close(self) -> None:
        """All that came is in a file."""
        self.export()
        self._db.close()

    def _schema(self) -> Any:
        text, number = self._arrow.string(), self._arrow.int64()
        return self._arrow.schema([("row", number), *((name, number if name == "seq" else text) for name in _COLUMNS)])
