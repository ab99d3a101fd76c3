"""Faults of actuator, PLC and triggers, A1 to A14, C9, C10, C11, C16: each with real parts that break."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from broker import free_port
from gate_line import COIL, PASS, PERMIT, REJECT, GateLine, ejecting, gate_line, pulses, send_trigger, state_of, write_gate_line
from inspector import Inspector, eject_process
from libmodbus import Master, Plc, plc
from waiting import wait_until

from agent.inspection import Cause, Outcome
from agent.link import Alarm, Confirm, Triggered
from agent.plc._words import WORDS


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A short path, for the sockets in it."""
    import shutil
    import tempfile

    short = Path(tempfile.mkdtemp(prefix="k"))
    yield short
    shutil.rmtree(short)


@pytest.fixture
def machine() -> Iterator[Plc]:
    """The PLC with the ejector's coil."""
    with plc() as running:
        yield running


@pytest.fixture
def line(folder: Path, machine: Plc) -> Iterator[GateLine]:
    with gate_line(folder, machine) as running:
        yield running


# ---------------------------------------------------------------- what people are told


def test_an_alarm_in_the_hands_of_an_inspection_process_that_is_killed_is_told_to_the_next(folder: Path, machine: Plc) -> None:
    with gate_line(folder, machine, gate=", stop: {in_a_row: 1}") as line:
        line.rejected()
        line.wait_for_alarm("rejects-in-a-row")
        line.inspector.close()  # killed before it was written

        with closing(Inspector(folder / "state" / "gate.sock")) as second:
            second.listen_until(lambda: "rejects-in-a-row" in second.alarms)
            (key,) = [told.key for told in second.heard if isinstance(told, Alarm)]
            second.send(Confirm((), (key,)))
        with closing(Inspector(folder / "state" / "gate.sock")) as third:
            third.listen_until(lambda: third.closed)  # reported after the alarms
            told_to_the_third = third.alarms

    assert told_to_the_third == []


# ---------------------------------------------------------------- verdicts


def test_a1_a_verdict_that_comes_too_late_does_not_save_the_part(line: GateLine, machine: Plc) -> None:
    (part,) = line.trigger()

    (closed,) = line.closed([part])
    line.tell(part, PASS)

    assert (closed.verdict.outcome, closed.verdict.cause) == (Outcome.REJECT, Cause.LATE)
    assert closed.actual_ns is not None
    assert pulses(machine)[-1:] in ([True], [False])
    wait_until(lambda: line.ask().account.get("verdicts_too_late") == 1)
    assert line.ask().account["reject_late"] == 1


def test_a2_verdicts_out_of_order_reject_the_part_they_are_about(line: GateLine, machine: Plc) -> None:
    first, second, third = line.trigger(3)

    line.tell(third, PASS)
    line.tell(second, REJECT)
    line.tell(first, PASS)
    closed = line.closed([first, second, third])

    assert [one.verdict for one in closed] == [PASS, REJECT, PASS]
    assert [one.actual_ns is not None for one in closed] == [False, True, False]
    assert pulses(machine).count(True) == 1


def test_a9_rejects_closer_than_a_pulse_share_one_and_are_both_counted(line: GateLine, machine: Plc) -> None:
    closed = line.rejected(3)
    wait_until(lambda: not machine.coils[COIL])

    assert all(one.actual_ns is not None and not one.problem for one in closed)
    on_and_off = pulses(machine)
    assert on_and_off.count(True) == 3  # asked for each part, so that each has an answer
    assert line.ask().account["reject_score"] == 3


# ---------------------------------------------------------------- processes that die


def test_a3_parts_in_flight_when_the_process_is_killed_are_rejected_and_may_stop_the_line(folder: Path, machine: Plc) -> None:
    file = write_gate_line(folder, machine.port, gate=", stop: {part_went_by: true}")
    with eject_process(file) as killed, closing(Inspector(folder / "state" / "gate.sock")) as before:
        wait_until(lambda: (state := state_of(folder)) and state.attached)
        send_trigger(folder)
        before.listen_until(lambda: before.triggered)
        killed.kill()
    (gone_by_ns,) = [message.planned_ns for message in before.heard if isinstance(message, Triggered)]
    wait_until(lambda: time.monotonic_ns() > gone_by_ns)

    with eject_process(file, "again"), closing(Inspector(folder / "state" / "gate.sock")) as after:
        after.listen_until(lambda: set(before.triggered) <= after.closed_parts())
        wait_until(lambda: (state := state_of(folder)) and "part-went-by" in state.held)
        after.listen_until(lambda: "part-went-by" in after.alarms)

    (closed,) = [one for one in after.closed if one.part in before.triggered][:1]
    assert (closed.verdict.outcome, closed.actual_ns) == (Outcome.REJECT, None)
    assert "no ejector process ran" in closed.problem


