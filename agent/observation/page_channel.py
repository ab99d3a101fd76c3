"""The page's process as the observer sees it: one reader at a Unix socket, who may come, look away, not listen, and go."""

import logging
import socket
import struct
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from agent.observation.shown import PAGE_SOCKET, Ended, Judged, Station, Told, framed

log = logging.getLogger(__name__)

_SOMEBODY_LOOKS_NS = 4_000_000_000  # after the page's process last said so
_REMEMBERED = 400  # parts told to a page that comes later
_SEND_WITHIN_S = 2


class PageChannel:
    """birth: what does not change while a model judges; another one is told as soon as it is put there. Raises OSError."""

    def __init__(self, state: Path, birth: Mapping[str, str | float]) -> None:
        self.birth = self._told_birth = dict(birth)
        self._told: deque[Judged | Ended] = deque(maxlen=_REMEMBERED)
        self._page: socket.socket | None = None
        self._looks_until_ns = 0
        self._unsent = bytearray()
        file = state / PAGE_SOCKET
        state.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(str(file))
        file.chmod(0o600)
        self._server.listen(1)
        self._server.setblocking(False)

    @property
    def is_open(self) -> bool:
        return self._page is not None

    def somebody_looks(self, now_ns: int) -> bool:
        return self._page is not None and now_ns <= self._looks_until_ns

    def serve(self, now_ns: int) -> None:
        """A page that comes takes the place of the one before; it is told the last parts first."""
        try:
            channel, _ = self._server.accept()
        except BlockingIOError:
            channel = None
        if channel is not None:
            self._hang_up()
            channel.setblocking(True)
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND_WITHIN_S, 0))
            self._page = channel
            self._tell_birth()
            for message in self._told:
                self.tell(message)
        if self._told_birth is not self.birth:
            self._tell_birth()
        if self._page is not None:
            self._hear(self._page, now_ns)

    def part(self, message: Judged | Ended) -> None:
        """What happened to a part: told, and remembered without its pictures for a page that comes later."""
        self._told.append(message.without_pictures() if isinstance(message, Judged) else message)
        self.tell(message)

    def tell(self, message: Told) -> None:
        """Goes out with the next `flush`; to nobody where there is no page."""
        if self._page is not None:
            self._unsent += framed(message)

    def flush(self) -> None:
        """Waits for the page for two seconds at most. One that does not read is hung up on; it may call again."""
        if self._page is None or not self._unsent:
            return
        try:
            self._page.sendall(self._unsent)
            self._unsent.clear()
        except OSError as e:
            log.warning("the page's process does not listen any more: %s", e)
            self._hang_up()

    def close(self) -> None:
        self._hang_up()
        self._server.close()

    def _tell_birth(self) -> None:
        self._told_birth = self.birth
        self.tell(Station(self._told_birth))

    def _hear(self, page: socket.socket, now_ns: int) -> None:
        """Anything it says means that somebody looks; no more than that can be said to this process."""
        try:
            heard = page.recv(64, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            heard = b""
        if heard:
            self._looks_until_ns = now_ns + _SOMEBODY_LOOKS_NS
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        self._unsent.clear()
        if self._page is not None:
            self._page.close()
            self._page = None
            self._looks_until_ns = 0
