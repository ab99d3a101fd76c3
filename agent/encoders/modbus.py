"""An encoder at a counter module or PLC, polled over Modbus TCP: input registers of 16 or 32 bit that count up and down."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Literal

import msgspec

from agent.ejectors import EjectorError
from agent.fieldbus.modbus import Address, Connection
from agent.fieldbus.polling import PolledPeer, Polling

_MOST_KEPT = 4096
_QUICKEST_OF = 64
_JITTER_NS = 10_000_000


class Config(PolledPeer, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """counter: address of an input register. bits: 32 for two, the high word first. lost_ms: a silence that is too long,
    longer than poll_ms."""

    counter: Address
    bits: Literal[16, 32] = 32
    lost_ms: Annotated[float, msgspec.Meta(ge=10, le=60_000)] = 500.0

    def __post_init__(self) -> None:
        if self.lost_ms <= self.poll_ms:
            raise ValueError(f"lost_ms {self.lost_ms:g} must be above poll_ms {self.poll_ms:g}: between two polls it is silent")

    @contextmanager
    def open(self) -> Iterator["ModbusEncoder"]:
        encoder = ModbusEncoder(self)
        with encoder.thread:
            yield encoder


class ModbusEncoder:
    """`readings` is for the ejector process's thread; the polls happen in `thread`.

    An answer that took 10 ms longer than the quickest lately tells where the belt was, nobody knows when, and is left out: what
    always comes late equally shifts trigger and gate alike, but one late answer would bring one reject too late.
    """

    def __init__(self, config: Config) -> None:
        self.thread: Polling[tuple[int, int]] = Polling("modbus encoder", config, self._read, EjectorError, _MOST_KEPT)
        self._config = config
        self._took_ns: deque[int] = deque(maxlen=_QUICKEST_OF)
        self._raw: int | None = None
        self._count = 0
        self._read_ns = time.monotonic_ns()
        self._late = ""

    def readings(self) -> Sequence[tuple[int, int]]:
        return self.thread.heard()

    def filenos(self) -> Sequence[int]:
        return [self.thread.fileno()]

    def problem(self) -> str | None:
        silent_ms = (time.monotonic_ns() - self._read_ns) / 1e6
        why = self.thread.problem or self._late
        return f"encoder silent for {silent_ms:.0f} ms: {why}" if silent_ms > self._config.lost_ms else None

    def _read(self, connection: Connection) -> list[tuple[int, int]]:
        asked_ns = time.monotonic_ns()
        words = connection.read_input_registers(self._config.counter, self._config.bits // 16)
        raw = 0
        for word in words:
            raw = raw << 16 | word
        read_ns = time.monotonic_ns()
        self._count += 0 if self._raw is None else unwrapped(raw - self._raw, self._config.bits)
        self._raw = raw
        self._took_ns.append(read_ns - asked_ns)
        if (late_ns := self._took_ns[-1] - min(self._took_ns)) > _JITTER_NS:
            self._late = f"answers come up to {late_ns / 1e6:.0f} ms later than others"
            return []
        self._read_ns = read_ns
        return [(read_ns, self._count)]


def unwrapped(step: int, bits: int) -> int:
    """A step between two readings of a counter that wraps, as the shorter way round.

    >>> unwrapped(2 - 65535, bits=16), unwrapped(65535 - 2, bits=16)
    (3, -3)
    """
    half = 1 << (bits - 1)
    return (step + half) % (2 * half) - half
