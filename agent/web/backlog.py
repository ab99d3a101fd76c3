"""What waits on this device for the broker, since when, and how long there is room for it: nothing that stops a line."""

import asyncio
import shutil
import sqlite3
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from agent.clock import utc
from agent.sections import KeepAll
from agent.web.board import Board
from agent.web.outbox import Waiting, waiting_in
from agent.web.sessions import Session

_FRESH_S = 15.0  # a second for each million events
_TOLD_AFTER_S = 60.0  # a broker that is started anew is no news


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
