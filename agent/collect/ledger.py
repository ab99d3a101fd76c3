"""What a collector has of each station's events: each once, what is missing, and how far everything is there.

A number is settled when its event is here or when the station has said that it is lost and why. The watermark of a stream is
the last number up to which all are settled; a station may forget what is below it.
"""

import contextlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from agent.drivers import ConfigError
from agent.events.rows import POWER_CUT, Lost

_VERSION = 1
_TABLES = f"""
CREATE TABLE event (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    stream TEXT NOT NULL,
    seq INTEGER NOT NULL,
    type TEXT NOT NULL,
    time TEXT NOT NULL,
    outcome TEXT,
    cause TEXT,
    data TEXT NOT NULL,
    UNIQUE (source, id)
);
CREATE INDEX by_time ON event (time);
CREATE INDEX by_number ON event (stream, seq);
CREATE TABLE IF NOT EXISTS stream (id TEXT PRIMARY KEY, topic TEXT NOT NULL, newest INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS settled (
    stream TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (stream, first)
);
CREATE TABLE IF NOT EXISTS lost (
    stream TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, count INTEGER, reason TEXT NOT NULL,
    is_settled INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (stream, first, last, reason)
);
PRAGMA user_version = {_VERSION};
"""
_FROM_VERSION_0 = f"""
ALTER TABLE event RENAME TO before;
{_TABLES}
INSERT INTO event SELECT rowid, * FROM before ORDER BY rowid;
DROP TABLE before;
"""

_COLUMNS = "source, id, stream, seq, type, time, outcome, cause, data"
_FORGOTTEN = 2000  # rows at once
_GAPS = 100  # of a stream that are looked at: the others follow when these are closed


@dataclass(frozen=True, slots=True)
class Gap:
    """Numbers of a stream that are not settled, both ends included. topic: the station's prefix."""

    stream: str
    topic: str
    first: int
    last: int


@dataclass(slots=True)
class Counts:
    """Since the ledger was opened. lost: numbers that a station has given up, and said so."""

    kept: int = 0
    copies: int = 0
    lost: int = 0


