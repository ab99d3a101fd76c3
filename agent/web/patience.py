"""A visitor who connects and says nothing, or all too slowly, or takes nothing, gives his place to others; uvicorn itself waits
for ever."""

import asyncio
import socket

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_SAY_IT_WITHIN_S = 5.0
_TAKE_IT_WITHIN_MS = 15_000


class ImpatientProtocol(H11Protocol):
    """Each request has to be here, whole, within five seconds; how long its answer takes is another matter.

    Who does not take what he is sent, a tablet that sleeps or has left the network, is hung up on; the kernel alone would wait
    for a quarter of an hour, and for ever for one who only stopped reading. His page comes again by itself.
    """

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _TAKE_IT_WITHIN_MS)
        self._look()

    def handle_events(self) -> None:
        super().handle_events()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self._be_patient()
        super().connection_lost(exc)

    def _look(self) -> None:
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._be_patient()
        elif self._patience is None:
            self._patience = self.loop.call_later(_SAY_IT_WITHIN_S, self.transport.abort)

    def _be_patient(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
