"""The image record on the page: what is kept, one of them at large, reviews, and their export."""

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse

from agent.web.guard import json_body, text_of
from agent.web.kept import KeptImages, MeanwhileError, ReviewError
from agent.web.sessions import Session

log = logging.getLogger(__name__)


class RecordDesk:
    """The handlers. folder: of the record."""

    def __init__(self, folder: Path) -> None:
        self._kept = KeptImages(folder)

    async def search(self, request: Request, session: Session) -> Response:
        """What the record keeps, by kind, review and words; `before` and `after` a number."""
        query = request.query_params
        for name in ("before", "after"):
            if name in query and not (query[name].isdecimal() and len(query[name]) < 19):
                raise HTTPException(400, f"expected {name}, a number")
        before = int(query["before"]) if "before" in query else None
        wanted = (query.get("kind", "all"), query.get("review", "all"), query.get("text", "")[:60])
        return JSONResponse(await in_record(self._kept.search, *wanted, before, int(query.get("after", 0))))

    async def beside(self, request: Request, session: Session) -> Response:
        return JSONResponse(await in_record(self._kept.beside, request.path_params["number"]))

    async def image(self, request: Request, session: Session) -> Response:
        file = await in_record(self._kept.image, request.path_params["number"])
        if file is None:
            raise HTTPException(404, "this image is not kept any more")
        return FileResponse(file, media_type="image/png")

    async def small(self, request: Request, session: Session) -> Response:
        content = await in_record(self._kept.small, request.path_params["number"])
        if content is None:
            raise HTTPException(404, "this image is not kept any more")
        return Response(content, media_type="image/jpeg")

    async def heat(self, request: Request, session: Session) -> Response:
        content = await in_record(self._kept.heat, request.path_params["number"])
        if not content:
            raise HTTPException(404, "there is no heat map of this image")
        return Response(content, media_type="image/png")

    async def review(self, request: Request, session: Session) -> Response:
        """A judgment is kept. reviewed: when the one was made that the person saw; one that came since is not replaced."""
        content = await json_body(request)
        number = content.get("id")
        if type(number) is not int or not 0 < number < 1 << 62:
            raise HTTPException(400, "expected id, a number")
        judgment, defect, note = text_of(content, "judgment", 10), text_of(content, "defect", 60), text_of(content, "note")
        seen = text_of(content, "reviewed", 40)
        try:
            said = await in_record(self._kept.review, number, judgment, defect, note, session.name, seen)
        except MeanwhileError as e:
            raise HTTPException(409, str(e)) from e
        except ReviewError as e:
            raise HTTPException(400, str(e)) from e
        return JSONResponse({"reviewed": said.time})

    async def export(self, request: Request, session: Session) -> Response:
        """The reviewed parts as a data set for the next training."""
        if not self._kept.is_there:
            raise HTTPException(404, "nothing is kept here: the line has no section `record`")
        log.info("page: %s exports the reviewed parts", session.name)
        headers = {"Content-Disposition": 'attachment; filename="reviewed-parts.zip"'}
        return StreamingResponse(self._kept.data_set(), media_type="application/zip", headers=headers)


async def in_record(read: Callable[..., Any], *arguments: Any) -> Any:
    """Off the event loop; a record that cannot be read is an answer, not a stack trace."""
    try:
        return await run_in_threadpool(read, *arguments)
    except (sqlite3.Error, OSError) as e:
        log.error("page: the record cannot be read: %s", e)
        raise HTTPException(503, "the record cannot be read now") from e
