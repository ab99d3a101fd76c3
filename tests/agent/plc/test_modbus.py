"""Both Modbus forms of the handshake against libmodbus as the PLC."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from broker import free_port
from libmodbus import Master, Plc, plc
from waiting import wait_until

from agent.drivers import SectionError, section
from agent.ejectors import EjectorError
from agent.gate.handshake import Signals, Wishes
from agent.plc import _words, modbus_client, modbus_server
from agent.plc.modbus_client import ModbusClient
from agent.plc.modbus_server import ModbusServer

SIGNALS = Signals(
    ready=True,
    valid=True,
    ng=True,
    heartbeat=True,
    error_code=6,
    trigger_id=0x12345678,
    result_id=0xABCD0001,
    missed=70000,
    heartbeat_count=65535,
    held_results=8,
    recipe=3,
)
WORDS = [0b1_0010_1001, 0x1234, 0x5678, 0xABCD, 1, 6, 1, 4464, 65535, 3, 8, 1]
BITS = [1, 0, 0, 1, 0, 1, 0, 0, 1, 0, 0]


@contextmanager
def serving(silent_ms: float = 2000, port: int = 0) -> Iterator[tuple[ModbusServer, Master]]:
    """The station as server, and libmodbus connected to it."""
    config = modbus_server.Config(host="127.0.0.1", port=port or free_port(), silent_ms=silent_ms)
    found: list[Master] = []

    def reached() -> bool:
        try:
            found.append(Master(config.port))
        except OSError:
            return False
        return True

    with config.open() as server:
        wait_until(reached)
        with closing(found[0]):
            yield server, found[0]


@pytest.fixture
def other_side() -> Iterator[Plc]:
    with plc() as running:
        yield running


@contextmanager
def writing_to(other_side: Plc) -> Iterator[ModbusClient]:
    with modbus_client.Config(host="127.0.0.1", port=other_side.port, ours=10, theirs=40, timeout_ms=1000).open() as client:
        yield client


def heard_by(station: ModbusServer | ModbusClient, at_least: int) -> list[Wishes]:
    """Wishes as they come, until there are so many."""
    heard: list[Wishes] = []
    wait_until(lambda: heard.extend(station.exchange(SIGNALS)) or len(heard) >= at_least)
    return heard


def test_libmodbus_reads_the_servers_words_and_bits_in_their_order() -> None:
    with serving() as (server, master):
        server.exchange(SIGNALS)

        assert master.inputs(0, _words.WORDS) == WORDS
        assert master.discrete_inputs(0, len(BITS)) == BITS
        assert master.discrete_inputs(3, 3) == [1, 0, 1]


def test_what_libmodbus_writes_into_the_server_is_heard_one_after_the_other() -> None:
    with serving() as (server, master):
        master.write_coil(0, True)
        master.write_coil(0, False)
        master.write_coils(0, [False, True, True])
        master.write_registers(0, [1, 7])

        heard = heard_by(server, 4)

        assert heard == [
            Wishes(trigger=True),
            Wishes(),
            Wishes(ack=True, reset=True),
            Wishes(trigger=True, recipe=7),
        ]
        assert (master.coils(0, 3), master.holding(0, 2)) == ([1, 0, 0], [1, 7])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda master: master.inputs(0, _words.WORDS + 1),
        lambda master: master.discrete_inputs(11, 1),
        lambda master: master.holding(2, 1),
        lambda master: master.write_coil(3, True),
        lambda master: master.write_registers(1, [1, 2]),
    ],
    ids=["words", "bits", "registers", "coil", "write"],
)
def test_an_address_that_does_not_exist_is_refused_and_the_next_request_is_served(wrong) -> None:
    with serving() as (server, master):
        server.exchange(SIGNALS)
        with pytest.raises(OSError, match="Illegal data address"):
            wrong(master)

        assert master.inputs(0, 1) == WORDS[:1]
        assert server.exchange(SIGNALS) == []


@pytest.mark.parametrize("theirs", [3, 17], ids=["before", "behind"])
def test_words_side_by_side_are_no_mistake(theirs: int) -> None:
    section("agent.plc", {"type": "modbus_client", "host": "plc", "ours": 5, "theirs": theirs})


MASK_WRITE, READ_AND_WRITE = bytes([22, 0, 0, 0, 1, 0, 1]), bytes([23, 0, 0, 0, 2, 0, 0, 0, 1, 2, 0, 1])
ILLEGAL_FUNCTION = 1


@pytest.mark.parametrize("request_of", [MASK_WRITE, READ_AND_WRITE], ids=["mask write", "read and write"])
def test_a_function_that_is_not_offered_is_refused_as_such_and_does_nothing(request_of: bytes) -> None:
    port = free_port()
    with serving(port=port) as (server, master):
        server.exchange(SIGNALS)
        with socket.create_connection(("127.0.0.1", port), 10) as stranger:
            stranger.sendall(bytes([0, 7, 0, 0, 0, 1 + len(request_of), 1]) + request_of)
            answer = stranger.recv(64)

        assert answer[-2:] == bytes([request_of[0] | 0x80, ILLEGAL_FUNCTION])
        assert master.holding(0, 2) == [0, 0]
        assert server.exchange(SIGNALS) == []


def test_a_plc_that_asks_for_nothing_is_a_problem_until_it_asks_again() -> None:
    with serving(silent_ms=200) as (server, master):
        wait_until(lambda: "has asked for nothing" in (server.problem() or ""))

        def asks_again() -> bool:
            master.inputs(0, 1)
            return server.problem() is None

        wait_until(asks_again)


def test_a_port_that_is_taken_is_loud() -> None:
    port = free_port()
    config = modbus_server.Config(host="127.0.0.1", port=port)

    with (
        socket.create_server(("127.0.0.1", port)),
        config.open() as refused,
        pytest.raises(EjectorError, match=f"cannot listen for the PLC on 127.0.0.1:{port}"),
    ):
        wait_until(lambda: refused.exchange(SIGNALS))


def test_the_client_writes_its_words_where_it_was_told_and_nowhere_else(other_side: Plc) -> None:
    with writing_to(other_side) as client:
        client.exchange(SIGNALS)
        wait_until(lambda: list(other_side.holding[10:22]) == WORDS)

    assert list(other_side.holding[:10]) + list(other_side.holding[22:]) == [0] * 52


def test_the_client_hears_what_the_plc_shows_each_change_once(other_side: Plc) -> None:
    with writing_to(other_side) as client:
        at_start = heard_by(client, 1)
        other_side.holding[40] = 1
        first = heard_by(client, 1)
        other_side.holding[40] = 2
        second = heard_by(client, 1)

    assert (at_start, first, second) == ([Wishes()], [Wishes(trigger=True)], [Wishes(ack=True)])


def test_a_plc_that_is_switched_off_is_a_problem_until_it_is_back(other_side: Plc) -> None:
    with writing_to(other_side) as client:
        wait_until(lambda: client.problem() is None)
        other_side.refuses = 2
        wait_until(lambda: "exception code 2" in (client.problem() or ""))

        other_side.refuses = 0

        wait_until(lambda: client.problem() is None)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"type": "modbus_server"}, "host"),
        ({"type": "modbus_server", "host": "127.0.0.1", "port": 0}, ">= 1"),
        ({"type": "modbus_client", "host": "plc", "ours": 0}, "theirs"),
        ({"type": "modbus_client", "host": "plc", "ours": 0, "theirs": 0}, "ours 0 to 11 and theirs 0 to 1 overlap"),
        ({"type": "modbus_client", "host": "plc", "ours": 5, "theirs": 16}, "ours 5 to 16 and theirs 16 to 17 overlap"),
        ({"type": "modbus_client", "host": "plc", "ours": 5, "theirs": 4}, "ours 5 to 16 and theirs 4 to 5 overlap"),
        ({"type": "modbus_client", "host": "plc", "ours": 65525, "theirs": 0}, "ours 65525: expected 12 registers from there"),
        ({"type": "modbus_client", "host": "plc", "ours": 0, "theirs": 65535}, "theirs 65535: expected 2 registers from there"),
        ({"type": "digital", "outputs": {"ready": 1, "ng": 1}}, "a line of its own"),
        ({"type": "digital", "outputs": {}}, "at least one signal"),
        ({"type": "digital", "outputs": {"red": 1}}, "red"),
        ({"type": "profinet"}, "digital, modbus_client, modbus_server"),
    ],
    ids=[
        "no host",
        "port",
        "no registers",
        "one for both",
        "last",
        "first",
        "ours ends",
        "theirs ends",
        "one line twice",
        "nothing",
        "no such signal",
        "no such driver",
    ],
)
def test_a_mistake_in_the_section_is_named(written: dict, said: str) -> None:
    with pytest.raises(SectionError, match=said):
        section("agent.plc", written)
