"""libmodbus (Debian: libmodbus5) as the independent other side of every Modbus connection, in both roles, through ctypes."""

import ctypes
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_uint8, c_uint16, c_uint32, c_void_p
from typing import Any

_ROWS = 64
_LONGEST_REQUEST = 260


class _Mapping(Structure):
    _fields_ = [
        ("nb_bits", c_int),
        ("start_bits", c_int),
        ("nb_input_bits", c_int),
        ("start_input_bits", c_int),
        ("nb_input_registers", c_int),
        ("start_input_registers", c_int),
        ("nb_registers", c_int),
        ("start_registers", c_int),
        ("tab_bits", POINTER(c_uint8 * _ROWS)),
        ("tab_input_bits", POINTER(c_uint8 * _ROWS)),
        ("tab_input_registers", POINTER(c_uint16 * _ROWS)),
        ("tab_registers", POINTER(c_uint16 * _ROWS)),
    ]


def _library() -> Any:
    library = ctypes.CDLL("libmodbus.so.5", use_errno=True)
    library.modbus_new_tcp.restype = c_void_p
    library.modbus_new_tcp.argtypes = [c_char_p, c_int]
    library.modbus_mapping_new.restype = POINTER(_Mapping)
    library.modbus_strerror.restype = c_char_p
    for name in ("modbus_close", "modbus_free", "modbus_connect"):
        getattr(library, name).argtypes = [c_void_p]
    library.modbus_set_slave.argtypes = [c_void_p, c_int]
    library.modbus_set_socket.argtypes = [c_void_p, c_int]
    library.modbus_receive.argtypes = [c_void_p, c_void_p]
    library.modbus_reply.argtypes = [c_void_p, c_void_p, c_int, POINTER(_Mapping)]
    library.modbus_reply_exception.argtypes = [c_void_p, c_void_p, c_uint32]
    library.modbus_mapping_free.argtypes = [POINTER(_Mapping)]
    for name in ("read_bits", "read_input_bits", "read_registers", "read_input_registers", "write_bits", "write_registers"):
        getattr(library, f"modbus_{name}").argtypes = [c_void_p, c_int, c_int, c_void_p]
    library.modbus_write_bit.argtypes = [c_void_p, c_int, c_int]
    return library


class Plc:
    """A Modbus TCP server with 64 of each; its tables are read and set by the test as lists.

    refuses: Modbus exception code that it answers every request with, 0 for none. swallows: so many writes are done without an
    answer. writes: function code and content of all that was written; written_ns: when, on CLOCK_MONOTONIC.
    before_request: called before each answer, for tables that follow something.
    """

    def __init__(self, port: int = 0) -> None:
        self.refuses = 0
        self.swallows = 0
        self.writes: list[tuple[int, bytes]] = []
        self.written_ns: list[int] = []
        self.before_request: Callable[[], None] = lambda: None
        self._library = _library()
        self._mapping = self._library.modbus_mapping_new(_ROWS, _ROWS, _ROWS, _ROWS)
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._connected: list[socket.socket] = []
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def coils(self) -> Any:
        return self._mapping.contents.tab_bits.contents

    @property
    def discrete_inputs(self) -> Any:
        return self._mapping.contents.tab_input_bits.contents

    @property
    def holding(self) -> Any:
        return self._mapping.contents.tab_registers.contents

    @property
    def inputs(self) -> Any:
        return self._mapping.contents.tab_input_registers.contents

    def held(self, first: int, count: int) -> list[int]:
        """Holding registers of one moment: not while a request writes some of them."""
        with self._lock:
            return list(self.holding[first : first + count])

    def hang_up(self) -> None:
        """Closes every connection, as a PLC that is switched off; new ones are taken."""
        for one in self._connected:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Nobody listens on the port any more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(5)  # then there is no connection that hang_up does not know
        self.hang_up()
        for thread in self._threads:
            thread.join(5)

    def free(self) -> None:
        """Its tables are gone."""
        self._library.modbus_mapping_free(self._mapping)

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                connected, _ = self._listener.accept()
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connected.append(connected)
                thread = threading.Thread(target=self._serve, args=(connected,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connected: socket.socket) -> None:
        context = self._library.modbus_new_tcp(b"127.0.0.1", self.port)
        self._library.modbus_set_socket(context, connected.fileno())
        request = (c_uint8 * _LONGEST_REQUEST)()
        nowhere, other_end = socket.socketpair()
        while (length := self._library.modbus_receive(context, request)) >= 0:
            with self._lock:
                self.before_request()
                is_write = bytes(request)[7] in (5, 6, 15, 16)
                if is_write:
                    self.writes.append((bytes(request)[7], bytes(request)[8:length]))
                    self.written_ns.append(time.monotonic_ns())
                if self.refuses:
                    self._library.modbus_reply_exception(context, request, self.refuses)
                elif is_write and self.swallows:
                    self.swallows -= 1
                    self._library.modbus_set_socket(context, nowhere.fileno())
                    self._library.modbus_reply(context, request, length, self._mapping)
                    self._library.modbus_set_socket(context, connected.fileno())
                else:
                    self._library.modbus_reply(context, request, length, self._mapping)
        for one in (connected, nowhere, other_end):
            one.close()
        self._library.modbus_free(context)


@contextmanager
def plc(port: int = 0) -> Iterator[Plc]:
    """Listens when the block begins."""
    server = Plc(port)
    try:
        yield server
    finally:
        server.close()
        server.free()


class Master:
    """A Modbus TCP client: a PLC that polls. Raises OSError with libmodbus's words."""

    def __init__(self, port: int, unit: int = 1) -> None:
        self._library = _library()
        self._context = self._library.modbus_new_tcp(b"127.0.0.1", port)
        self._library.modbus_set_slave(self._context, unit)
        self._checked(self._library.modbus_connect(self._context))

    def close(self) -> None:
        self._library.modbus_close(self._context)
        self._library.modbus_free(self._context)

    def coils(self, address: int, count: int) -> list[int]:
        return self._read("read_bits", c_uint8, address, count)

    def discrete_inputs(self, address: int, count: int) -> list[int]:
        return self._read("read_input_bits", c_uint8, address, count)

    def holding(self, address: int, count: int) -> list[int]:
        return self._read("read_registers", c_uint16, address, count)

    def inputs(self, address: int, count: int) -> list[int]:
        return self._read("read_input_registers", c_uint16, address, count)

    def write_coil(self, address: int, on: bool) -> None:
        self._checked(self._library.modbus_write_bit(self._context, address, int(on)))

    def write_coils(self, address: int, values: list[bool]) -> None:
        array = (c_uint8 * len(values))(*values)
        self._checked(self._library.modbus_write_bits(self._context, address, len(values), array))

    def write_registers(self, address: int, values: list[int]) -> None:
        array = (c_uint16 * len(values))(*values)
        self._checked(self._library.modbus_write_registers(self._context, address, len(values), array))

    def _read(self, name: str, kind: Any, address: int, count: int) -> list[int]:
        array = (kind * count)()
        self._checked(getattr(self._library, f"modbus_{name}")(self._context, address, count, byref(array)))
        return list(array)

    def _checked(self, returned: int) -> None:
        if returned < 0:
            raise OSError(ctypes.get_errno(), self._library.modbus_strerror(ctypes.get_errno()).decode())
