"""The Modbus ejector against libmodbus: what it says of a switch is what the coil did."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from libmodbus import Plc, plc
from proxy import proxy
from waiting import wait_until

from agent.drivers import SectionError, section
from agent.ejectors import Switched
from agent.ejectors.modbus import Config, ModbusEjector

COIL = 11
PATIENT_MS = 1000.0  # the machine that runs the tests is busy


@pytest.fixture
def server() -> Iterator[Plc]:
    with plc() as running:
        yield running


@contextmanager
def ejector_at(
    port: int, timeout_ms: float = 500, within_ms: float = PATIENT_MS, register: int | None = None
) -> Iterator[ModbusEjector]:
    """An ejector on coil 11, or on a register."""
    coil = COIL if register is None else None
    config = Config(host="127.0.0.1", port=port, timeout_ms=timeout_ms, within_ms=within_ms, coil=coil, register=register)
    with config.open() as ejector:
        yield ejector


def answer_to(ejector: ModbusEjector, on: bool) -> Switched:
    """Switches, and waits for what became of it."""
    found: list[Switched] = []
    ejector.switch(on, time.monotonic_ns())
    wait_until(lambda: found.extend(ejector.answers()) or found)
    return found[0]


def test_it_switches_its_coil_and_no_other(server: Plc) -> None:
    with ejector_at(server.port) as ejector:
        on = answer_to(ejector, on=True)
        coils_on = [n for n in range(64) if server.coils[n]]
        off = answer_to(ejector, on=False)

    assert (on.on, on.error, coils_on) == (True, "", [COIL])
    assert (off.on, off.error, [n for n in range(64) if server.coils[n]]) == (False, "", [])


def test_it_switches_a_register_between_one_and_zero(server: Plc) -> None:
    with ejector_at(server.port, register=7) as ejector:
        answer_to(ejector, on=True)
        while_on = list(server.holding)
        answer_to(ejector, on=False)

    assert [(n, value) for n, value in enumerate(while_on) if value] == [(7, 1)]
    assert server.holding[7] == 0


def test_a_switch_asked_for_returns_at_once_and_all_are_answered_in_order(server: Plc) -> None:
    with ejector_at(server.port) as ejector:
        answers: list[Switched] = []
        for on in (True, True, False, True, False):
            ejector.switch(on, time.monotonic_ns())
        wait_until(lambda: answers.extend(ejector.answers()) or len(answers) == 5)

    assert [answer.on for answer in answers] == [True, True, False, True, False]
    assert [answer.error for answer in answers] == [""] * 5
    assert [answer.at_ns for answer in answers] == sorted(answer.at_ns for answer in answers)


def test_the_output_is_off_when_it_opens_and_when_it_closes(server: Plc) -> None:
    server.coils[COIL] = 1
    with ejector_at(server.port) as ejector:
        wait_until(lambda: not server.coils[COIL])
        answer_to(ejector, on=True)
        while_open = server.coils[COIL]

    assert (while_open, server.coils[COIL]) == (1, 0)


def test_a_plc_that_is_absent_at_boot_is_a_problem_and_none_once_it_is_there() -> None:
    with plc() as first:
        port = first.port
    with ejector_at(port) as ejector:
        wait_until(lambda: "cannot be reached" in (ejector.problem() or ""))

        with plc(port):
            wait_until(lambda: ejector.problem() is None)


def test_an_output_that_came_on_by_itself_is_switched_off(server: Plc) -> None:
    with ejector_at(server.port) as ejector:
        wait_until(lambda: ejector.problem() is None)
        server.coils[COIL] = 1

        wait_until(lambda: not server.coils[COIL])


def test_a_write_whose_answer_was_lost_is_read_back_and_not_repeated_blindly(server: Plc) -> None:
    with ejector_at(server.port, timeout_ms=300) as ejector:
        wait_until(lambda: ejector.problem() is None)
        server.swallows = 1

        answer = answer_to(ejector, on=True)

        assert answer.error == ""
        assert server.coils[COIL] == 1
        assert len(server.writes) == 1


def test_a_reject_that_cannot_be_written_in_time_says_so_and_does_not_come_late(server: Plc) -> None:
    with proxy(server.port) as network, ejector_at(network.port, timeout_ms=50, within_ms=100) as ejector:
        wait_until(lambda: ejector.problem() is None)
        network.freeze()

        answer = answer_to(ejector, on=True)
        network.thaw()

        assert "output not switched on" in answer.error
        wait_until(lambda: ejector.problem() is None)
        wait_until(lambda: not server.coils[COIL])


def test_a_switch_has_failed_within_its_time_however_long_an_answer_may_take(server: Plc) -> None:
    with proxy(server.port) as network, ejector_at(network.port, timeout_ms=10_000, within_ms=200) as ejector:
        wait_until(lambda: ejector.problem() is None)
        network.freeze()
        began_ns = time.monotonic_ns()

        answer = answer_to(ejector, on=True)
        took_ms = (time.monotonic_ns() - began_ns) / 1e6
        network.thaw()

        assert "output not switched on" in answer.error
        assert took_ms < 2000  # 200, and the machine that runs the tests is busy


def test_an_ejector_process_that_hangs_does_not_leave_the_output_on(server: Plc) -> None:
    with ejector_at(server.port) as ejector:
        answer_to(ejector, on=True)
        was_on = server.coils[COIL]

        wait_until(lambda: not server.coils[COIL])  # nobody calls answers() any more

        assert was_on == 1


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({}, "give either coil or register"),
        ({"coil": 1, "register": 2}, "give either coil or register"),
        ({"coil": 70000}, "65535"),
        ({"coil": 1, "within_ms": 0}, ">= 1"),
        ({"coil": 1, "cool": 2}, "unknown key"),
    ],
    ids=["neither", "both", "address", "time", "typo"],
)
def test_a_mistake_in_its_section_is_named(written: dict, said: str) -> None:
    with pytest.raises(SectionError, match=said):
        section("agent.ejectors", {"type": "modbus", "host": "plc", **written})
