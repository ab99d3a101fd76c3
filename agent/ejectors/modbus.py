"""An output of a PLC or an I/O coupler over Modbus TCP: a coil, or a register that is 1 for on and 0 for off.

The network is waited for in a thread of its own. A write without a clear answer is never taken for done: the output is read back.
If the ejector process hangs for two seconds, the thread switches off; if the whole process dies, the output stays as it is until
the next one opens (within seconds) or the coupler's own watchdog ends it: switch that on.
"""

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import msgspec

from agent.ejectors import EjectorError, Switched
from agent.fieldbus.driver_thread import DriverThread
from agent.fieldbus.modbus import Address, Connection, ModbusError, Peer

_MOST_ASKED = 256
_TRY_AGAIN_S = 0.02
_LOOK_EVERY_NS = 250_000_000
_DEAD_MAN_NS = 2_000_000_000


class Config(Peer, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """coil or register: the output's address, from 0. within_ms: a switch not done by then, with all its attempts, has failed;
    nothing is waited for longer, however long timeout_ms is."""

    coil: Address | None = None
    register: Address | None = None
    within_ms: Annotated[float, msgspec.Meta(ge=1, le=1000)] = 300.0

    def __post_init__(self) -> None:
        if (self.coil is None) == (self.register is None):
            raise ValueError("give either coil or register")

    @contextmanager
    def open(self) -> Iterator["ModbusEjector"]:
        ejector = ModbusEjector(self)
        with ejector.thread:
            yield ejector


class ModbusEjector:
    """One output; `switch` and `answers` are for the ejector process's thread, the rest happens in `thread`."""

    def __init__(self, config: Config) -> None:
        self.thread: DriverThread[Switched] = DriverThread("modbus ejector", self._work, EjectorError)
        self._config = config
        self._connection = Connection(config)
        self._within_ns = round(config.within_ms * 1e6)
        self._asked: queue.Queue[tuple[bool, int]] = queue.Queue(_MOST_ASKED)
        self._alive_ns = time.monotonic_ns()
        self._wanted = False
        self._problem: str | None = "not reached yet"

    def switch(self, on: bool, now_ns: int) -> None:
        try:
            self._asked.put_nowait((on, time.monotonic_ns()))
        except queue.Full:
            raise EjectorError(f"{self._config.host}: {_MOST_ASKED} switches wait for an answer") from None

    def answers(self) -> Sequence[Switched]:
        self._alive_ns = time.monotonic_ns()
        return self.thread.heard()

    def problem(self) -> str | None:
        return self._problem

    def filenos(self) -> Sequence[int]:
        return [self.thread.fileno()]

    def _work(self, stop: threading.Event) -> None:
        next_look_ns = 0
        while not stop.is_set():
            try:
                on, asked_ns = self._asked.get(timeout=0.05)
            except queue.Empty:
                if (now_ns := time.monotonic_ns()) >= next_look_ns:
                    self._look(now_ns)
                    next_look_ns = now_ns + _LOOK_EVERY_NS
                continue
            self._wanted = on
            self.thread.tell(self._do(on, asked_ns, stop))
        self._wanted = False
        self._do(False, time.monotonic_ns(), stop)
        self._connection.close()

    def _do(self, on: bool, asked_ns: int, stop: threading.Event) -> Switched:
        """Writes until the answer is clear; what is unclear is read back. An on whose time is over is not written any more, an
        off is tried once, in a time of its own."""
        until_ns = asked_ns + self._within_ns
        why = ""
        while (now_ns := time.monotonic_ns()) < until_ns or (not on and not why):
            self._connection.until_ns = until_ns = until_ns if now_ns < until_ns else now_ns + self._within_ns
            try:
                self._write(on)
                return self._done(on)
            except ModbusError as e:
                why = str(e)
            if time.monotonic_ns() >= until_ns:
                break
            try:
                if self._read() == on:
                    return self._done(on)
            except ModbusError as e:
                why = str(e)
            stop.wait(_TRY_AGAIN_S)
        self._problem = why = why or "waited too long behind others"
        if on:
            self._wanted = False  # too late to help: it must not come on after its part
        return Switched(on, now_ns, f"output not switched {'on' if on else 'off'}: {why}")

    def _done(self, on: bool) -> Switched:
        self._problem = None
        return Switched(on, time.monotonic_ns())

    def _look(self, now_ns: int) -> None:
        """Between pulses: whether the peer is there, its output as it should be, and the ejector process alive. A switch that
        is asked for meanwhile waits behind it."""
        self._connection.until_ns = now_ns + self._within_ns
        if now_ns - self._alive_ns > _DEAD_MAN_NS:
            self._wanted = False
        try:
            if self._read() != self._wanted:
                self._write(self._wanted)
            self._problem = None
        except ModbusError as e:
            self._problem = str(e)

    def _write(self, on: bool) -> None:
        if self._config.coil is not None:
            self._connection.write_coil(self._config.coil, on)
        elif self._config.register is not None:
            self._connection.write_register(self._config.register, int(on))

    def _read(self) -> bool:
        if self._config.coil is not None:
            return self._connection.read_coils(self._config.coil, 1)[0]
        return self._connection.read_holding_registers(self._config.register or 0, 1)[0] != 0
