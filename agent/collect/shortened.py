"""A ledger that keeps its events for some days only."""

from datetime import timedelta

from agent.clock import utc
from agent.collect.ledger import Ledger
from agent.collect.onlooker import Onlooker
from agent.collect.parquet import ParquetFolder


class Shortened(Onlooker):
    """A ledger whose events are taken away after so many days, some each second, once they are in a Parquet file."""

    def __init__(self, ledger: Ledger, files: ParquetFolder, days: int) -> None:
        self._ledger = ledger
        self._files = files
        self._kept = timedelta(days=days)

    def look(self, now_s: float) -> None:
        self._ledger.forget((utc() - self._kept).isoformat(), self._files.written)
