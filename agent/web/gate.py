"""The gate as the page shows it, and what people order of it there: over the operator's socket, seldom, once for all who look."""

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from agent.gate.operator_side import Action, GateSilentError, GateState, ask_gate
from agent.web.guard import json_body
from agent.web.sessions import Session

log = logging.getLogger(__name__)

_FRESH_S = 0.2  # the ejector process is asked five times a second at most, however many look
_ANSWER_WITHIN_S = 1.0
_MOST_REASONS = 50


class GateDesk:
    """The handlers. state: folder of the line."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._one_at_a_time = asyncio.Lock()
        self._known: dict[str, Any] = {}
        self._known_s = -_FRESH_S

    async def now(self, request: Request, session: Session) -> Response:
        """How the gate stands; only `is_there`: false where no ejector process answers."""
        async with self._one_at_a_time:
            if time.monotonic() - self._known_s >= _FRESH_S:
                try:
                    self._known = _shown(await self._ask("status"))
                except GateSilentError:
                    self._known = {"is_there": False}
                self._known_s = time.monotonic()
        return JSONResponse(self._known)

    async def reset(self, request: Request, session: Session) -> Response:
        """The line may go on. held: the reasons that the person has seen; one that came since has to be looked at first."""
        held = (await json_body(request)).get("held")
        if not (isinstance(held, list) and len(held) <= _MOST_REASONS and all(isinstance(reason, str) for reason in held)):
            raise HTTPException(400, "expected held, a list of reasons")
        async with self._one_at_a_time:
            state = await self._answer("status", session)
            if unseen := state.held.keys() - set(held):
                raise HTTPException(409, f"the line is held for something new ({', '.join(sorted(unseen))}): look at it first")
            return await self._order("reset", session, state)

    async def maintenance(self, request: Request, session: Session) -> Response:
        """The outputs go off and stay inert."""
        return await self._order_alone("maintenance", request, session)

    async def resume(self, request: Request, session: Session) -> Response:
        """The outputs work again."""
        return await self._order_alone("resume", request, session)

    async def recipe(self, request: Request, session: Session) -> Response:
        """Another product. What becomes of it: `recipe.ended` of later answers, under the name `recipe.asked` of this one."""
        wished = (await json_body(request)).get("recipe")
        if type(wished) is not int:
            raise HTTPException(400, "expected recipe, a number")
        async with self._one_at_a_time:
            state = await self._answer("status", session)
            known = state.recipe.known if state.recipe else {}
            if wished not in known:
                names = ", ".join(f"{number} ({name})" for number, name in known.items()) or "none"
                raise HTTPException(409, f"there is no recipe {wished}, this line has {names}")
            return await self._order("recipe", session, state, wished)

    async def _order_alone(self, action: Action, request: Request, session: Session) -> Response:
        await json_body(request)
        async with self._one_at_a_time:
            return await self._order(action, session, await self._answer("status", session))

    async def _order(self, action: Action, session: Session, before: GateState, recipe: int = 0) -> Response:
        held = ", ".join(before.held) or "nothing"
        what = f"{action} {recipe}" if recipe else action
        log.warning("page: %s (%s) orders of the gate: %s; held for %s", session.name, session.role.name.lower(), what, held)
        self._known = _shown(await self._answer(action, session, recipe))
        self._known_s = time.monotonic()
        return JSONResponse(self._known)

    async def _answer(self, action: Action, session: Session, recipe: int = 0) -> GateState:
        """Raises HTTPException where nobody answers."""
        try:
            return await self._ask(action, session.name, recipe)
        except GateSilentError as e:
            log.error("page: %s", e)
            raise HTTPException(503, "the ejector process does not answer: look how the gate stands before you try again") from e

    async def _ask(self, action: Action, by: str = "", recipe: int = 0) -> GateState:
        return await run_in_threadpool(ask_gate, self._state, action, timeout_s=_ANSWER_WITHIN_S, recipe=recipe, by=by)


def _shown(state: GateState) -> dict[str, Any]:
    return {"is_there": True, **msgspec.to_builtins(state)}
