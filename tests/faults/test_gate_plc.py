"""The PLC that ejects parts, and the one that takes results, A6, A7: gone, slow, refusing, not listening."""

from contextlib import closing
from pathlib import Path

from broker import free_port
from gate_line import PASS, GateLine, ejecting, gate_line, pulses, state_of
from libmodbus import Master, Plc, plc
from waiting import wait_until

from agent.inspection import Outcome
from agent.plc._words import WORDS


def test_a6_a_plc_that_goes_away_is_told_of_and_works_again_after_a_reset(folder: Path) -> None:
    with plc() as first:
        port = first.port
        with gate_line(folder, first) as line:
            first.close()
            wait_until(lambda: "ejector" in line.ask().problems)
            (lost,) = line.rejected()
            line.wait_for_alarm("ejector-failed")
            held = line.ask()
            with plc(port) as second:
                wait_until(lambda: not line.ask().problems)
                line.ask("reset")
                (ejected,) = line.rejected()

                assert pulses(second).count(True) == 1

    assert (lost.verdict.outcome, lost.actual_ns) == (Outcome.REJECT, None)
    assert "output not switched on" in lost.problem
    assert not held.ready
    assert (ejected.actual_ns is not None, ejected.problem) == (True, "")


def test_a6_a_write_whose_answer_is_lost_is_read_back_and_counts_as_done(line: GateLine, machine: Plc) -> None:
    machine.swallows = 1

    (closed,) = line.rejected()

    assert (closed.actual_ns is not None, closed.problem) == (True, "")
    assert pulses(machine).count(True) == 1


def test_a6_a_plc_that_refuses_is_a_failed_ejector(line: GateLine, machine: Plc) -> None:
    machine.refuses = 4

    (closed,) = line.rejected()

    assert closed.actual_ns is None
    assert "exception code 4" in closed.problem
    assert "ejector-failed" in line.ask().held


def test_a7_a_plc_that_takes_no_results_is_told_of_the_overrun_and_the_line_has_to_stop(folder: Path, machine: Plc) -> None:
    port = free_port()
    more = f"plc: {{type: modbus_server, host: 127.0.0.1, port: {port}, silent_ms: 60000}}"
    with gate_line(folder, machine, more=more) as line, closing(Master(port)) as master:
        eight = line.trigger(8)
        line.closed(eight)
        before = master.discrete_inputs(0, 10)
        ninth = line.trigger(1)
        line.closed(ninth)
        wait_until(lambda: "plc-overrun" in line.ask().held)

        after = master.discrete_inputs(0, 10)
        assert (before[6], before[7], before[9]) == (0, 0, 1)  # no error, no overrun, may run
        assert (after[0], after[6], after[7], after[9]) == (0, 1, 1, 0)  # not ready, error, overrun, must stop
        assert master.inputs(0, WORDS)[10] == 8
        master.write_coil(2, False)
        master.write_coil(2, True)  # reset
        wait_until(lambda: master.discrete_inputs(0, 1) == [1])
        assert line.ask().held == {}


def test_the_plc_triggers_a_part_and_gets_its_result_by_number(folder: Path, machine: Plc) -> None:
    port = free_port()
    more = f"plc: {{type: modbus_server, host: 127.0.0.1, port: {port}}}"
    with gate_line(folder, machine, more=more) as line, closing(Master(port)) as master:
        wait_until(lambda: master.discrete_inputs(0, 1) == [1])
        master.write_coil(0, True)
        wait_until(lambda: master.discrete_inputs(2, 1) == [1])  # trigger_ack
        line.inspector.listen_until(lambda: line.inspector.triggered)
        (part,) = line.inspector.triggered
        master.write_coil(0, False)
        line.tell(part, PASS)
        wait_until(lambda: master.discrete_inputs(3, 1) == [1])  # valid
        shown = master.inputs(0, WORDS)
        master.write_coil(1, True)  # ack
        wait_until(lambda: master.discrete_inputs(3, 3) == [0, 0, 0])

    assert (shown[1:3], shown[3:5]) == ([0, part.n], [0, part.n])
    assert shown[0] & 0b111000 == 0b011000  # valid, ok, not ng


def test_a_reset_that_the_plc_left_on_is_no_press_when_the_ejector_process_starts_anew(folder: Path, machine: Plc) -> None:
    more = f"plc: {{type: modbus_client, host: 127.0.0.1, port: {machine.port}, ours: 20, theirs: 40, timeout_ms: 300}}"
    with gate_line(folder, machine, gate=", stop: {in_a_row: 1}", more=more) as line:
        line.rejected()
        wait_until(lambda: line.ask().held)
    machine.holding[40] = 4

    with ejecting(folder / "line.yaml"):
        wait_until(lambda: state_of(folder).plc.wishes.reset)
        at_start = state_of(folder).held
        machine.holding[40] = 0
        wait_until(lambda: not state_of(folder).plc.wishes.reset)
        machine.holding[40] = 4
        wait_until(lambda: not state_of(folder).held)

    assert list(at_start) == ["rejects-in-a-row"]
