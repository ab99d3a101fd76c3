"""All routes of the page in one table, each with the role it asks for."""

import asyncio
import hashlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.observation.shown import View
from agent.record.record import FOLDER
from agent.sections import KeepAll
from agent.web.accounts import Accounts, Role
from agent.web.backlog import BacklogDesk
from agent.web.board import Board
from agent.web.checkup import Checkup
from agent.web.entrance import STATIC, Entrance
from agent.web.exposition import exposition
from agent.web.gate import GateDesk
from agent.web.guard import HEADERS, Door, Handler
from agent.web.outbox import alerts
from agent.web.record import RecordDesk, in_record
from agent.web.session_book import SessionKeeper
from agent.web.sessions import Session, Throttle

log = logging.getLogger(__name__)

Open = Callable[[Request], Awaitable[Response]]

_MOST_STREAMS = 24


class Page:
    """The handlers. Everything they show was told by the line or lies in its state folder. keep: how much of its
    events, by the line's file."""

    def __init__(self, state: Path, is_tls: bool, keep: KeepAll | None = None) -> None:
        self._state = state
        self._version = _version()
        self.board = Board(state)
        self._checkup = Checkup(state)
        self.gate = GateDesk(state)
        self.backlog = BacklogDesk(state, keep or KeepAll(), self.board)
        self.record = RecordDesk(state / FOLDER)
        self.accounts = Accounts(state / "web")
        self.keeper = SessionKeeper(state / "web" / "sessions.json", self.accounts)
        self.door = Door(self.accounts, self.keeper.sessions, Throttle(), is_tls)
        self.entrance = Entrance(self.accounts, self.door, self.keeper.keep_now)

    # ---------------------------------------------------------------- what a viewer sees

    async def page(self, request: Request) -> Response:
        if self.door.session(request) is None:
            return RedirectResponse("/login", 303)
        return FileResponse(STATIC / "page.html")

    async def me(self, request: Request, session: Session) -> Response:
        return JSONResponse({"name": session.name, "role": session.role.name.lower(), "csrf": session.csrf})

    async def now(self, request: Request, session: Session) -> Response:
        """All that a page needs when it opens; `events` says what changes."""
        health = msgspec.to_builtins(self.board.health) if self.board.health else None
        content = {
            "station": self.board.station,
            "health": health,
            "parts": list(self.board.parts),
            "is_connected": self.board.is_connected,
            "version": self._version,
        }
        return JSONResponse(content)

    async def events(self, request: Request, session: Session) -> Response:
        """Server-sent events; ends with the session."""
        if self.board.viewers >= _MOST_STREAMS:
            raise HTTPException(503, f"{_MOST_STREAMS} pages are open already")

        async def stream() -> AsyncIterator[bytes]:
            yield b"retry: 1000\n\n"
            async for told in self.board.messages():
                if self.door.session(request) is None:
                    return
                yield told

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def live_picture(self, request: Request, session: Session) -> Response:
        return Response(self._live_view(request).jpeg, media_type="image/jpeg")

    async def live_heat(self, request: Request, session: Session) -> Response:
        if not (heat := self._live_view(request).heat):
            raise HTTPException(404, "there is no heat map of this part")
        return Response(heat, media_type="image/png")

    def _live_view(self, request: Request) -> View:
        """What the camera of this number saw of a part."""
        views: tuple[View, ...] = self.board.pictures.get(f"{request.path_params['boot']}/{request.path_params['n']}", ())
        camera: int = request.path_params["camera"]
        if camera >= len(views) or not views[camera].jpeg:
            raise HTTPException(404, "this part is not among the last ones shown")
        return views[camera]

    async def alerts(self, request: Request, session: Session) -> Response:
        return JSONResponse(await in_record(alerts, self._state / "outbox.db"))

    async def doctor(self, request: Request, session: Session) -> Response:
        return JSONResponse(await self._checkup.findings())

    async def metrics(self, request: Request) -> Response:
        """For Prometheus with the token that lies on the device, and for whoever is logged in."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not (scheme.lower() == "bearer" and self.accounts.may_read_metrics(token)) and self.door.session(request) is None:
            raise HTTPException(401, "log in, or give the token as a bearer", headers={"WWW-Authenticate": "Bearer"})
        health = self.board.health if self.board.is_connected else None
        text = await run_in_threadpool(exposition, health, self.board.station, self._state)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _version() -> str:
    """Of the files that the page consists of: a page that stays open while they are replaced loads them anew."""
    content = hashlib.sha256()
    for file in sorted(STATIC.iterdir()):
        content.update(file.read_bytes())
    return content.hexdigest()[:16]


class _Number(IntegerConvertor):
    """One that SQLite and Python take; a longer one leads nowhere."""

    regex = "[0-9]{1,18}"


register_url_convertor("number", _Number())


def routes_of(page: Page) -> list[tuple[str, str, Role | None, Handler | Open]]:
    """Method, path, role, handler. Without a role: the sign of life, the door itself, and what asks for its own token."""
    return [
        ("GET", "/live", None, page.entrance.alive),
        ("GET", "/login", None, page.entrance.login_page),
        ("GET", "/static/{name}", None, page.entrance.open_file),
        ("GET", "/first-run", None, page.entrance.is_first_run),
        ("POST", "/first-run", None, page.entrance.first_run),
        ("POST", "/login", None, page.entrance.login),
        ("GET", "/", None, page.page),
        ("POST", "/logout", Role.VIEWER, page.entrance.logout),
        ("GET", "/api/me", Role.VIEWER, page.me),
        ("GET", "/api/now", Role.VIEWER, page.now),
        ("GET", "/api/events", Role.VIEWER, page.events),
        ("GET", "/live/{boot}/{n:number}/{camera:number}.jpg", Role.VIEWER, page.live_picture),
        ("GET", "/live/{boot}/{n:number}/{camera:number}.png", Role.VIEWER, page.live_heat),
        ("GET", "/api/alerts", Role.VIEWER, page.alerts),
        ("GET", "/api/gate", Role.VIEWER, page.gate.now),
        ("GET", "/api/backlog", Role.VIEWER, page.backlog.now),
        ("GET", "/api/doctor", Role.VIEWER, page.doctor),
        ("GET", "/api/kept", Role.VIEWER, page.record.search),
        ("GET", "/api/kept/{number:number}/beside", Role.VIEWER, page.record.beside),
        ("GET", "/kept/{number:number}/image.png", Role.VIEWER, page.record.image),
        ("GET", "/kept/{number:number}/small.jpg", Role.VIEWER, page.record.small),
        ("GET", "/kept/{number:number}/heat.png", Role.VIEWER, page.record.heat),
        ("GET", "/metrics", None, page.metrics),
        ("POST", "/api/review", Role.OPERATOR, page.record.review),
        ("POST", "/api/gate/reset", Role.OPERATOR, page.gate.reset),
        ("POST", "/api/gate/recipe", Role.OPERATOR, page.gate.recipe),
        ("POST", "/api/gate/maintenance", Role.ENGINEER, page.gate.maintenance),
        ("POST", "/api/gate/resume", Role.ENGINEER, page.gate.resume),
        ("GET", "/api/export", Role.ENGINEER, page.record.export),
        ("GET", "/api/accounts", Role.ENGINEER, page.entrance.accounts_list),
        ("POST", "/api/accounts", Role.ENGINEER, page.entrance.accounts_put),
        ("DELETE", "/api/accounts", Role.ENGINEER, page.entrance.accounts_remove),
    ]


def app_of(page: Page, beside: Callable[[], Coroutine[Any, Any, None]] | None = None) -> ASGIApp:
    """The application; it listens to the inspection process while it lives, and keeps the sessions. beside: goes on with it."""

    @asynccontextmanager
    async def listening(app: Starlette) -> AsyncIterator[None]:
        works = [page.board.listen_forever, page.keeper.keep_forever, *([beside] if beside else [])]
        tasks = [asyncio.create_task(work()) for work in works]
        for task in tasks:
            task.add_done_callback(_loud)
        yield
        for task in tasks:
            task.cancel()
        await page.keeper.keep_now()

    def route(method: str, path: str, role: Role | None, handler: Any) -> Route:
        return Route(path, handler if role is None else page.door.guarded(role, handler), methods=[method])

    app = Starlette(
        routes=[route(*entry) for entry in routes_of(page)],
        lifespan=listening,
        exception_handlers={HTTPException: _answer},
    )
    return _WithHeaders(app)


def _loud(task: "asyncio.Task[None]") -> None:
    """A task that died ends the process, which is then started again."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("the page listens to the line no more, keeps no sessions, or follows no certificate: %r", error)
        os.kill(os.getpid(), signal.SIGTERM)


async def _answer(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=dict(error.headers or {}))


class _WithHeaders:
    """Every answer, also an error's, forbids what the page does not need."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_RAW_HEADERS]
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


_RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
