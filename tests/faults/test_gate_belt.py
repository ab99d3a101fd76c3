"""The belt and its encoder, A8: it stands, turns back, is lost or set to 0."""

from contextlib import closing
from pathlib import Path

from gate_line import REJECT, GateLine, gate_line, pulses, send_trigger, state_of, write_gate_line
from inspector import Inspector, account_of, eject_process
from libmodbus import Plc, plc
from waiting import wait_until

from agent.gate.line_stop import Reason
from agent.gate.orders import OrderBook
from agent.inspection import Outcome
from agent.link import Confirm


def test_a8_a_belt_that_stands_or_turns_back_brings_no_part_and_a_lost_encoder_stops_the_line(folder: Path, machine: Plc) -> None:
    with plc() as counter:
        where = f"host: 127.0.0.1, port: {counter.port}, counter: 0, bits: 16"
        more = f"encoder: {{type: modbus, {where}, timeout_ms: 300, lost_ms: 1500}}"
        with gate_line(folder, machine, gate=", travel_counts: 1000", more=more) as line:
            move(line, counter, 0, -36)  # wraps on the way
            (part,) = line.trigger()
            line.tell(part, REJECT)
            wait_until(lambda: line.ask().in_flight == 1)  # placed: the encoder was read since
            move(line, counter, -36, -336)
            turned_back = (line.ask().in_flight, pulses(machine).count(True))
            move(line, counter, -336, 800)
            stands = (line.ask().in_flight, pulses(machine).count(True))

            move(line, counter, 800, 905)
            wait_until(lambda: pulses(machine).count(True) == 1)
            move(line, counter, 905, 1300)
            (closed,) = line.closed([part])
            (stranded,) = line.trigger()
            counter.close()
            wait_until(lambda: "encoder-lost" in line.ask().held)
            (lost,) = line.closed([stranded])

    assert (turned_back, stands) == ((1, 0), (1, 0))
    assert closed.actual_ns is not None
    assert (lost.verdict.outcome, lost.actual_ns) == (Outcome.REJECT, None)
    assert "encoder was lost" in lost.problem


def test_a8_an_encoder_that_is_set_to_0_under_way_holds_the_line_and_its_parts_are_told_of(folder: Path, machine: Plc) -> None:
    with plc() as counter:
        counter.inputs[0] = 20_000
        more = f"encoder: {{type: modbus, host: 127.0.0.1, port: {counter.port}, counter: 0, bits: 16, timeout_ms: 300}}"
        with gate_line(folder, machine, gate=", travel_counts: 1000", more=more) as line:
            (part,) = line.trigger()
            line.tell(part, REJECT)
            wait_until(lambda: line.ask().in_flight == 1)

            counter.inputs[0] = 0
            (lost,) = line.closed([part])
            line.wait_for_alarm("encoder-lost")
            held = line.ask()
            after = line.ask("reset")

    assert (lost.verdict.outcome, lost.actual_ns) == (Outcome.REJECT, None)
    assert "encoder was lost" in lost.problem
    assert (held.ready, "its counter was set" in held.held["encoder-lost"]) == (False, True)
    assert (after.ready, after.held) == (True, {})


def test_a8_a_gate_that_is_told_to_end_leaves_though_the_belt_stands_and_tells_of_the_parts_on_it(
    folder: Path, machine: Plc
) -> None:
    with plc() as counter:
        more = f"encoder: {{type: modbus, host: 127.0.0.1, port: {counter.port}, counter: 0, bits: 16, timeout_ms: 300}}"
        file = write_gate_line(folder, machine.port, gate=", travel_counts: 1000, stop: {part_went_by: true}", more=more)
        with eject_process(file) as gate, closing(Inspector(folder / "state" / "gate.sock")) as inspection:
            wait_until(lambda: (state := state_of(folder)) and state.attached and state.place is not None)
            send_trigger(folder)
            inspection.listen_until(lambda: inspection.triggered)

            gate.process.terminate()
            inspection.listen_until(lambda: inspection.closed)
            inspection.send(Confirm(tuple(inspection.triggered)))
            status = gate.process.wait(20)

    (closed,) = inspection.closed
    assert status == 0
    assert (closed.verdict.outcome, closed.actual_ns) == (Outcome.REJECT, None)
    assert "still on the belt" in closed.problem
    assert account_of(gate)["unconfirmed"] == 0
    assert Reason.WENT_BY in OrderBook(folder / "state" / "orders.json").read().held


def move(line: GateLine, counter: Plc, start: int, end: int) -> None:
    """The belt, as its encoder counts in 16 bits; no faster than one does."""
    for place in [*range(start, end, 100 if end > start else -100), end]:
        counter.inputs[0] = place % (1 << 16)
        wait_until(lambda place=place: line.ask().place == place)  # type: ignore[misc]
