"""A ledger that keeps its events for some days only."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from agent.clock import utc
from agent.collect.ledger import Ledger
from agent.collect.parquet import ParquetFolder


class Shortened:
    """A ledger whose events are taken away after so many days, some each second, once they are in a Parquet file."""

    def __init__(self, ledger: Ledger, files: ParquetFolder, days: int) -> None:
        self._ledger = ledger
        self._files = files
        self._kept = timedelta(days=days)

    def look(self, now_s: float) -> None:
        self._ledger.forget((utc() - self._kept).isoformat(), self._files.written)

    def state(self, topic: str, told: Mapping[str, Any]) -> None:
        """Of no age."""

    def event(self, topic: str, event: Mapping[str, Any]) -> None:
        """In no file yet."""
