"""The Modbus connection against libmodbus, an implementation that knows nothing of ours."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from libmodbus import Plc, plc

from agent.fieldbus.modbus import Connection, ModbusError, Peer

PATTERN = [True, False, True, True, False, False, False, True, False, True]  # no palindrome, longer than a byte


@pytest.fixture
def server() -> Iterator[Plc]:
    with plc() as running:
        yield running


@pytest.fixture
def connection(server: Plc) -> Iterator[Connection]:
    with closing(Connection(Peer(host="127.0.0.1", port=server.port, timeout_ms=2000))) as opened:
        yield opened


@contextmanager
def stranger(answer: bytes, then_close: bool) -> Iterator[int]:
    """Listens on a port and answers every request with the same bytes, whatever was asked."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connected, _ = listener.accept()
            with connected:
                while connected.recv(300):
                    connected.sendall(answer)
                    if then_close:
                        return

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
    thread.join(10)


def test_bits_arrive_in_the_order_of_their_addresses(server: Plc, connection: Connection) -> None:
    server.coils[3:13] = PATTERN
    server.discrete_inputs[7:17] = PATTERN

    assert connection.read_coils(3, 10) == PATTERN
    assert connection.read_discrete_inputs(7, 10) == PATTERN


def test_a_coil_is_written_where_it_was_meant_and_nowhere_else(server: Plc, connection: Connection) -> None:
    connection.write_coil(9, True)
    connection.write_coil(17, True)
    connection.write_coil(9, False)

    assert [n for n in range(64) if server.coils[n]] == [17]


def test_registers_are_read_and_written_where_they_were_meant(server: Plc, connection: Connection) -> None:
    server.inputs[5:8] = [0x1234, 0xFFFF, 1]

    connection.write_register(2, 0xBEEF)
    connection.write_registers(20, [1, 2, 0xABCD])

    assert connection.read_input_registers(5, 3) == [0x1234, 0xFFFF, 1]
    assert connection.read_holding_registers(2, 1) == [0xBEEF]
    assert list(server.holding[20:23]) == [1, 2, 0xABCD]


def test_an_exception_code_is_an_error_and_the_next_request_is_served(server: Plc, connection: Connection) -> None:
    server.refuses = 4
    with pytest.raises(ModbusError, match="exception code 4"):
        connection.write_coil(1, True)
    server.refuses = 0

    connection.write_coil(1, True)

    assert server.coils[1] == 1


def test_a_peer_that_hung_up_is_connected_to_again(server: Plc, connection: Connection) -> None:
    connection.read_coils(0, 1)
    server.hang_up()

    with pytest.raises(ModbusError):
        connection.read_coils(0, 1)

    assert connection.read_coils(0, 1) == [False]


def test_nobody_there_is_an_error_that_names_the_peer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with pytest.raises(ModbusError, match=f"127.0.0.1:{port}: cannot be reached"):
        Connection(Peer(host="127.0.0.1", port=port)).read_coils(0, 1)


# transaction, protocol, length, unit, function, then the payload; pymodbus's first transaction is 1
@pytest.mark.parametrize(
    ("answer", "then_close"),
    [
        (bytes.fromhex("0001 0000 0006 01 05 0009 0000"), False),
        (bytes.fromhex("0001 0000 0006 01 05 0008 ff00"), False),
        (bytes.fromhex("0063 0000 0006 01 05 0009 ff00"), False),
        (bytes.fromhex("0001 0000 0006 07 05 0009 ff00"), False),
        (bytes.fromhex("0001 0000 0006 01 05 00"), True),
        (bytes.fromhex("0001 0000 0006 01 05 00"), False),
        (bytes.fromhex("0001 0000 0003 01 85 04"), False),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", True),
        (bytes.fromhex("0001 0000 0000 01"), True),
        (b"", True),
    ],
    ids=[
        "another value",
        "another coil",
        "another transaction",
        "another unit",
        "cut off",
        "begun and not ended",
        "exception",
        "another protocol",
        "length of nothing",
        "closed without a word",
    ],
)
def test_a_write_is_done_only_where_the_answer_says_exactly_that(answer: bytes, then_close: bool) -> None:
    with stranger(answer, then_close) as port:
        connection = Connection(Peer(host="127.0.0.1", port=port, timeout_ms=200))

        with pytest.raises(ModbusError):
            connection.write_coil(9, True)


def test_the_right_answer_to_a_write_is_taken() -> None:
    answer = bytes.fromhex("0001 0000 0006 01 05 0009 ff00")

    with stranger(answer, then_close=False) as port, closing(Connection(Peer(host="127.0.0.1", port=port))) as connection:
        connection.write_coil(9, True)
