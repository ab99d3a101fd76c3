"""An encoder at a counter module or PLC, polled over Modbus TCP: input registers of 16 or 32 bit that count up and down."""

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Literal

import msgspec

from agent.ejectors import EjectorError
from agent.fieldbus.driver_thread import DriverThread
from agent.fieldbus.modbus import Address, Connection, ModbusError, Peer

_MOST_KEPT = 4096
_AFTER_ERROR_S = 0.05
_QUICKEST_OF = 64
_JITTER_NS = 10_000_000


class Config(Peer, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """counter: address of an input register. bits: 32 for two, the high word first. lost_ms: a silence that is too long."""

    counter: Address
    bits: Literal[16, 32] = 32
    poll_ms: Annotated[float, msgspec.Meta(ge=1, le=1000)] = 5.0
    lost_ms: Annotated[float, msgspec.Meta(ge=10, le=60_000)] = 500.0

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
        self.thread = DriverThread("modbus encoder", self._work)
        self._config = config
        self._connection = Connection(config)
        self._readings: deque[tuple[int, int]] = deque(maxlen=_MOST_KEPT)
        self._took_ns: deque[int] = deque(maxlen=_QUICKEST_OF)
        self._raw: int | None = None
        self._count = 0
        self._read_ns = time.monotonic_ns()
        self._error = "not reached yet"

    def readings(self) -> Sequence[tuple[int, int]]:
        try:
            self.thread.heard()
        except RuntimeError as e:
            raise EjectorError(str(e)) from e
        return [self._readings.popleft() for _ in range(len(self._readings))]

    def filenos(self) -> Sequence[int]:
        return [self.thread.fileno()]

    def problem(self) -> str | None:
        silent_ms = (time.monotonic_ns() - self._read_ns) / 1e6
        return f"encoder silent for {silent_ms:.0f} ms: {self._error}" if silent_ms > self._config.lost_ms else None

    def _work(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self._read()
            except ModbusError as e:
                self._error = str(e)
                stop.wait(_AFTER_ERROR_S)
                continue
            self.thread.ring()
            stop.wait(self._config.poll_ms / 1000)
        self._connection.close()

    def _read(self) -> None:
        asked_ns = time.monotonic_ns()
        words = self._connection.read_input_registers(self._config.counter, self._config.bits // 16)
        raw = 0
        for word in words:
            raw = raw << 16 | word
        read_ns = time.monotonic_ns()
        self._count += 0 if self._raw is None else unwrapped(raw - self._raw, self._config.bits)
        self._raw = raw
        self._took_ns.append(read_ns - asked_ns)
        if (late_ns := self._took_ns[-1] - min(self._took_ns)) > _JITTER_NS:
            self._error = f"answers come up to {late_ns / 1e6:.0f} ms later than others"
            return
        self._read_ns = read_ns
        self._readings.append((read_ns, self._count))


def unwrapped(step: int, bits: int) -> int:
    """A step between two readings of a counter that wraps, as the shorter way round.

    >>> unwrapped(2 - 65535, bits=16), unwrapped(65535 - 2, bits=16)
    (3, -3)
    """
    half = 1 << (bits - 1)
    return (step + half) % (2 * half) - half
