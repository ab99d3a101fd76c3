"""The door of every route: session, role, a token for what changes something, and no more bytes than needed."""

import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from agent.web.accounts import Accounts, Role
from agent.web.sessions import VIEWERS_LONGEST_S, Session, Sessions, Throttle

COOKIE = "kensa-session"
CSRF_HEADER = "x-csrf-token"
_LARGEST_BODY_BYTES = 16_384
_VERSION = re.compile("[0-9.]+")
_HALF_A_CHARACTER = re.compile("[\ud800-\udfff]")  # JSON may have it, UTF-8 has not

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

Handler = Callable[[Request, Session], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Door:
    """Who is inside, who may come in, and who has knocked too often. is_tls: cookies travel encrypted only."""

    accounts: Accounts
    sessions: Sessions
    throttle: Throttle
    is_tls: bool

    def session(self, request: Request) -> Session | None:
        """Of the browser that asks; None where it has none."""
        secret = request.cookies.get(COOKIE, "")
        return self.sessions.find(secret, origin_of(request), time.monotonic()) if secret else None

    def guarded(self, role: Role, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """The handler behind session, role, and for all but GET the session's own token."""

        async def knock(request: Request) -> Response:
            session = self.session(request)
            if session is None:
                raise HTTPException(401, "log in first")
            if session.role < role:
                raise HTTPException(403, f"this is for the role {role.name.lower()}, you are {session.role.name.lower()}")
            if request.method not in ("GET", "HEAD"):
                from_our_own_page(request)
                if request.headers.get(CSRF_HEADER, "") != session.csrf:
                    raise HTTPException(403, "this request does not come from the page: load the page again")
            return await handler(request, session)

        return knock

    def enter(self, name: str, role: Role, request: Request, response: Response) -> None:
        """A fresh session; the one that the browser had before is over."""
        self.leave(request, response)
        account = self.accounts.password_of(name)
        secret = self.sessions.begin(name, role, origin_of(request), time.monotonic(), account)
        lasts_s = int(VIEWERS_LONGEST_S) if role is Role.VIEWER else None  # else as long as the browser runs
        response.set_cookie(COOKIE, secret, max_age=lasts_s, httponly=True, samesite="strict", secure=self.is_tls, path="/")

    def leave(self, request: Request, response: Response) -> None:
        self.sessions.end(request.cookies.get(COOKIE, ""))
        response.delete_cookie(COOKIE, path="/")


def origin_of(request: Request) -> str:
    """What a session is tied to: a cookie that is carried to another machine or browser is worth nothing. A browser may be
    updated."""
    address = request.client.host if request.client else ""
    return f"{address} {_VERSION.sub('', request.headers.get('user-agent', ''))}"


def from_our_own_page(request: Request) -> None:
    """Raises HTTPException where the browser says that another site sends this."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise HTTPException(403, "this request comes from another site")


async def json_body(request: Request) -> dict[str, Any]:
    """A small JSON object. Raises HTTPException for anything else."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "expected application/json")
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > _LARGEST_BODY_BYTES:
                raise HTTPException(413, f"expected at most {_LARGEST_BODY_BYTES} bytes")
    except ClientDisconnect as e:
        raise HTTPException(400, "expected the rest of it") from e  # nobody hears that
    try:
        content = json.loads(bytes(body))
    except (ValueError, RecursionError) as e:
        raise HTTPException(400, "expected JSON") from e
    if not isinstance(content, dict):
        raise HTTPException(400, "expected a JSON object")
    return content


def text_of(content: dict[str, Any], key: str, longest: int = 200) -> str:
    """A string of the body. Raises HTTPException where there is none or it is too long."""
    value = content.get(key)
    if not isinstance(value, str) or len(value) > longest or _HALF_A_CHARACTER.search(value):
        raise HTTPException(400, f"expected {key}, text of at most {longest} characters")
    return value
