"""A ledger that keeps its events for some days only.

Days before the newest event, and never before what the wall clock shows: a collector's clock that leaps ahead takes nothing away,
nor does a station's; where nothing comes nothing goes. Only with both of them ahead is too much taken, and that is in the files.
"""

from datetime import date, timedelta

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
        if (newest := _day(self._ledger.newest_time())) is not None and newest > date.min + self._kept:
            self._ledger.forget((min(newest, utc().date()) - self._kept).isoformat(), self._files.written)


def _day(time: str) -> date | None:
    """Of an RFC 3339 time, in UTC as stations tell it; None where it is none."""
    try:
        return date.fromisoformat(time[:10])
    except ValueError:
        return None
