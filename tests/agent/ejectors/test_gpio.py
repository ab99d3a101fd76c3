"""What the GPIO drivers make of libgpiod's answers. The requests are ours: no real line was tried, that needs hardware."""

from dataclasses import dataclass, field

import pytest

from agent.ejectors import EjectorError
from agent.ejectors.gpio import GpioEjector
from agent.gate.handshake import Signals, Wishes
from agent.plc import digital
from agent.triggers import TriggerError
from agent.triggers.digital_input import DigitalInput

UP, DOWN = "rising", "falling"


@dataclass(frozen=True)
class EdgeOfLine:
    """As libgpiod tells it."""

    event_type: str
    timestamp_ns: int
    line_offset: int = 0
    line_seqno: int = 0


@dataclass
class Request:
    """Lines as libgpiod holds them. edges: still to be read, in portions."""

    edges: list[list[EdgeOfLine]] = field(default_factory=list)
    values: dict[int | str, bool] = field(default_factory=dict)
    written: int = 0
    is_broken: bool = False
    fd: int = 99

    def wait_edge_events(self, timeout: float) -> bool:
        assert timeout == 0, "the gate must not wait"
        if self.is_broken:
            raise OSError(5, "Input/output error")
        return bool(self.edges)

    def read_edge_events(self) -> list[EdgeOfLine]:
        return self.edges.pop(0)

    def get_value(self, line: int | str) -> bool:
        return self.values[line]

    def set_value(self, line: int | str, value: bool) -> None:
        self.set_values({line: value})

    def set_values(self, values: dict[int | str, bool]) -> None:
        if self.is_broken:
            raise OSError(5, "Input/output error")
        self.written += 1
        self.values |= values


def test_rises_are_parts_with_the_kernels_instant_and_falls_end_the_level() -> None:
    request = Request(
        [[EdgeOfLine(UP, 100, line_seqno=1), EdgeOfLine(DOWN, 150, line_seqno=2)], [EdgeOfLine(UP, 200, line_seqno=3)]]
    )
    trigger = DigitalInput(request, UP, None)

    edges = trigger.take(1000)

    assert (edges, trigger.active_since_ns()) == ([100, 200], 200)
    request.edges.append([EdgeOfLine(DOWN, 250, line_seqno=4)])
    assert (trigger.take(1000), trigger.active_since_ns(), trigger.problem()) == ([], None, None)


def test_a_line_that_was_active_when_it_was_opened_is_no_part_and_may_be_stuck() -> None:
    trigger = DigitalInput(Request(), UP, active_since_ns=50)

    assert (trigger.take(1000), trigger.active_since_ns()) == ([], 50)


def test_a_line_that_cannot_be_read_or_switched_any_more_is_an_error() -> None:
    broken = Request(is_broken=True)

    with pytest.raises(TriggerError, match="cannot be read"):
        DigitalInput(broken, UP, None).take(1)
    with pytest.raises(EjectorError, match="line 4 cannot be switched"):
        GpioEjector(broken, 4, {True: True, False: False}).switch(on=True, now_ns=1)
    with pytest.raises(EjectorError, match="the PLC's lines"):
        digital.Digital(digital.Config({"ready": 1}), broken, {True: True, False: False}, {}, UP).exchange(Signals())


def test_each_switch_of_the_output_has_one_answer() -> None:
    request = Request()
    ejector = GpioEjector(request, "GPIO7", {True: True, False: False})

    ejector.switch(on=True, now_ns=1)
    while_on = dict(request.values)
    ejector.switch(on=False, now_ns=2)

    assert (while_on, request.values) == ({"GPIO7": True}, {"GPIO7": False})
    assert [(answer.on, answer.error) for answer in ejector.answers()] == [(True, ""), (False, "")]
    assert ejector.answers() == []


def test_the_handshakes_lines_are_written_when_they_change_and_each_edge_is_heard() -> None:
    request = Request([[EdgeOfLine(UP, 1, 5), EdgeOfLine(UP, 2, 6), EdgeOfLine(DOWN, 3, 5)]])
    config = digital.Config({"ready": 1, "ng": "GPIO2"}, {"trigger": 5, "ack": 6})
    plc = digital.Digital(config, request, {True: True, False: False}, {"trigger": 5, "ack": 6}, UP)

    heard = plc.exchange(Signals(ready=True))
    plc.exchange(Signals(ready=True))
    written_once = request.written
    plc.exchange(Signals(ng=True))

    assert heard == [Wishes(trigger=True), Wishes(trigger=True, ack=True), Wishes(ack=True)]
    assert written_once == 1
    assert request.values == {1: False, "GPIO2": True}


@pytest.mark.parametrize("is_on", [True, False], ids=["on", "off"])
def test_whether_the_plcs_reset_was_on_when_its_line_was_opened_is_told_once(is_on: bool) -> None:
    config = digital.Config({"ready": 1}, {"trigger": 5, "reset": 6})
    plc = digital.Digital(config, Request(values={6: is_on}), {True: True, False: False}, {"trigger": 5, "reset": 6}, UP)

    heard = [plc.exchange(Signals()), plc.exchange(Signals())]

    assert heard == [[Wishes(reset=is_on)], []]
