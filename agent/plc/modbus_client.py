"""The station as a Modbus TCP client: it writes its words into the PLC's holding registers and reads the PLC's, again and again.

The words are those of agent/plc/_words.py. What the PLC shows for a shorter time than `poll_ms` is not seen: it holds `trigger`
until `trigger_ack`, and `ack` until `valid` is gone, as the handshake asks for.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import msgspec

from agent.ejectors import EjectorError
from agent.fieldbus.modbus import REGISTERS, Address, Connection
from agent.fieldbus.polling import PolledPeer, Polling
from agent.gate.handshake import Signals, Wishes
from agent.plc._words import PLC_WORDS, WORDS, wishes, words

_MOST_KEPT = 256


class Config(PolledPeer, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """ours: first of the twelve holding registers that we write. theirs: first of the two that the PLC writes."""

    ours: Address
    theirs: Address
    poll_ms: Annotated[float, msgspec.Meta(ge=1, le=1000)] = 10.0

    def __post_init__(self) -> None:
        for name, first, count in (("ours", self.ours, WORDS), ("theirs", self.theirs, PLC_WORDS)):
            if first + count > REGISTERS:
                raise ValueError(f"{name} {first}: expected {count} registers from there, and {REGISTERS - 1} is the last one")
        if self.ours < self.theirs + PLC_WORDS and self.theirs < self.ours + WORDS:
            found = f"ours {self.ours} to {self.ours + WORDS - 1} and theirs {self.theirs} to {self.theirs + PLC_WORDS - 1}"
            raise ValueError(f"{found} overlap: the station would take its own words for the PLC's")

    @property
    def registers(self) -> list[int]:
        """All that it writes and reads."""
        return [*range(self.ours, self.ours + WORDS), *range(self.theirs, self.theirs + PLC_WORDS)]

    @contextmanager
    def open(self) -> Iterator["ModbusClient"]:
        client = ModbusClient(self)
        with client.thread:
            yield client


class ModbusClient:
    """`exchange` is for the ejector process's thread; the words travel in `thread`."""

    def __init__(self, config: Config) -> None:
        self.thread: Polling[Wishes] = Polling("plc client", config, self._ask, EjectorError, _MOST_KEPT)
        self._config = config
        self._signals = Signals()
        self._last: Wishes | None = None

    def exchange(self, signals: Signals) -> Sequence[Wishes]:
        self._signals = signals
        return self.thread.heard()

    def filenos(self) -> Sequence[int]:
        return [self.thread.fileno()]

    def problem(self) -> str | None:
        return self.thread.problem

    def _ask(self, connection: Connection) -> list[Wishes]:
        connection.write_registers(self._config.ours, words(self._signals))
        before, self._last = self._last, wishes(connection.read_holding_registers(self._config.theirs, PLC_WORDS))
        return [self._last] if self._last != before else []
