"""Who is logged in, on the disk: a restart of the page, or of the machine, must not leave a screen in the hall at the login."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
from starlette.concurrency import run_in_threadpool

from agent.clock import machine_boot, utc
from agent.web.accounts import Accounts
from agent.web.sessions import KeptSession, Sessions
from agent.whole_file import sync, write_whole

log = logging.getLogger(__name__)

_LARGEST_BYTES = 1 << 20
_LOOK_EVERY_S = 0.5
_KEEP_EVERY_S = 600.0  # though nobody came or left: how long each has not been used
_PATIENCE_S = 2.0


class _Book(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """mono_s: of CLOCK_MONOTONIC of this boot of the machine. utc: for the next boot."""

    boot: str
    mono_s: float
    utc: Annotated[datetime, msgspec.Meta(tz=True)]
    sessions: list[KeptSession]


class SessionBook:
    """One small file, its owner's alone, replaced as a whole. Without it everybody logs in anew, no more."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._boot = machine_boot()

    def read(self) -> list[KeptSession]:
        """As old as they are by now. A file that cannot be read is as good as none."""
        try:
            with self._file.open("rb") as opened:
                book = msgspec.json.decode(opened.read(_LARGEST_BYTES), type=_Book)
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as e:
            log.warning("%s: %s; everybody has to log in anew", self._file, e)
            return []
        since_s = self._since_s(book)
        return [msgspec.structs.replace(one, age_s=one.age_s + since_s, idle_s=one.idle_s + since_s) for one in book.sessions]

    def write(self, sessions: Sequence[KeptSession]) -> None:
        """May wait for the disk. Where it takes nothing, a restart knows nobody: a session that has ended must not come back."""
        try:
            book = _Book(self._boot, time.monotonic(), utc(), list(sessions))
            write_whole(self._file, msgspec.json.encode(book), private=True)
            sync(self._file.parent)
        except OSError as e:
            log.error("%s: after a restart everybody has to log in anew: %s", self._file, e)
            with contextlib.suppress(OSError):
                self._file.unlink()

    def _since_s(self, book: _Book) -> float:
        """What has passed since it was written. Over two boots only the wall clock can tell; one that is behind makes nobody
        younger."""
        if book.boot == self._boot:
            return max(0.0, time.monotonic() - book.mono_s)
        return max(0.0, (utc() - book.utc).total_seconds())


class SessionKeeper:
    """The sessions of this process, begun where the one before it left off."""

    def __init__(self, file: Path, accounts: Accounts) -> None:
        self.sessions = Sessions()
        self._book = SessionBook(file)
        self._kept_s = time.monotonic()
        self.sessions.restore(self._book.read(), accounts.passwords, self._kept_s)
        self._one_at_a_time = asyncio.Lock()

    async def keep_forever(self) -> None:
        while True:
            await self._keep()
            await asyncio.sleep(_LOOK_EVERY_S)

    async def keep_now(self) -> None:
        """Waits a little; what a disk that hangs has not taken by then, it may take later."""
        await asyncio.wait({asyncio.ensure_future(self._keep())}, timeout=_PATIENCE_S)

    async def _keep(self) -> None:
        async with self._one_at_a_time:
            now_s = time.monotonic()
            if self.sessions.has_changed or now_s - self._kept_s > _KEEP_EVERY_S:
                self.sessions.has_changed, self._kept_s = False, now_s
                await run_in_threadpool(self._book.write, self.sessions.kept(now_s))