class Ledger:
    """One SQLite file, for one thread; nothing is there for good before `commit`. Raises ConfigError where it can be none."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.counts = Counts()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(file)
            with contextlib.ExitStack() as unless_whole:
                unless_whole.callback(self._db.close)
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
                self._open_tables()
                unless_whole.pop_all()
        except (OSError, sqlite3.Error) as e:
            raise ConfigError(
                f"{file}: expected a collector's SQLite file, or room for a new one: {e}; choose another --out"
            ) from e

    def _open_tables(self) -> None:
        """Made where there are none; those of an earlier checkout are written anew, which needs free room of twice their size."""
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version > _VERSION:
            raise sqlite3.DatabaseError(f"it has version {version}, this collector writes version {_VERSION}")
        if version < _VERSION:
            is_old = self._db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'event'").fetchone()[0] > 0
            self._db.executescript(f"BEGIN; {_FROM_VERSION_0 if is_old else _TABLES} COMMIT;")
        self._db.execute("CREATE TABLE IF NOT EXISTS forgotten (before TEXT NOT NULL)")
        self._forgotten_before = str(self._db.execute("SELECT ifnull(max(before), '') FROM forgotten").fetchone()[0])

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._db.close()

    def keep(self, topic: str, event: dict[str, Any]) -> bool:
        """Whether the event is a new one. topic: the station's prefix. event: as published (agent/events/event.py: envelope).

        Its time is the corrected one where the station has told it.
        """
        data, stream, seq = event["data"], str(event["stream"]), int(event["seq"])
        time = event.get("correctedtime") or event["time"]
        row = (event["source"], event["id"], stream, seq, event["type"], time, data.get("outcome"), data.get("cause"))
        is_new = not self._is_forgotten(stream, seq, min(time, event["time"]))
        if is_new:
            kept = self._db.execute(
                f"INSERT INTO event ({_COLUMNS}) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 "
                "WHERE NOT EXISTS (SELECT 1 FROM event WHERE source = ?1 AND id = ?2)",  # a conflict would use up a number
                (*row, json.dumps(data)),
            )
            is_new = kept.rowcount == 1
        self.newest(topic, stream, seq)
        self._settle(stream, seq, seq)
        if data.get("alert") == "events-lost":
            self._note_lost(topic, data)
        self.counts.kept += is_new
        self.counts.copies += not is_new
        return is_new

    def newest(self, topic: str, stream: str, seq: int) -> None:
        """The station has given out numbers up to this one."""
        self._db.execute(
            "INSERT INTO stream VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET newest = max(newest, ?3), topic = ?2",
            (stream, topic, seq),
        )

    def id_of(self, stream: str, seq: int) -> str:
        """Of the first event that came under this number; empty where none is here."""
        query = "SELECT id FROM event WHERE stream = ? AND seq = ? ORDER BY row LIMIT 1"
        found = self._db.execute(query, (stream, seq)).fetchone()
        return str(found[0]) if found else ""

    def highest(self, stream: str) -> tuple[int, str]:
        """Number and id of the event with the highest number of the stream; 0 where none is here."""
        query = "SELECT seq, id FROM event WHERE stream = ? ORDER BY seq DESC, row LIMIT 1"
        return self._db.execute(query, (stream,)).fetchone() or (0, "")

    def forget(self, before: str, last_row: int) -> None:
        """Some events from before this time, of the rows up to this one. Their numbers stay settled."""
        old = f"SELECT row FROM event WHERE time < ? AND row <= ? LIMIT {_FORGOTTEN}"
        gone = self._db.execute(f"DELETE FROM event WHERE row IN ({old})", (before, last_row))
        if gone.rowcount and before > self._forgotten_before:
            self._db.execute("DELETE FROM forgotten")
            self._db.execute("INSERT INTO forgotten VALUES (?)", (before,))
            self._forgotten_before = before

    def newest_time(self) -> str:
        """Of all events that are here; empty where there is none."""
        query = "SELECT time FROM event WHERE time < ':' ORDER BY time DESC LIMIT 1"  # what begins with no digit is no time
        return str((self._db.execute(query).fetchone() or ("",))[0])

    def _is_forgotten(self, stream: str, seq: int, time: str) -> bool:
        """Whether it is a copy of an event that was here: its number is settled, and no row or loss says by what else.

        Two stations with one stream give a number twice: what is newer than all that was forgotten is no copy of it.
        """
        if not time < self._forgotten_before or self._missing(stream, seq, seq):
            return False
        here = "SELECT 1 FROM event WHERE stream = ?1 AND seq = ?2"
        lost = "SELECT 1 FROM lost WHERE stream = ?1 AND ?2 BETWEEN first AND last"
        return self._db.execute(f"{here} UNION ALL {lost}", (stream, seq)).fetchone() is None

    def commit(self) -> None:
        self._db.commit()

    def roll_back(self) -> None:
        """As it was at the last commit."""
        self._db.rollback()

    def gaps(self) -> Sequence[Gap]:
        """Numbers below the newest that are neither here nor explained, the oldest hundred of each stream, oldest first."""
        self._settle_lost()
        found: list[Gap] = []
        settled = f"SELECT first, last FROM settled WHERE stream = ? ORDER BY first LIMIT {_GAPS + 1}"
        for stream, topic, newest in self._db.execute("SELECT id, topic, newest FROM stream").fetchall():
            oldest = self._db.execute(settled, (stream,)).fetchall()
            up_to = newest if len(oldest) <= _GAPS else oldest[-1][0] - 1
            found += [Gap(stream, topic, first, last) for first, last in _between(oldest, 1, up_to)]
        return found

    def watermarks(self) -> dict[tuple[str, str], int]:
        """(topic, stream) to the last number up to which all are settled, 0 where the first is missing."""
        streams = self._db.execute("SELECT id, topic FROM stream").fetchall()
        return {(topic, stream): self._watermark(stream) for stream, topic in streams}

    def _watermark(self, stream: str) -> int:
        row = self._db.execute("SELECT last FROM settled WHERE stream = ? AND first = 1", (stream,)).fetchone()
        return int(row[0]) if row else 0

    def _touching(self, stream: str, first: int, last: int) -> list[tuple[int, int]]:
        """What is settled of these numbers and their neighbors, in order; the others are not read, however many there are."""
        before = "SELECT max(first) FROM settled WHERE stream = ?1 AND first <= ?2"
        query = (
            f"SELECT first, last FROM settled WHERE stream = ?1 AND first BETWEEN ifnull(({before}), ?2) AND ?3 + 1 "
            "AND last >= ?2 - 1 ORDER BY first"
        )
        return self._db.execute(query, (stream, first, last)).fetchall()

    def _settle(self, stream: str, first: int, last: int) -> None:
        """Joins the numbers with their neighbors: there are as many rows as gaps."""
        touching = self._touching(stream, first, last)
        joined = (min([first, *(row[0] for row in touching)]), max([last, *(row[1] for row in touching)]))
        self._db.executemany("DELETE FROM settled WHERE stream = ? AND first = ?", [(stream, row[0]) for row in touching])
        self._db.execute("INSERT INTO settled VALUES (?, ?, ?)", (stream, *joined))

    def _note_lost(self, topic: str, told: dict[str, Any]) -> None:
        """The station says which numbers will not come. Where it can no longer count them, nothing of that stream will."""
        lost = msgspec.convert(told, Lost)
        if not lost.stream or lost.reason == POWER_CUT:
            return
        self.newest(topic, lost.stream, 0)
        runs = lost.runs or ((lost.first, lost.last),)
        is_exact = lost.count == sum(last - first + 1 for first, last in runs)
        row = (lost.stream, lost.first if lost.count else 1, lost.last, lost.count, lost.reason, is_exact)
        self._db.execute("INSERT INTO lost VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row)
        for first, last in runs if is_exact else ():
            self._give_up(lost.stream, first, last)

    def _give_up(self, stream: str, first: int, last: int) -> None:
        self.counts.lost += sum(b - a + 1 for a, b in self._missing(stream, first, last))
        self._settle(stream, first, last)

    def _settle_lost(self) -> None:
        """A range explains what is missing in it once no more is missing than the station has lost there."""
        told = "SELECT stream, first, last, count, reason FROM lost WHERE NOT is_settled"
        for stream, first, last, count, reason in self._db.execute(told).fetchall():
            newest = self._db.execute("SELECT newest FROM stream WHERE id = ?", (stream,)).fetchone()
            up_to = last if count else newest[0]
            missing = self._missing(stream, first, up_to)
            if count is None or sum(b - a + 1 for a, b in missing) <= count:
                if missing:
                    self._give_up(stream, first, up_to)
                key = (stream, first, last, reason)
                self._db.execute("UPDATE lost SET is_settled = 1 WHERE (stream, first, last, reason) = (?, ?, ?, ?)", key)

    def _missing(self, stream: str, first: int, last: int) -> list[tuple[int, int]]:
        return _between(self._touching(stream, first, last), first, last)


def _between(settled: Sequence[tuple[int, int]], first: int, last: int) -> list[tuple[int, int]]:
    """PURE  What is left of the numbers first to last.

    >>> _between([(3, 4), (8, 12), (20, 21)], 1, 15)
    [(1, 2), (5, 7), (13, 15)]
    """
    found, expected = [], first
    for a, b in [*settled, (last + 1, last + 1)]:
        if expected < a and expected <= last:
            found.append((expected, min(a - 1, last)))
        expected = max(expected, b + 1)
    return found
