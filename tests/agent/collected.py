"""What a collector has written, seen from outside."""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path


def events_in(file: Path) -> int:
    """How many events a ledger holds; 0 where there is none yet."""
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        return int(db.execute("SELECT count(*) FROM event").fetchone()[0])
    return 0


def ids_in(file: Path) -> list[str]:
    """Of the events that a ledger holds."""
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        return [str(row[0]) for row in db.execute("SELECT id FROM event")]
    return []
