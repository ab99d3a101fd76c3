"""Trigger drivers with what they really listen to: a Unix socket, libmodbus, mosquitto; and the encoder, read likewise."""

import itertools
import select
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from broker import Broker
from libmodbus import Plc, plc
from paho.mqtt.enums import CallbackAPIVersion
from waiting import wait_until

from agent.drivers import SectionError, section
from agent.encoders import modbus as modbus_encoder
from agent.triggers import TriggerError, digital_input, modbus, mqtt, software


@pytest.fixture
def server() -> Iterator[Plc]:
    with plc() as running:
        yield running


def taken(trigger, at_least: int) -> list[int]:
    """Edges as they come, until there are so many."""
    edges: list[int] = []

    def enough() -> bool:
        edges.extend(trigger.take(time.monotonic_ns()))
        return len(edges) >= at_least

    wait_until(enough)
    return edges


# ---------------------------------------------------------------- software


@pytest.fixture
def by_hand(state: Path) -> Iterator[software.Software]:
    with software.Config(str(state / "trigger")).open() as opened:
        yield opened


def send(folder: Path, *contents: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        for content in contents:
            sender.sendto(content, str(folder / "trigger"))


def test_each_datagram_is_a_part_now_or_when_it_says(state: Path, by_hand: software.Software) -> None:
    before_ns = time.monotonic_ns()
    send(state, b"", b"700", b"300\n")

    first, second, third = by_hand.take(before_ns)

    assert (first, second) == (300, 700)
    assert before_ns <= third <= time.monotonic_ns()
    assert by_hand.take(before_ns) == []


@pytest.mark.parametrize("content", [b"tomorrow", b"9" * 19, b"-5", b"9" * 30, b"\xff", b"0"])
def test_a_datagram_with_no_instant_of_the_past_is_still_a_part(state: Path, by_hand: software.Software, content: bytes) -> None:
    before_ns = time.monotonic_ns()
    send(state, content)

    (edge_ns,) = by_hand.take(before_ns)

    assert before_ns <= edge_ns <= time.monotonic_ns()


def test_a_socket_left_by_a_killed_process_is_in_nobodys_way(state: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as killed:
        killed.bind(str(state / "trigger"))

    with software.Config(str(state / "trigger")).open() as opened:
        send(state, b"5")

        assert opened.take(10) == [5]


# ---------------------------------------------------------------- modbus


@pytest.mark.parametrize("kind", ["discrete_input", "coil"])
def test_each_rise_of_a_level_is_one_part_however_long_it_lasts(server: Plc, kind: str) -> None:
    table = {"discrete_input": server.discrete_inputs, "coil": server.coils}[kind]
    with modbus.Config(host="127.0.0.1", port=server.port, timeout_ms=1000, **{kind: 9}).open() as trigger:
        wait_until(lambda: trigger.problem() is None)
        low = trigger.active_since_ns()
        table[9] = 1
        first = taken(trigger, 1)
        wait_until(lambda: trigger.active_since_ns() is not None)
        high_since = trigger.active_since_ns()
        table[9] = 0
        wait_until(lambda: trigger.active_since_ns() is None)
        table[9] = 1
        second = taken(trigger, 1)

    assert (low, [high_since]) == (None, first)
    assert len(first) == len(second) == 1


def test_a_counter_gives_as_many_parts_as_it_counted_over_its_wrap(server: Plc) -> None:
    server.inputs[3] = 65534
    with modbus.Config(host="127.0.0.1", port=server.port, timeout_ms=1000, counter=3).open() as trigger:
        wait_until(lambda: trigger.problem() is None)
        before = list(trigger.take(time.monotonic_ns()))
        server.inputs[3] = 2

        edges = taken(trigger, 4)

    assert (before, len(edges)) == ([], 4)
    assert edges == sorted(set(edges))


def test_a_peer_that_is_away_is_a_problem_and_a_counters_parts_are_found_afterwards(server: Plc) -> None:
    with modbus.Config(host="127.0.0.1", port=server.port, timeout_ms=500, counter=3).open() as trigger:
        wait_until(lambda: trigger.problem() is None)
        server.refuses = 4
        wait_until(lambda: "exception code 4" in (trigger.problem() or ""))
        server.inputs[3] = 2

        server.refuses = 0

        assert len(taken(trigger, 2)) == 2


def test_parts_that_nobody_takes_end_the_process_which_says_why(server: Plc) -> None:
    with modbus.Config(host="127.0.0.1", port=server.port, timeout_ms=1000, counter=3).open() as trigger:
        wait_until(lambda: trigger.problem() is None)
        server.inputs[3] = 1000
        wait_until(lambda: select.select(trigger.filenos(), [], [], 0)[0])
        server.inputs[3] = 2000
        wait_until(lambda: "modbus trigger" not in {thread.name for thread in threading.enumerate()})

        with pytest.raises(TriggerError, match="1024 parts wait, and nobody takes them"):
            trigger.take(time.monotonic_ns())


# ---------------------------------------------------------------- mqtt


def test_each_message_is_a_part_and_a_retained_one_is_not(broker: Broker) -> None:
    sender = paho.Client(CallbackAPIVersion.VERSION2)
    sender.connect(broker.host, broker.port)
    sender.loop_start()
    sender.publish("plc/part", b"old news", qos=1, retain=True).wait_for_publish(10)
    with mqtt.Config(host=broker.host, port=broker.port, topic="plc/part").open() as trigger:
        wait_until(lambda: trigger.problem() is None)
        sender.publish("plc/part", b"", qos=1)
        sender.publish("plc/part", b"anything", qos=1)

        edges = taken(trigger, 2)

        assert len(edges) == 2
        broker.stop()
        wait_until(lambda: "not connected" in (trigger.problem() or ""))
    sender.loop_stop()


# ---------------------------------------------------------------- gpio


def test_a_chip_that_is_not_there_is_an_error_that_names_it() -> None:
    pytest.importorskip("gpiod")

    with pytest.raises(TriggerError, match="/dev/gpiochip-none line 4"), digital_input.Config(4, "/dev/gpiochip-none").open():
        pass


@dataclass(frozen=True)
class Edge:
    """As libgpiod tells of one."""

    line_seqno: int
    timestamp_ns: int
    event_type: str = "rising"


class Line:
    """A requested line, which gives one edge for each read."""

    def __init__(self, edges: Iterator[Edge]) -> None:
        self._edges = edges
        self._next = next(edges, None)

    def wait_edge_events(self, timeout_s: float) -> bool:
        return self._next is not None

    def read_edge_events(self) -> list[Edge]:
        read, self._next = self._next, next(self._edges, None)
        assert read is not None
        return [read]


def test_an_input_that_swings_all_the_time_does_not_keep_the_gate() -> None:
    swinging = digital_input.DigitalInput(Line(Edge(n, n) for n in itertools.count(1)), "rising", None)

    first, second = swinging.take(10_000), swinging.take(10_000)

    assert (list(first), second[0]) == (list(range(1, len(first) + 1)), len(first) + 1)
    assert swinging.problem() is None


def test_edges_that_the_kernel_could_not_keep_are_a_problem_of_the_trigger() -> None:
    now_ns = time.monotonic_ns()
    trigger = digital_input.DigitalInput(Line(iter([Edge(1, 10), Edge(2, 20), Edge(9, 90)])), "rising", None)

    edges = trigger.take(now_ns)

    assert edges == [10, 20, 90]
    assert "6 edges came faster than they were read" in (trigger.problem() or "")


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"type": "modbus", "host": "plc"}, "one of discrete_input, coil and counter"),
        ({"type": "modbus", "host": "plc", "coil": 1, "counter": 2}, "one of discrete_input, coil and counter"),
        ({"type": "software", "path": "x" * 120}, "107 bytes"),
        ({"type": "mqtt", "host": "plc", "topic": "parts/#"}, "expected `str` matching"),
        ({"type": "digital_input"}, "line"),
    ],
    ids=["nothing", "two", "long path", "wildcard", "no line"],
)
def test_a_mistake_in_its_section_is_named(written: dict, said: str) -> None:
    with pytest.raises(SectionError, match=said):
        section("agent.triggers", written)


