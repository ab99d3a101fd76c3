"""What the page reads of the station's outbox, beside the process that writes it. All raise sqlite3.Error."""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import msgspec

from agent.damaged import damaged_text
from agent.events.rows import Kind, keep_of
from agent.events.store import SENT
from agent.sections import KeepAll

_KNOWN_AFTER_S = 600.0  # what comes in a shorter time tells little of what will come
_DAY_S = 86400.0
_WAITING = 0
_NOT_THERE = (_WAITING, SENT)  # where they must go


def _opened(outbox: Path) -> "closing[sqlite3.Connection]":
    db = sqlite3.connect(f"{outbox.resolve().as_uri()}?mode=ro", uri=True, timeout=1)
    db.text_factory = damaged_text
    return closing(db)


def backlog(outbox: Path) -> int:
    """Events that the broker does not have yet."""
    with _opened(outbox) as db:
        return int(db.execute("SELECT count(*) FROM event WHERE state = ?", (_WAITING,)).fetchone()[0])


def alerts(outbox: Path, limit: int = 200) -> list[dict[str, Any]]:
    """The newest alerts among the station's events, delivered or not. A damaged one does not hide the others."""
    if not outbox.exists():
        return []
    with _opened(outbox) as db:
        rows = db.execute("SELECT time, data FROM event WHERE kind = ? ORDER BY seq DESC LIMIT ?", (Kind.ALERT, limit)).fetchall()
    found = [(time, _content(data)) for time, data in rows]
    return [
        {"time": time, "alert": data.get("alert", ""), "state": data.get("state", "told"), "detail": str(data.get("detail", ""))}
        for time, data in found
    ]


def _content(data: bytes) -> dict[str, Any]:
    with suppress(msgspec.DecodeError, UnicodeDecodeError, TypeError):
        found = msgspec.json.decode(data)
        if isinstance(found, dict):
            return found
    return {"alert": "damaged", "detail": "this alert cannot be read: it was damaged on the disk"}


class Waiting(msgspec.Struct, frozen=True):
    """events: that are not where they must go. for_s: the oldest of them, in time of operation; since: the same as its wall
    clock had it. lasts_s: until the first of them has to be deleted for want of room or for its age, None where that is not
    known."""

    events: int = 0
    for_s: float = 0.0
    since: str = ""
    lasts_s: float | None = None


def waiting_in(outbox: Path, keep: KeepAll, free_bytes: float) -> Waiting:
    """free_bytes: on the disk of the outbox."""
    if not outbox.exists():
        return Waiting()
    with _opened(outbox) as db:
        found = {kind: _of_kind(db, kind) for kind in Kind}
        oldest = db.execute(f"SELECT time, operated_s FROM event WHERE state IN {_NOT_THERE} ORDER BY seq LIMIT 1").fetchone()
        now_s = float(db.execute("SELECT operated_s FROM stream").fetchone()[0])
    if oldest is None:
        return Waiting()
    for_s = max(0.0, now_s - oldest[1])
    lasts = []
    for kind, (_, used, from_s) in found.items():
        limit = keep_of(keep, kind)
        if from_s is not None:
            lasts.append(max(0.0, limit.waiting_days * _DAY_S - (now_s - from_s)))
        if used:
            lasts.append(max(0.0, limit.mb * 1e6 - used) * for_s / used)
    if used := sum(one[1] for one in found.values()):
        lasts.append(free_bytes * for_s / used)
    return Waiting(sum(one[0] for one in found.values()), for_s, oldest[0], min(lasts) if for_s > _KNOWN_AFTER_S else None)


def _of_kind(db: sqlite3.Connection, kind: Kind) -> tuple[int, int, float | None]:
    """How many, their bytes, and when in operation the oldest came; of each state, so that the index alone is read."""
    query = "SELECT count(*), ifnull(sum(bytes), 0), min(operated_s) FROM event WHERE kind = ? AND state = ?"
    rows = [db.execute(query, (kind, state)).fetchone() for state in _NOT_THERE]
    return sum(row[0] for row in rows), sum(row[1] for row in rows), min((row[2] for row in rows if row[0]), default=None)