def test_a4_an_output_left_on_by_a_killed_process_is_off_as_soon_as_the_next_one_opens(folder: Path, machine: Plc) -> None:
    file = write_gate_line(folder, machine.port, gate=", longest_on_ms: 60000").rename(folder / "long.yaml")
    file.write_text(file.read_text().replace("pulse_ms: 100", "pulse_ms: 30000"))
    with eject_process(file) as killed:
        wait_until(lambda: (folder / "trigger").exists())
        send_trigger(folder)
        wait_until(lambda: machine.coils[COIL])
        killed.kill()
        left_on = machine.coils[COIL]

    with eject_process(file, "again"):
        wait_until(lambda: not machine.coils[COIL])

    assert left_on == 1


def test_a5_without_inspection_the_heartbeat_stops_and_every_part_is_rejected(folder: Path, machine: Plc) -> None:
    port = free_port()
    with (
        gate_line(folder, machine, more=f"plc: {{type: modbus_server, host: 127.0.0.1, port: {port}}}") as line,
        closing(Master(port)) as master,
    ):
        wait_until(lambda: master.discrete_inputs(0, 1) == [1])
        beats = master.inputs(8, 1)[0]
        wait_until(lambda: master.inputs(8, 1)[0] > beats)

        line.inspector.close()
        wait_until(lambda: master.discrete_inputs(0, 1) == [0])
        stopped_at = master.inputs(8, 1)[0]
        send_trigger(folder)
        wait_until(lambda: line.ask().account.get("reject_missed") == 1)

        assert master.inputs(8, 1)[0] == stopped_at
        assert master.inputs(6, 2) == [0, 1]  # missed
        wait_until(lambda: master.discrete_inputs(3, 3) == [1, 0, 1])  # valid, not ok, ng
        assert pulses(machine).count(True) == 1


def attached_to(line: GateLine, folder: Path) -> Inspector:
    """A new inspection process, of which the gate has heard: it answers once in each round of its work."""
    one = Inspector(folder / "state" / "gate.sock")
    [line.ask() for _ in range(5)]
    return one


def test_a_crash_loop_of_inspection_holds_the_line_until_a_person_resets_it(folder: Path, machine: Plc) -> None:
    with gate_line(folder, machine) as line:
        restarts = [attached_to(line, folder) for _ in range(5)]
        wait_until(lambda: "crash-loop" in line.ask().held)
        restarts[-1].listen_until(lambda: "crash-loop" in restarts[-1].alarms)
        held = line.ask()

        reset = line.ask("reset")

        assert (held.ready, held.attached) == (False, True)
        assert (reset.ready, reset.held) == (True, {})
        for one in restarts:
            one.close()


# ---------------------------------------------------------------- the PLC


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


# ---------------------------------------------------------------- the belt


def test_a10_a_counter_of_parts_that_is_set_back_is_told_of_and_brings_no_parts(folder: Path, machine: Plc) -> None:
    with plc() as counter:
        counter.inputs[0] = 5000
        trigger = f"{{type: modbus, host: 127.0.0.1, port: {counter.port}, counter: 0, timeout_ms: 300}}"
        with gate_line(folder, machine, trigger=trigger) as line:
            counter.inputs[0] = 30
            line.wait_for_alarm("device-trigger")
            set_back = line.ask()
            wait_until(lambda: line.ask().ready)
            counter.inputs[0] = 31
            line.inspector.listen_until(lambda: line.inspector.triggered)
            after = line.ask()

    assert "counter went from 5000 to 30: it was reset" in set_back.problems["trigger"]
    assert (set_back.ready, set_back.account.get("triggers", 0)) == (False, 0)
    assert after.account["triggers"] == 1


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


def move(line: GateLine, counter: Plc, start: int, end: int) -> None:
    """The belt, as its encoder counts in 16 bits; no faster than one does."""
    for place in [*range(start, end, 100 if end > start else -100), end]:
        counter.inputs[0] = place % (1 << 16)
        wait_until(lambda place=place: line.ask().place == place)  # type: ignore[misc]


# ---------------------------------------------------------------- the output and its sensor


