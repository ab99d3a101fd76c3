"""The station as a Modbus TCP client: it writes its words into the PLC's holding registers and reads the PLC's, again and again.

The words are those of agent/plc/_words.py. What the PLC shows for a shorter time than `poll_ms` is not seen: it holds `trigger`
until `trigger_ack`, and `ack` until `valid` is gone, as the handshake asks for.
"""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import msgspec

from agent.ejectors import EjectorError
from agent.fieldbus.driver_thread import DriverThread
from agent.fieldbus.modbus import Address, Connection, ModbusError, Peer
from agent.gate.handshake import Signals, Wishes
from agent.plc._words import PLC_WORDS, wishes, words

_MOST_KEPT = 256
_AFTER_ERROR_S = 0.1


class Config(Peer, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """ours: first of the twelve holding registers that we write. theirs: first of the two that the PLC writes."""

    ours: Address
    theirs: Address
    poll_ms: Annotated[float, msgspec.Meta(ge=1, le=1000)] = 10.0

    @contextmanager
    def open(self) -> Iterator["ModbusClient"]:
        client = ModbusClient(self)
        with client.thread:
            yield client


class ModbusClient:
    """`exchange` is for the ejector process's thread; the words travel in `thread`."""

    def __init__(self, config: Config) -> None:
        self.thread = DriverThread("plc client", self._work)
        self._config = config
        self._connection = Connection(config)
        self._signals = Signals()
        self._heard: deque[Wishes] = deque(maxlen=_MOST_KEPT)
        self._last = Wishes()
        self._problem: str | None = "not reached yet"

    def exchange(self, signals: Signals) -> Sequence[Wishes]:
        self._signals = signals
        try:
            self.thread.heard()
        except RuntimeError as e:
            raise EjectorError(f"{e}: {e.__cause__}") from e
        return [self._heard.popleft() for _ in range(len(self._heard))]

    def filenos(self) -> Sequence[int]:
        return [self.thread.fileno()]

    def problem(self) -> str | None:
        return self._problem

    def _work(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self._connection.write_registers(self._config.ours, words(self._signals))
                shown = wishes(self._connection.read_holding_registers(self._config.theirs, PLC_WORDS))
                self._problem = None
            except ModbusError as e:
                self._problem = str(e)
                stop.wait(_AFTER_ERROR_S)
                continue
            if shown != self._last:
                self._last = shown
                self._heard.append(shown)
                self.thread.ring()
            stop.wait(self._config.poll_ms / 1000)
        self._connection.close()
