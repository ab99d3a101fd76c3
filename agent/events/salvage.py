"""A broken outbox file: set aside, and what can be read of it saved into a new one."""

import contextlib
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from agent.events.database import suspect
from agent.events.label import Label, read_label
from agent.events.rows import Kind, Lost, New, keep_of, on_disk
from agent.events.store import EventStore
from agent.sections import KeepAll
from agent.set_aside import set_aside

log = logging.getLogger(__name__)

_REACH = 100_000  # numbers that a broken page can hide; behind more of them it is looked in steps of a thousand


def open_or_replace(file: Path, keep: KeepAll, machine: str, told_as: str = "") -> EventStore:
    """The store; where its file is broken it is set aside, and what can be read of it goes into a new one."""
    try:
        return EventStore(file, keep, machine, told_as=told_as)
    except sqlite3.OperationalError:
        raise  # not the file's content: no permission, no disk
    except sqlite3.DatabaseError as e:
        stream, newest = _summary(file)
        broken = set_aside(file)
        suspect(file).unlink(missing_ok=True)
        log.error("%s: %s; set aside as %s, what it held is saved", file, e, broken.name)
        store = EventStore(file, keep, machine, told_as=told_as)
        saved = list(_salvage(broken, newest, _most_kept(keep)))
        store.insert(saved)
        store.commit()
        detail = f"{len(saved)} waiting events saved from {broken.name}"
        store.lost.append(Lost("corrupt", stream, newest + 1, newest + 1, None, detail=detail))
        return store


def _most_kept(keep: KeepAll) -> int:
    """More events than a file ever holds."""
    smallest = on_disk(New("", Kind.PASS, "", "", b""))
    return sum(int(1e6 * keep_of(keep, kind).mb) for kind in Kind) // smallest


def _salvage(broken: Path, newest: int, most: int) -> Iterator[New]:
    """Events not yet delivered that can still be read, one after the other: a broken page takes only its own with it.

    newest: number given out. most: events in a file. After months most numbers are gone, and to ask for each would take an hour:
    where the first of those that are left cannot be read, they are looked for among the last so many.
    """
    query = "SELECT seq, state, key, kind, topic, time, data FROM event NOT INDEXED WHERE seq >= ? ORDER BY seq LIMIT 1"
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(broken)) as db:
        seq, first, in_vain = 1, newest - most, 0
        while seq <= newest:
            try:
                row = db.execute(query, (seq,)).fetchone()
            except sqlite3.DatabaseError:
                in_vain += 1
                seq = max(seq + (1 if in_vain < _REACH else 1000), first)
                continue
            if row is None:
                return
            first, seq, in_vain = 1, int(row[0]) + 1, 0
            if row[1] in (0, 3):
                with contextlib.suppress(ValueError, TypeError):
                    _, _, key, kind, topic, at, data = row
                    yield New(str(key), Kind(kind), str(topic), str(at), bytes(data))


def _summary(broken: Path) -> tuple[str, int]:
    """Stream and newest number of a broken file, as far as it or its mark can be read."""
    label = read_label(broken) or Label("", 0)
    stream, newest = label.stream, label.newest
    with contextlib.suppress(sqlite3.Error, TypeError), contextlib.closing(sqlite3.connect(broken)) as db:
        (stream,) = db.execute("SELECT id FROM stream").fetchone()
        newest = max(newest, int(db.execute("SELECT seq FROM sqlite_sequence").fetchone()[0]))
    return str(stream), newest
