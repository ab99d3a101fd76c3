"""What waits on this device for the broker, since when, and how long there is room for it: nothing that stops a line."""

import asyncio
import shutil
import sqlite3
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from agent.clock import utc
from agent.events.rows import Kind, keep_of
from agent.sections import KeepAll
from agent.web.board import Board
from agent.web.sessions import Session

_FRESH_S = 15.0  # a second for each million events
_TOLD_AFTER_S = 60.0  # a broker that is started anew is no news
_KNOWN_AFTER_S = 600.0  # what comes in a shorter time tells little of what will come
_DAY_S = 86400.0


class Waiting(msgspec.Struct, frozen=True):
    """events: that are not where they must go. for_s: the oldest of them, in time of operation; since: the same as its wall
    clock had it. lasts_s: until the first of them has to be deleted for want of room or for its age, None where that is not
    known."""

    events: int = 0
    for_s: float = 0.0
    since: str = ""
    lasts_s: float | None = None


def waiting_in(outbox: Path, keep: KeepAll, free_bytes: float) -> Waiting:
    """free_bytes: on the disk of the outbox. Raises sqlite3.Error."""
    if not outbox.exists():
        return Waiting()
    with closing(sqlite3.connect(f"file:{outbox}?mode=ro", uri=True, timeout=1)) as db:
        found = {kind: _of_kind(db, kind) for kind in Kind}
        oldest = db.execute("SELECT time, operated_s FROM event WHERE state IN (0, 3) ORDER BY seq LIMIT 1").fetchone()
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
    rows = [db.execute(query, (kind, state)).fetchone() for state in (0, 3)]
    return sum(row[0] for row in rows), sum(row[1] for row in rows), min((row[2] for row in rows if row[0]), default=None)


class BacklogDesk:
    """The handler; state: folder of the line. keep: how much of each class."""

    def __init__(self, state: Path, keep: KeepAll, board: Board) -> None:
        self._state = state
        self._keep = keep
        self._board = board
        self._one_at_a_time = asyncio.Lock()
        self._known = Waiting()
        self._known_s = -_FRESH_S

    async def now(self, request: Request, session: Session) -> Response:
        """why: the broker takes nothing, empty where it does. is_news: it is worth a word to those at the line."""
        async with self._one_at_a_time:
            if time.monotonic() - self._known_s >= _FRESH_S:
                self._known = await run_in_threadpool(self._look)
                self._known_s = time.monotonic()
        return JSONResponse(self._told(self._known))

    def _look(self) -> Waiting:
        try:
            return waiting_in(self._state / "outbox.db", self._keep, shutil.disk_usage(self._state).free)
        except (sqlite3.Error, OSError):
            return Waiting()  # the station's trouble tells of a file that cannot be read

    def _told(self, found: Waiting) -> dict[str, Any]:
        health = self._board.health if self._board.is_connected else None
        why, away_s = (health.broker, health.broker_away_s) if health else ("", 0.0)
        since = found.since or (utc() - timedelta(seconds=away_s)).isoformat()
        is_news = found.for_s > _TOLD_AFTER_S or (bool(why) and away_s > _TOLD_AFTER_S)
        return {"why": why, "since": since, "waiting": found.events, "lasts_s": found.lasts_s, "is_news": is_news}
