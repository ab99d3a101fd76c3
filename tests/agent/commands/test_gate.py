"""Orders to a running gate: answered with its state; where no gate runs, one line that says so."""

import logging
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from answering_gate import answering
from gate_end import gate_end
from kensa_process import kensa, python
from line_file import write_line
from waiting import wait_until

from agent.gate.operator_side import OPERATOR_SOCKET, Action, GateSilentError, GateState, OperatorSide, Order, ask_gate
from agent.gate_link import Ears, GateLink
from agent.link import Alarm

STATE = GateState(
    ready=True,
    attached=True,
    maintenance=False,
    in_flight=2,
    place=None,
    held={},
    problems={},
    account={"triggers": 5},
    incidents={},
    pulses={"p99_ms": 0.5},
)


@pytest.fixture
def obeyed(state: Path) -> Iterator[list[Action]]:
    """What was ordered of a gate that answers for as long as the test runs."""
    orders: list[Action] = []

    def obey(order: Order) -> GateState:
        orders.append(order.action)
        return STATE

    with answering(state, obey):
        yield orders


def test_an_order_is_obeyed_and_answered_with_the_state(state: Path, obeyed: list[Action]) -> None:
    answer = ask_gate(state, "maintenance")

    assert (answer, obeyed) == (STATE, ["maintenance"])


@pytest.mark.parametrize("content", [b"", b"reset", b'{"action": "explode"}', b'{"action": "reset", "and": 1}', b"\xff" * 1000])
def test_what_is_no_order_is_not_obeyed_and_the_next_one_is(state: Path, obeyed: list[Action], content: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(content, str(state / OPERATOR_SOCKET))

    ask_gate(state, "status")

    assert obeyed == ["status"]


def test_an_order_from_someone_who_hides_is_obeyed_without_an_answer(state: Path, obeyed: list[Action]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nameless:
        nameless.sendto(b'{"action": "reset"}', str(state / OPERATOR_SOCKET))

    wait_until(lambda: obeyed == ["reset"])


def test_an_answer_needs_no_name_in_the_network_that_systemd_gives_the_gate_alone(state: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as gate, ThreadPoolExecutor() as people:
        gate.bind(str(state / OPERATOR_SOCKET))
        gate.settimeout(20)
        answer = people.submit(ask_gate, state, "status", 20)
        _, (fileno,), _, sender = socket.recv_fds(gate, 1000, 1)
        with socket.socket(fileno=fileno) as end:
            end.send(msgspec.json.encode(STATE))

        assert not sender
        assert answer.result(20) == STATE


@pytest.mark.parametrize("content", [b"reset", b'{"action": "status"}'], ids=["no order", "an order"])
def test_what_comes_with_an_order_is_closed_whatever_it_is(state: Path, content: bytes) -> None:
    before = sorted(Path("/proc/self/fd").iterdir())
    with (
        closing(OperatorSide(state / OPERATOR_SOCKET)) as side,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger,
        (state / "file").open("w") as no_socket,
    ):
        stranger.connect(str(state / OPERATOR_SOCKET))
        socket.send_fds(stranger, [content], [no_socket.fileno()])
        side.serve(lambda order: STATE)

    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_a_gate_that_ends_without_an_answer_is_noticed_at_once(state: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as gate, ThreadPoolExecutor() as people:
        gate.bind(str(state / OPERATOR_SOCKET))
        gate.settimeout(20)
        answer = people.submit(ask_gate, state, "status", 600)
        _, (fileno,), _, _ = socket.recv_fds(gate, 1000, 1)
        os.close(fileno)

        with pytest.raises(GateSilentError):
            answer.result(20)


def test_who_orders_is_in_the_log(state: Path, obeyed: list[Action], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        ask_gate(state, "status", by="Ada")
        ask_gate(state, "reset", by="Ada")

    assert [record.getMessage() for record in caplog.records] == ["ordered by Ada: reset"]


def test_where_nobody_listens_there_is_an_error(state: Path) -> None:
    with pytest.raises(GateSilentError, match="no answer from the ejector process"):
        ask_gate(state, "status")


def test_the_command_says_in_one_line_that_no_gate_runs(state: Path) -> None:
    finished = kensa("gate", str(write_line(state, state / "bundle")), "reset")

    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr.startswith("kensa gate: no answer from the ejector process")
    assert finished.stderr.count("\n") == 1


def test_an_alarm_of_the_gate_reaches_the_inspection_process(state: Path) -> None:
    heard: list[Alarm] = []
    alarm = Alarm("boot/alarm/1", "ejector-failed", "coil 3 does not answer")

    with gate_end(state / "gate.sock") as end, GateLink(state / "gate.sock", Ears(lambda closed: None, heard.append)):
        end.wait_for_attach()
        end.say(alarm)
        wait_until(lambda: heard)

    assert heard == [alarm]


def test_a_line_that_is_not_there_is_one_line_and_worth_a_restart(state: Path) -> None:
    pytest.importorskip("gpiod")
    file = write_line(state, state / "bundle", trigger="{type: digital_input, chip: /dev/gpiochip-none, line: 4}")

    finished = kensa("eject", str(file))

    assert finished.returncode == 1
    said = [line for line in finished.stderr.splitlines() if not line.startswith("{")]  # of the log
    assert len(said) == 1
    assert said[0].startswith("kensa eject: /dev/gpiochip-none line 4: ")
    assert "Traceback" not in finished.stderr


def test_real_time_priority_is_there_where_it_is_said_to_be() -> None:
    code = "import os; from agent.gate.priority import go_first; print(go_first() == (os.sched_getscheduler(0) == os.SCHED_FIFO))"

    finished = python("-c", code)

    assert finished.stdout == "True\n"


@pytest.mark.parametrize("words", [["recipe"], ["reset", "2"]], ids=["no number", "a number too many"])
def test_a_recipe_and_its_number_belong_together(state: Path, words: list[str]) -> None:
    finished = kensa("gate", str(write_line(state, state / "bundle")), *words)

    assert finished.returncode == 2
    assert "kensa gate line.yaml recipe 2" in finished.stderr
