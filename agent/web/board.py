"""What the page shows now: filled from the inspection process's socket, read by any number of browsers."""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from agent.observation.shown import PAGE_SOCKET, Ended, Frames, Health, Judged, Station, Told, View

log = logging.getLogger(__name__)

_PARTS, _PICTURES = 400, 24
_AGAIN_AFTER_S = 0.5
_SAY_SOMEBODY_LOOKS_S = 0.3
_READ_BYTES = 1 << 16
_NOTHING_NEW_S = 10.0


class Board:
    """The newest of everything. `changed` wakes whoever waits; a browser that is slow misses parts, never delays others."""

    def __init__(self, state: Path) -> None:
        self._socket = state / PAGE_SOCKET
        self.parts: deque[dict[str, Any]] = deque(maxlen=_PARTS)
        self.pictures: OrderedDict[str, tuple[View, ...]] = OrderedDict()
        self.station: dict[str, Any] = {}
        self.health: Health | None = None
        self.is_connected = False
        self.viewers = 0
        self._messages: deque[bytes] = deque(maxlen=_PARTS)
        self._number = 0
        self._changed = asyncio.Event()

    async def listen_forever(self) -> None:
        """Connects to the inspection process, and again whenever it is gone."""
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(str(self._socket))
            except OSError:
                self._connection(False)
                await asyncio.sleep(_AGAIN_AFTER_S)
                continue
            saying = asyncio.create_task(self._say_that_somebody_looks(writer))
            try:
                self._connection(True)
                self.parts.clear()
                frames = Frames()
                while received := await reader.read(_READ_BYTES):
                    for message in frames.feed(received):
                        self._take(message)
            except (OSError, ValueError) as e:
                log.warning("the inspection process's socket: %s", e)
            finally:
                saying.cancel()
                writer.close()

    async def messages(self) -> AsyncIterator[bytes]:
        """What happens from now on, for one browser, as server-sent events; a sign of life when nothing does for a while."""
        seen = self._number
        self.viewers += 1
        try:
            while True:
                if self._number == seen:
                    waiting = self._changed
                    try:
                        await asyncio.wait_for(waiting.wait(), timeout=_NOTHING_NEW_S)
                    except asyncio.TimeoutError:
                        yield b"event: alive\ndata: {}\n\n"
                        continue
                fresh = list(self._messages)[-(self._number - seen) :]
                seen = self._number
                yield b"".join(fresh)
        finally:
            self.viewers -= 1

    async def _say_that_somebody_looks(self, writer: asyncio.StreamWriter) -> None:
        while True:
            if self.viewers:
                writer.write(b"+")
                await writer.drain()
            await asyncio.sleep(_SAY_SOMEBODY_LOOKS_S)

    def _connection(self, is_connected: bool) -> None:
        if is_connected != self.is_connected:
            self.is_connected = is_connected
            self._tell("connection", {"is_connected": is_connected})

    def _take(self, message: Told) -> None:
        match message:
            case Judged():
                if message.is_shown:
                    self.pictures[message.part] = message.views
                    if len(self.pictures) > _PICTURES:
                        self.pictures.popitem(last=False)
                part = {"is_shown": message.is_shown, **_builtin(message.without_pictures())}
                for told, view in zip(part["views"], message.views, strict=True):
                    told["has_picture"] = bool(view.jpeg)
                self._known(message).update(part)
                self._tell("judged", part)
            case Ended():
                ended = _builtin(message)
                self._known(message)["end"] = ended
                self._tell("ended", ended)
            case Station():
                self.station = dict(message.birth)
                self._tell("station", self.station)
            case Health():
                self.health = message
                self._tell("health", msgspec.to_builtins(message))

    def _known(self, message: Judged | Ended) -> dict[str, Any]:
        """What is known of its part; one that nobody judged is known by its end alone."""
        known = next((part for part in reversed(self.parts) if part["part"] == message.part), None)
        if known is None:
            known = {"part": message.part, "time": message.time}
            self.parts.append(known)
        return known

    def _tell(self, kind: str, content: dict[str, Any]) -> None:
        self._number += 1
        self._messages.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode(content)))  # once for all browsers
        self._changed.set()  # whoever waits wakes; the next ones wait for the next
        self._changed = asyncio.Event()


def _builtin(message: Judged | Ended) -> dict[str, Any]:
    """For JSON."""
    content: dict[str, Any] = msgspec.to_builtins(message)
    del content["type"]
    return content