def test_a11_rejects_in_a_row_stop_the_line_until_a_person_resets_the_gate(folder: Path, machine: Plc) -> None:
    more = f"permit: {{type: modbus, host: 127.0.0.1, port: {machine.port}, coil: {PERMIT}, timeout_ms: 300}}"
    with gate_line(folder, machine, gate=", stop: {in_a_row: 3}", more=more) as line:
        wait_until(lambda: machine.coils[PERMIT])
        line.rejected(2)
        may_run_after_two = machine.coils[PERMIT]
        line.rejected(1)
        wait_until(lambda: not machine.coils[PERMIT])
        line.wait_for_alarm("rejects-in-a-row")
        line.inspector.listen_until(lambda: "rejects-in-a-row" in line.inspector.held[-1])
        send_trigger(folder)
        wait_until(lambda: line.ask().account.get("reject_missed") == 1)

        finished = subprocess.run(
            [sys.executable, "-m", "kensa", "gate", str(folder / "line.yaml"), "reset"],
            capture_output=True,
            text=True,
            timeout=30,
        )

        assert may_run_after_two == 1
        assert finished.returncode == 0, finished.stderr
        assert json.loads(finished.stdout)["held"] == {}
        wait_until(lambda: machine.coils[PERMIT])
        line.inspector.listen_until(lambda: line.inspector.held[-1] == "")


def test_a12_a_reject_that_the_sensor_behind_the_gate_does_not_see_stops_the_line(folder: Path, machine: Plc) -> None:
    more = f"confirm: {{type: modbus, host: 127.0.0.1, port: {machine.port}, counter: 7, timeout_ms: 300}}"
    with gate_line(folder, machine, gate=", confirm_ms: 2000", more=more) as line:
        (seen,) = line.trigger()
        line.tell(seen, REJECT)
        line.closed([seen])
        machine.inputs[7] = 1
        (unseen,) = line.trigger()
        line.tell(unseen, REJECT)
        line.closed([unseen])

        line.wait_for_alarm("reject-not-confirmed")

        assert str(unseen) in line.ask().held["reject-not-confirmed"]


def test_a14_in_maintenance_the_outputs_are_inert_and_the_state_says_so_even_after_a_restart(folder: Path, machine: Plc) -> None:
    with gate_line(folder, machine) as line:
        begun = line.ask("maintenance")
        (closed,) = line.rejected()
    with ejecting(folder / "line.yaml"):
        restarted = state_of(folder)
    with gate_line(folder, machine) as line:
        ended = line.ask("resume")
        (ejected,) = line.rejected()

    assert (begun.maintenance, begun.ready) == (True, False)
    assert (closed.verdict, closed.actual_ns, closed.problem) == (REJECT, None, "maintenance: the outputs are inert")
    assert restarted is not None
    assert restarted.maintenance
    assert (ended.maintenance, ejected.actual_ns is not None) == (False, True)
    assert pulses(machine).count(True) == 1


# ---------------------------------------------------------------- triggers


def test_a10_a_trigger_input_that_stays_active_is_one_part_and_an_alarm(folder: Path, machine: Plc) -> None:
    trigger = f"{{type: modbus, host: 127.0.0.1, port: {machine.port}, discrete_input: 5, timeout_ms: 300}}"
    with gate_line(folder, machine, gate=", stuck_ms: 300", trigger=trigger) as line:
        machine.discrete_inputs[5] = 1
        line.wait_for_alarm("trigger-stuck")
        line.closed(line.inspector.triggered)

        assert line.ask().account["triggers"] == 1
        assert "stays active" in line.ask().problems["trigger-stuck"]
        machine.discrete_inputs[5] = 0
        wait_until(lambda: not line.ask().problems)
        machine.discrete_inputs[5] = 1
        wait_until(lambda: line.ask().account["triggers"] == 2)


def test_c9_a_trigger_without_a_frame_ends_as_a_rejected_part_with_its_record(line: GateLine) -> None:
    (part,) = line.trigger()  # inspection hears of it and never has an image to judge

    (closed,) = line.closed([part])

    assert (closed.verdict.outcome, closed.verdict.cause) == (Outcome.REJECT, Cause.LATE)


def test_c10_bounces_of_a_trigger_are_counted_and_the_numbers_stay_aligned(folder: Path, machine: Plc) -> None:
    with gate_line(folder, machine, debounce_ms=500) as line:
        for _ in range(3):
            send_trigger(folder)
        line.inspector.listen_until(lambda: line.inspector.triggered)
        wait_until(lambda: line.ask().incidents["bounces"] == 2)
        line.closed(line.inspector.triggered)
        threading.Event().wait(0.5)  # the debounce time itself
        (next_one,) = line.trigger()

    assert next_one.n == 2


def test_c11_triggers_ten_times_faster_than_they_are_judged_are_all_accounted_for(line: GateLine) -> None:
    judged = 0
    for _ in range(10):
        parts = line.trigger(10)
        line.tell(parts[0], PASS)
        judged += 1

    line.inspector.listen_until(lambda: len(line.inspector.closed_parts()) == 100)

    account = line.ask().account
    assert (account["triggers"], account["pass"], account["reject_late"]) == (100, judged, 90)
