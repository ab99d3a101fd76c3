"""Orders to a running gate: answered with its state; where no gate runs, one line that says so."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from gate_end import gate_end
from kensa_process import kensa, python
from line_file import write_line
from waiting import wait_until

from agent.gate.operator_side import OPERATOR_SOCKET, Action, GateSilentError, GateState, OperatorSide, ask_gate
from agent.gate_link import GateLink
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
    stop = threading.Event()

    def obey(action: Action) -> GateState:
        orders.append(action)
        return STATE

    with closing(OperatorSide(state / OPERATOR_SOCKET)) as side:

        def serve() -> None:
            while not stop.wait(0.005):
                side.serve(obey)

        thread = threading.Thread(target=serve)
        thread.start()
        yield orders
        stop.set()
        thread.join(10)


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

    with gate_end(state / "gate.sock") as end, GateLink(state / "gate.sock", lambda closed: None, heard.append):
        end.wait_for_attach()
        end.say(alarm)
        wait_until(lambda: heard)

    assert heard == [alarm]


def test_a_line_that_is_not_there_is_one_line_and_worth_a_restart(state: Path) -> None:
    pytest.importorskip("gpiod")
    file = write_line(state, state / "bundle", trigger="{type: digital_input, chip: /dev/gpiochip-none, line: 4}")

    finished = kensa("eject", str(file))

    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1].startswith("kensa eject: /dev/gpiochip-none line 4: ")
    assert "Traceback" not in finished.stderr


def test_real_time_priority_is_there_where_it_is_said_to_be() -> None:
    code = "import os; from agent.gate.priority import go_first; print(go_first() == (os.sched_getscheduler(0) == os.SCHED_FIFO))"

    finished = python("-c", code)

    assert finished.stdout == "True\n"
