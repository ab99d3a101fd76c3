"""Processes beside the gate that die, A3, A4, A5: what becomes of parts, output and alarms."""

import time
from contextlib import closing
from pathlib import Path

from broker import free_port
from gate_line import COIL, REJECT, GateLine, gate_line, pulses, send_trigger, state_of, write_gate_line
from inspector import Inspector, eject_process
from libmodbus import Master, Plc
from waiting import wait_until

from agent.inspection import Outcome
from agent.link import Alarm, Confirm, Leaving, Triggered, Unable


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
        closing(master_of(port)) as master,
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


def test_ready_is_off_while_an_inspection_process_that_is_there_cannot_inspect(folder: Path, machine: Plc) -> None:
    """A camera that is lost, a pause, a process about to leave: its heart beats on, parts are told of, each has its verdict."""
    port = free_port()
    with (
        gate_line(folder, machine, more=f"plc: {{type: modbus_server, host: 127.0.0.1, port: {port}}}") as line,
        closing(master_of(port)) as master,
    ):
        wait_until(lambda: master.discrete_inputs(0, 1) == [1])
        line.inspector.send(Unable("camera top lost: no cable"))
        wait_until(lambda: master.discrete_inputs(0, 1) == [0])
        beats = master.inputs(8, 1)[0]
        told = line.ask()
        (closed,) = line.rejected()
        wait_until(lambda: master.inputs(8, 1)[0] > beats)
        line.inspector.send(Unable(""))

        wait_until(lambda: master.discrete_inputs(0, 1) == [1])

        assert (told.ready, told.attached, told.unable) == (False, True, "camera top lost: no cable")
        assert closed.verdict == REJECT
        assert master.inputs(6, 2) == [0, 1]  # missed
        assert line.ask().unable == ""


def test_what_a_process_that_is_gone_could_not_do_is_not_held_against_the_next(folder: Path, machine: Plc) -> None:
    with gate_line(folder, machine) as line:
        line.inspector.send(Unable("the inspection process ends, or is started anew"))
        wait_until(lambda: not line.ask().ready)
        line.inspector.close()
        wait_until(lambda: not line.ask().attached)
        with closing(attached_to(line, folder)):
            wait_until(lambda: line.ask().ready)


def master_of(port: int) -> Master:
    """A PLC that polls, as soon as somebody listens there."""
    found: list[Master] = []

    def connected() -> bool:
        try:
            found.append(Master(port))
        except OSError:
            return False
        return True

    wait_until(connected)
    return found[0]


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


def test_processes_that_were_told_to_end_are_no_crash_loop_and_one_that_dies_after_them_is_counted(
    folder: Path, machine: Plc
) -> None:
    with gate_line(folder, machine) as line:
        for _ in range(8):
            one = attached_to(line, folder)
            one.send(Leaving())
            line.ask()
            one.close()
        orderly = line.ask().held
        dead = [attached_to(line, folder) for _ in range(5)]
        wait_until(lambda: "crash-loop" in line.ask().held)
        for one in dead:
            one.close()

    assert orderly == {}
