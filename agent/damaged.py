"""What can still be read of a damaged SQLite file, and whether an error says that it is one."""

import sqlite3
from collections.abc import Iterator
from typing import Any

# what a broken file may raise; see is_broken
BROKEN = (sqlite3.DatabaseError, ValueError, TypeError, OverflowError, MemoryError)

_NOT_ITS_CONTENT = ("unable to open", "locked", "readonly", "disk I/O error", "disk is full", "locking protocol", "permission")
_REACH = 100_000  # numbers that a broken page can hide; behind more of them it is looked in steps of a thousand


def is_broken(error: Exception) -> bool:
    """Whether a file cannot be used because of what it holds, not because of the disk, a permission or another process.

    By SQLite's words: before Python 3.11 there is no code, and of text that is none there never is.
    """
    return not (isinstance(error, sqlite3.OperationalError) and any(words in str(error) for words in _NOT_ITS_CONTENT))


def damaged_text(text: bytes) -> str:
    """A `text_factory`: one damaged letter keeps no row from being read."""
    return text.decode(errors="replace")


def readable(db: sqlite3.Connection, query: str, last: int, most: int) -> Iterator[tuple[Any, ...]]:
    """Rows of a broken table by ascending number, one after the other: a broken page takes only its own with it.

    query: gives the first row from a number on, that number first. last: the highest one given out. most: rows in the table.
    After months most numbers are gone, and to ask for each would take an hour: where the first of those that are left cannot be
    read, they are looked for among the last so many.
    """
    number, first, in_vain = 1, last - most, 0
    while number <= last and in_vain < 2 * _REACH:
        try:
            row = db.execute(query, (number,)).fetchone()
        except BROKEN:
            row = None
        if row is None or not number <= row[0] <= last:  # a tree out of order gives what was there before, or nothing
            in_vain += 1
            number = max(number + (1 if in_vain < _REACH else 1000), first)
            continue
        first, number, in_vain = 1, int(row[0]) + 1, 0
        yield row