# ---------------------------------------------------------------- encoder


def last_count(encoder) -> int | None:
    """Of the newest reading, if any came."""
    readings: Sequence[tuple[int, int]] = encoder.readings()
    return readings[-1][1] if readings else None


@pytest.mark.parametrize(
    ("bits", "words"), [(16, [[65530], [4], [65530]]), (32, [[65535, 65530], [0, 4], [65535, 65530]])], ids=str
)
def test_an_encoder_counts_on_over_its_wrap_and_back(server: Plc, bits: int, words: list[list[int]]) -> None:
    server.inputs[0 : bits // 16] = words[0]
    with modbus_encoder.Config(host="127.0.0.1", port=server.port, counter=0, bits=bits, timeout_ms=1000).open() as encoder:
        wait_until(lambda: last_count(encoder) == 0)
        server.inputs[0 : bits // 16] = words[1]
        wait_until(lambda: last_count(encoder) == 10)
        server.inputs[0 : bits // 16] = words[2]
        wait_until(lambda: last_count(encoder) == 0)


def test_answers_of_an_encoder_that_come_later_than_others_are_left_out_and_told_of(server: Plc) -> None:
    with modbus_encoder.Config(host="127.0.0.1", port=server.port, counter=0, lost_ms=300, timeout_ms=2000).open() as encoder:
        wait_until(lambda: last_count(encoder) == 0)
        server.before_request = lambda: time.sleep(0.2)  # 300 ms of silence are over before these are the quickest of the last 64
        wait_until(lambda: "later than others" in (encoder.problem() or ""))

        server.inputs[1] = 7
        server.before_request = lambda: None

        wait_until(lambda: last_count(encoder) == 7)
        assert encoder.problem() is None


def test_an_encoder_that_is_silent_is_a_problem_until_it_answers(server: Plc) -> None:
    with modbus_encoder.Config(host="127.0.0.1", port=server.port, counter=0, lost_ms=300, timeout_ms=200).open() as encoder:
        wait_until(lambda: last_count(encoder) is not None)
        server.refuses = 2
        wait_until(lambda: "exception code 2" in (encoder.problem() or ""))

        server.refuses = 0

        wait_until(lambda: encoder.problem() is None)


def test_an_encoder_that_would_be_lost_between_two_polls_is_refused() -> None:
    with pytest.raises(SectionError, match="lost_ms 500 must be above poll_ms 500"):
        section("agent.encoders", {"type": "modbus", "host": "plc", "counter": 0, "poll_ms": 500})
