"""A Modbus TCP connection that is never trusted: one request at a time, a deadline for each, thrown away after any error.

pymodbus does not follow semantic versioning (coil bit order and argument names changed in minor releases): it is pinned exactly,
touched only here and in agent/plc/modbus_server.py, and tested against libmodbus.
"""

import logging
import select
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

if TYPE_CHECKING:
    from pymodbus.pdu import ModbusPDU

REGISTERS = 1 << 16  # of each kind, at most
Address = Annotated[int, msgspec.Meta(ge=0, lt=REGISTERS)]

_LARGEST_BYTES = 4096


class ModbusError(Exception):
    """The peer could not be reached or did not answer as it should; what it has done meanwhile is unknown."""


class Peer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a Modbus TCP server is. timeout_ms: for connecting, and for each answer."""

    host: Annotated[str, msgspec.Meta(min_length=1)]
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 502
    unit: Annotated[int, msgspec.Meta(ge=0, le=255)] = 1
    timeout_ms: Annotated[float, msgspec.Meta(ge=1, le=10_000)] = 100.0


class Connection:
    """Requests to one peer, from one thread. Connects when asked for something; any error closes the connection.

    Bits are in the order of their addresses; registers are 16 bit, unsigned.
    until_ns: nothing is waited for longer, however long `timeout_ms` is; None: as long as that says.
    """

    def __init__(self, peer: Peer) -> None:
        self.until_ns: int | None = None
        self._peer = peer
        self._client: Any = None

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None

    def read_coils(self, address: int, count: int) -> list[bool]:
        return self._bits(lambda client, unit: client.read_coils(address, count=count, device_id=unit), count)

    def read_discrete_inputs(self, address: int, count: int) -> list[bool]:
        return self._bits(lambda client, unit: client.read_discrete_inputs(address, count=count, device_id=unit), count)

    def read_holding_registers(self, address: int, count: int) -> list[int]:
        return self._registers(lambda client, unit: client.read_holding_registers(address, count=count, device_id=unit), count)

    def read_input_registers(self, address: int, count: int) -> list[int]:
        return self._registers(lambda client, unit: client.read_input_registers(address, count=count, device_id=unit), count)

    def write_coil(self, address: int, on: bool) -> None:
        answer = self._ask(lambda client, unit: client.write_coil(address, on, device_id=unit))
        if (answer.address, list(answer.bits[:1])) != (address, [on]):
            raise self._lost(f"wrote {on} to coil {address}, the answer says {answer.bits[:1]} to {answer.address}")

    def write_register(self, address: int, value: int) -> None:
        answer = self._ask(lambda client, unit: client.write_register(address, value, device_id=unit))
        if (answer.address, list(answer.registers)) != (address, [value]):
            raise self._lost(f"wrote {value} to register {address}, the answer says {answer.registers} to {answer.address}")

    def write_registers(self, address: int, values: Sequence[int]) -> None:
        answer = self._ask(lambda client, unit: client.write_registers(address, list(values), device_id=unit))
        if (answer.address, answer.count) != (address, len(values)):
            raise self._lost(
                f"wrote {len(values)} registers from {address}, the answer says {answer.count} from {answer.address}"
            )

    def _bits(self, request: "Callable[[Any, int], ModbusPDU]", count: int) -> list[bool]:
        bits = list(self._ask(request).bits)
        if len(bits) < count:  # eight at a time: the answer may have more
            raise self._lost(f"expected {count} bits, got {len(bits)}")
        return bits[:count]

    def _registers(self, request: "Callable[[Any, int], ModbusPDU]", count: int) -> list[int]:
        registers = list(self._ask(request).registers)
        if len(registers) != count:
            raise self._lost(f"expected {count} registers, got {len(registers)}")
        return registers

    def _ask(self, request: "Callable[[Any, int], ModbusPDU]") -> Any:
        from pymodbus.exceptions import ModbusException

        client = self._connected()
        client.until_ns = time.monotonic_ns() + self._patience_ns()
        try:
            answer = request(client, self._peer.unit)
        except (ModbusException, OSError, TimeoutError) as e:
            raise self._lost(str(e) or type(e).__name__) from e
        except Exception as e:  # bytes of a stranger made the decoder fail, however it does so
            raise self._lost(f"unreadable answer: {type(e).__name__}: {e}") from e
        if answer.isError():
            raise self._lost(f"refused: exception code {getattr(answer, 'exception_code', '?')}")
        return answer

    def _connected(self) -> Any:
        if self._client is None:
            client = _client(self._peer, self._patience_ns() / 1e9)
            if not client.connect():
                raise ModbusError(f"{self._peer.host}:{self._peer.port}: cannot be reached")
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._client = client
        return self._client

    def _patience_ns(self) -> int:
        """For what is asked now. Raises ModbusError where there is none left."""
        timeout_ns = round(self._peer.timeout_ms * 1e6)
        if self.until_ns is None:
            return timeout_ns
        if (left_ns := self.until_ns - time.monotonic_ns()) <= 0:
            raise ModbusError(f"{self._peer.host}:{self._peer.port} unit {self._peer.unit}: no time left to ask")
        return min(timeout_ns, left_ns)

    def _lost(self, why: str) -> ModbusError:
        self.close()
        return ModbusError(f"{self._peer.host}:{self._peer.port} unit {self._peer.unit}: {why}")


def _client(peer: Peer, connect_s: float) -> Any:
    """pymodbus's client, with a deadline for the whole answer on the monotonic clock; pymodbus begins anew at each byte.

    connect_s: so long it may take to connect.
    """
    from pymodbus.client import ModbusTcpClient
    from pymodbus.exceptions import ConnectionException

    logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)  # what went wrong is in the ModbusError, once

    class Client(ModbusTcpClient):
        until_ns = 0

        def recv(self, size: int | None) -> bytes:
            left_s = (self.until_ns - time.monotonic_ns()) / 1e9
            if self.socket is None or left_s <= 0 or not select.select([self.socket], [], [], left_s)[0]:
                return b""
            received = self.socket.recv(_LARGEST_BYTES)
            if not received:
                raise ConnectionException("closed by the peer")
            return received

    return Client(peer.host, port=peer.port, timeout=connect_s, retries=0)
