"""The entrance of the page: the first run, login and logout, and who has an account."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response

from agent.web.accounts import AccountError, Accounts, Role
from agent.web.guard import Door, from_our_own_page, json_body, text_of
from agent.web.sessions import Session

log = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
OPEN_FILES = ("login.html", "login.js", "style.css", "kensa.svg")  # the door itself
_MOST_GUESSES_AT_ONCE = 4


class Entrance:
    """The handlers at the door. keep: the sessions as they are now, so that none that ended comes back with a restart."""

    def __init__(self, accounts: Accounts, door: Door, keep: Callable[[], Awaitable[None]]) -> None:
        self.accounts = accounts
        self.door = door
        self._keep = keep
        self._guesses = asyncio.Semaphore(_MOST_GUESSES_AT_ONCE)

    async def alive(self, request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def login_page(self, request: Request) -> Response:
        return FileResponse(STATIC / "login.html")

    async def open_file(self, request: Request) -> Response:
        """Only files named in OPEN_FILES; those of the page itself need a session."""
        name = request.path_params["name"]
        if name not in OPEN_FILES:
            if self.door.session(request) is None:
                raise HTTPException(401, "log in first")
            if name not in {file.name for file in STATIC.iterdir()}:
                raise HTTPException(404, "no such file")
        return FileResponse(STATIC / name)

    async def is_first_run(self, request: Request) -> Response:
        where = str(self.accounts.token_file) if self.accounts.is_first_run else ""
        return JSONResponse({"is_first_run": self.accounts.is_first_run, "token_file": where})

    async def login(self, request: Request) -> Response:
        """The same answer for a wrong name and a wrong password; wrong guesses make the name and the address wait."""
        from_our_own_page(request)
        content = await json_body(request)
        name, password = text_of(content, "name", 40), text_of(content, "password")
        knockers = self._knockers(request, name)
        self._must_not_wait(knockers)
        async with self._one_of_few_guesses():
            role = await run_in_threadpool(self.accounts.role_of, name, password)
        if role is None:
            self._guessed_wrong(knockers)
            raise HTTPException(401, "name or password is wrong")
        return await self._entered(request, name, role, knockers)

    async def first_run(self, request: Request) -> Response:
        """Makes the first account, an engineer's, for whoever can read the token on the device."""
        from_our_own_page(request)
        content = await json_body(request)
        name, password, token = text_of(content, "name", 40), text_of(content, "password"), text_of(content, "token")
        knockers = self._knockers(request, "first run")
        self._must_not_wait(knockers)
        if not self.accounts.is_first_run_token(token):
            self._guessed_wrong(knockers)
            raise HTTPException(401, "this is not the token of the first run, or there is an account already")
        with _told_to_the_person():
            self.accounts.put(name, password, Role.ENGINEER)
        return await self._entered(request, name, Role.ENGINEER, knockers)

    async def logout(self, request: Request, session: Session) -> Response:
        response = JSONResponse({})
        self.door.leave(request, response)
        await self._keep()
        return response

    @staticmethod
    def _knockers(request: Request, name: str) -> tuple[str, str]:
        return f"name {name}", f"address {request.client.host if request.client else ''}"

    def _must_not_wait(self, knockers: tuple[str, ...]) -> None:
        wait_s = max(self.door.throttle.wait_s(who, time.monotonic()) for who in knockers)
        if wait_s > 0:
            seconds = str(int(wait_s) + 1)
            raise HTTPException(429, f"too many wrong guesses, wait {seconds} s", headers={"Retry-After": seconds})

    def _guessed_wrong(self, knockers: tuple[str, ...]) -> None:
        for who in knockers:
            self.door.throttle.wrong(who, time.monotonic())
        log.warning("page: a wrong login from %s", knockers[1])

    @asynccontextmanager
    async def _one_of_few_guesses(self) -> AsyncIterator[None]:
        if self._guesses.locked():
            raise HTTPException(429, "too many logins at once, try again", headers={"Retry-After": "1"})
        async with self._guesses:
            yield

    async def _entered(self, request: Request, name: str, role: Role, knockers: tuple[str, ...]) -> Response:
        for who in knockers:
            self.door.throttle.right(who)
        log.info("page: %s logged in as %s", name, role.name.lower())
        response = JSONResponse({"role": role.name.lower()})
        self.door.enter(name, role, request, response)
        await self._keep()
        return response

    # ---------------------------------------------------------------- what an engineer does

    async def accounts_list(self, request: Request, session: Session) -> Response:
        return JSONResponse({name: role.name.lower() for name, role in self.accounts.names.items()})

    async def accounts_put(self, request: Request, session: Session) -> Response:
        content = await json_body(request)
        name, password, role = text_of(content, "name", 40), text_of(content, "password"), text_of(content, "role", 20)
        if role.upper() not in Role.__members__:
            raise HTTPException(400, f"expected one of the roles {', '.join(r.name.lower() for r in Role)}")
        with _told_to_the_person():
            await run_in_threadpool(self.accounts.put, name, password, Role[role.upper()])
        self.door.sessions.end_all_of(name)
        log.info("page: %s made or changed the account %s (%s)", session.name, name, role)
        return JSONResponse({})

    async def accounts_remove(self, request: Request, session: Session) -> Response:
        name = text_of(await json_body(request), "name", 40)
        with _told_to_the_person():
            self.accounts.remove(name)
        self.door.sessions.end_all_of(name)
        log.info("page: %s removed the account %s", session.name, name)
        return JSONResponse({})


@contextmanager
def _told_to_the_person() -> Iterator[None]:
    """An AccountError becomes an answer."""
    try:
        yield
    except AccountError as e:
        raise HTTPException(400, str(e)) from e
