"""The station as a Modbus TCP server: the PLC polls it.

The PLC reads the words of agent/plc/_words.py as input registers from 0 (in one request, so that they belong together), or the
bits as discrete inputs from 0. It writes its own as holding registers from 0, or the bits as coils from 0. A PLC that is silent
for `silent_ms` is a problem. There is no password in Modbus: `host` is the address of the machine's own network card to the PLC.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec

from agent.ejectors import EjectorError
from agent.fieldbus.driver_thread import DriverThread
from agent.gate.handshake import Signals, Wishes
from agent.plc._words import PLC_WORDS, bits, wishes, words

log = logging.getLogger(__name__)

_MOST_KEPT = 256
_STEP_S = 0.05
_COILS = 3
_READ = {1: "coils", 2: "discrete", 3: "holding", 4: "input"}
_WRITE = {5: "coils", 15: "coils", 6: "holding", 16: "holding"}


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """host: address to listen on, of this machine. silent_ms: a PLC that asks for nothing for so long is taken as gone."""

    host: Annotated[str, msgspec.Meta(min_length=1)]
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 502
    silent_ms: Annotated[float, msgspec.Meta(ge=50, le=60_000)] = 2000.0

    @contextmanager
    def open(self) -> Iterator["ModbusServer"]:
        server = ModbusServer(self)
        with server.thread:
            yield server


class ModbusServer:
    """`exchange` is for the ejector process's thread; requests are answered in `thread` from the newest signals."""

    def __init__(self, config: Config) -> None:
        self.thread: DriverThread[Wishes] = DriverThread("plc server", self._work, EjectorError)
        self._config = config
        self._signals = Signals()
        self._plc_words = [0] * PLC_WORDS
        self._asked_ns = time.monotonic_ns()

    def exchange(self, signals: Signals) -> Sequence[Wishes]:
        self._signals = signals
        return self.thread.heard()

    def filenos(self) -> Sequence[int]:
        return [self.thread.fileno()]

    def problem(self) -> str | None:
        silent_ms = (time.monotonic_ns() - self._asked_ns) / 1e6
        return f"the PLC has asked for nothing for {silent_ms:.0f} ms" if silent_ms > self._config.silent_ms else None

    def read(self, table: str, address: int, count: int) -> list[int] | None:
        """What the PLC asked for; None where there is nothing of that address."""
        self._asked_ns = time.monotonic_ns()
        status = self._plc_words[0]
        content: dict[str, list[int]] = {
            "coils": [status >> k & 1 for k in range(_COILS)],
            "discrete": [int(bit) for bit in bits(self._signals)],
            "holding": list(self._plc_words),
            "input": words(self._signals),
        }
        return content[table][address : address + count] if address + count <= len(content[table]) else None

    def write(self, table: str, address: int, values: Sequence[int]) -> bool:
        """What the PLC shows; False where it may not write there."""
        self._asked_ns = time.monotonic_ns()
        if address + len(values) > (_COILS if table == "coils" else PLC_WORDS):
            return False
        if table == "coils":
            for k, value in enumerate(values, start=address):
                self._plc_words[0] = self._plc_words[0] & ~(1 << k) | bool(value) << k
        else:
            self._plc_words[address : address + len(values)] = [int(value) for value in values]
        if self.thread.unheard >= _MOST_KEPT:
            log.error("the PLC has written %d times while nobody looked; this one is lost", _MOST_KEPT)
            return False
        self.thread.tell(wishes(self._plc_words))
        return True

    def _work(self, stop: threading.Event) -> None:
        asyncio.run(self._serve(stop))

    async def _serve(self, stop: threading.Event) -> None:
        from pymodbus.datastore import ModbusServerContext
        from pymodbus.server import ModbusTcpServer

        logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)  # a port scan is no news
        server = ModbusTcpServer(ModbusServerContext(_device(self), single=True), address=(self._config.host, self._config.port))
        try:
            await server.serve_forever(background=True)
        except RuntimeError as e:
            raise EjectorError(f"cannot listen for the PLC on {self._config.host}:{self._config.port}") from e
        while not stop.is_set():
            await asyncio.sleep(_STEP_S)
        await server.shutdown()


def _device(server: ModbusServer) -> Any:
    """Our tables where pymodbus looks for its own: a request is answered from one moment's signals."""
    from pymodbus.constants import ExcCodes
    from pymodbus.datastore import ModbusBaseDeviceContext

    class Device(ModbusBaseDeviceContext):
        def getValues(self, func_code: int, address: int, count: int = 1) -> Any:  # noqa: N802 - pymodbus's name
            if (table := _READ.get(func_code) or _WRITE.get(func_code)) is None:
                return ExcCodes.ILLEGAL_FUNCTION
            content = server.read(table, address, count)
            return ExcCodes.ILLEGAL_ADDRESS if content is None else content

        def setValues(self, func_code: int, address: int, values: Any) -> Any:  # noqa: N802 - pymodbus's name
            if (table := _WRITE.get(func_code)) is None:
                return ExcCodes.ILLEGAL_FUNCTION
            return None if server.write(table, address, values) else ExcCodes.ILLEGAL_ADDRESS

    return Device()
