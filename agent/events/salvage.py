"""A broken outbox file: set aside, and what can be read of it saved into a new one, however often a kill comes in between."""

import contextlib
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from agent.clock import utc_now
from agent.damaged import BROKEN, damaged_text, is_broken, readable
from agent.events.database import suspect
from agent.events.event import ALERT_TOPIC, lost_alert
from agent.events.label import Label, read_label
from agent.events.rows import Kind, Lost, New, keep_of, on_disk, whole_row
from agent.events.store import DELIVERED, REFUSED, EventStore
from agent.sections import KeepAll
from agent.set_aside import is_saved, next_place, take_away, unsaved

log = logging.getLogger(__name__)

_COLUMNS = 9  # of an event (agent/events/database.py)


def open_or_replace(file: Path, keep: KeepAll, machine: str, told_as: str = "") -> EventStore:
    """The store; where its file is broken it is set aside, and what can be read of it goes into a new one."""
    unsaved(file)
    label = read_label(file)
    try:
        store = EventStore(file, keep, machine, told_as=told_as)
    except BROKEN as e:
        if not is_broken(e):
            raise
        log.error("%s: broken: %s", file, e)
        take_away(file)
        with contextlib.suppress(OSError):
            suspect(file).unlink()
        store = EventStore(file, keep, machine, told_as=told_as)
    if (broken := unsaved(file)) is not None:
        with contextlib.ExitStack() as unless_saved:
            unless_saved.callback(store.close)
            unless_saved.callback(store.rollback)
            _save(file, broken, store, label, keep)
            unless_saved.pop_all()
    return store


def _save(file: Path, broken: Path, store: EventStore, label: Label | None, keep: KeepAll) -> None:
    """Together with what is told of it, or nothing. A second time it saves what is not there yet: nothing, as a rule."""
    stream, newest = _summary(broken, label if label and label.stream != store.stream else Label("", 0))
    saved = store.insert(_salvage(broken, newest, _most_kept(keep)))
    lost = Lost(
        "corrupt", stream, newest + 1, newest + 1, None, detail=f"{saved} waiting events saved from {next_place(file).name}"
    )
    store.insert([New(lost.key, Kind.ALERT, ALERT_TOPIC, utc_now(), lost_alert(lost))])
    store.commit()
    log.error("events lost: %s", lost)
    try:
        is_saved(file)
    except OSError as e:
        log.error("%s: saved, and will be once more at the next start: it cannot be set aside: %s", broken, e)


def _most_kept(keep: KeepAll) -> int:
    """More events than a file ever holds."""
    smallest = on_disk(New("", Kind.PASS, "", "", b""))
    return sum(int(1e6 * keep_of(keep, kind).mb) for kind in Kind) // smallest


def _salvage(broken: Path, newest: int, most: int) -> Iterator[New]:
    """Events not yet delivered that can still be read. newest: number given out. most: events in a file."""
    query = "SELECT rowid, * FROM event NOT INDEXED WHERE rowid >= ? ORDER BY rowid LIMIT 1"  # by no name that may be damaged
    with contextlib.closing(_opened(broken)) as db:
        for seq, *columns in readable(db, query, newest, most):
            if len(columns) != _COLUMNS:
                continue
            _, key, kind, topic, time, _, _, data, state = columns
            if state not in (DELIVERED, REFUSED):
                row = whole_row("", seq, key, topic, time, data)
                yield New(row.key, Kind(kind) if kind in list(Kind) else Kind.REJECT, row.topic, row.time, row.data)


def _summary(broken: Path, label: Label) -> tuple[str, int]:
    """Stream and newest number of a broken file, as far as it or its mark can be read."""
    stream, newest = label.stream, label.newest
    with contextlib.closing(_opened(broken)) as db:
        with contextlib.suppress(*BROKEN):
            stream = str(db.execute("SELECT id FROM stream").fetchone()[0])
        with contextlib.suppress(*BROKEN):
            newest = max(newest, int(db.execute("SELECT seq FROM sqlite_sequence").fetchone()[0]))
        if newest == 0:
            with contextlib.suppress(*BROKEN):
                newest = int(db.execute("SELECT max(seq) FROM event").fetchone()[0])
    return stream, newest


def _opened(broken: Path) -> sqlite3.Connection:
    db = sqlite3.connect(broken)
    db.text_factory = damaged_text
    return db
