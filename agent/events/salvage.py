"""A broken outbox file: set aside, and what can be read of it saved into a new one."""

import contextlib
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from agent.events.rows import Kind, Lost, New
from agent.events.store import EventStore, suspect
from agent.sections import KeepAll

log = logging.getLogger(__name__)


def open_or_replace(file: Path, keep: KeepAll, machine: str) -> EventStore:
    """The store; where its file is broken it is set aside, and what can be read of it goes into a new one."""
    try:
        return EventStore(file, keep, machine)
    except sqlite3.OperationalError:
        raise  # not the file's content: no permission, no disk
    except sqlite3.DatabaseError as e:
        number = len(list(file.parent.glob(f"{file.name}.broken-*")))
        stream, newest = _summary(file)
        broken = _quarantine(file, number)
        log.error("%s: %s; set aside as %s, what it held is saved", file, e, broken.name)
        store = EventStore(file, keep, machine)
        saved = list(_salvage(broken, newest))
        store.insert(saved)
        store.commit()
        detail = f"{len(saved)} waiting events saved from {broken.name}"
        store.lost.append(Lost("corrupt", stream, newest + 1, newest + 1, None, detail=detail))
        return store


def _quarantine(file: Path, number: int) -> Path:
    """Moves a broken file with what belongs to it out of the way; gives its new place."""
    away = file.with_name(f"{file.name}.broken-{number}")
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            file.with_name(file.name + suffix).rename(away.with_name(away.name + suffix))
    suspect(file).unlink(missing_ok=True)
    return away


def _salvage(broken: Path, newest: int) -> Iterator[New]:
    """Events not yet delivered that can still be read, number by number: a broken page takes only its own with it."""
    query = "SELECT key, kind, topic, time, data FROM event NOT INDEXED WHERE seq = ? AND state IN (0, 3)"
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(broken)) as db:
        for seq in range(1, newest + 1):
            with contextlib.suppress(sqlite3.DatabaseError, ValueError, TypeError):
                for key, kind, topic, at, data in db.execute(query, (seq,)):
                    yield New(str(key), Kind(kind), str(topic), str(at), bytes(data))


def _summary(broken: Path) -> tuple[str, int]:
    """Stream and newest number of a broken file, as far as it or its mark can be read."""
    stream, newest = "", 0
    with contextlib.suppress(OSError, ValueError):
        stream, number = broken.with_suffix(".mark").read_text().split()
        newest = int(number)
    with contextlib.suppress(sqlite3.Error, TypeError), contextlib.closing(sqlite3.connect(broken)) as db:
        (stream,) = db.execute("SELECT id FROM stream").fetchone()
        newest = max(newest, int(db.execute("SELECT seq FROM sqlite_sequence").fetchone()[0]))
    return str(stream), newest
