"""A peer that is asked again and again over Modbus TCP, in a thread of its own."""

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Annotated

import msgspec

from agent.fieldbus.driver_thread import DriverThread, T
from agent.fieldbus.modbus import Connection, ModbusError, Peer

_AFTER_ERROR_S = 0.05


class PolledPeer(Peer, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """poll_ms: from an answer to the next question."""

    poll_ms: Annotated[float, msgspec.Meta(ge=1, le=1000)] = 5.0


class Polling(DriverThread[T]):
    """Tells what each answer gives. ask: puts the question; raises ModbusError. problem: why the last one was not answered."""

    def __init__(
        self,
        name: str,
        peer: PolledPeer,
        ask: Callable[[Connection], Sequence[T]],
        error: type[Exception],
        most: int | None = None,
    ) -> None:
        super().__init__(name, self._poll, error, most)
        self.problem: str | None = "not reached yet"
        self._peer = peer
        self._ask = ask

    def _poll(self, stop: threading.Event) -> None:
        with closing(Connection(self._peer)) as connection:
            while not stop.is_set():
                try:
                    answers = self._ask(connection)
                except ModbusError as e:
                    self.problem = str(e)
                    stop.wait(_AFTER_ERROR_S)
                    continue
                self.problem = None
                if answers:
                    self.tell(*answers)
                stop.wait(self._peer.poll_ms / 1000)
