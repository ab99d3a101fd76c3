"""Why the line has to stand, A11, A12, A14: rejects in a row, a reject not confirmed, maintenance."""

import json
import subprocess
import sys
from pathlib import Path

from gate_line import PERMIT, REJECT, ejecting, gate_line, pulses, send_trigger, state_of
from libmodbus import Plc
from waiting import wait_until


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


def test_a12_a_bouncing_sensor_behind_the_gate_confirms_no_part_that_did_not_fall(folder: Path, machine: Plc) -> None:
    more = "confirm: {type: software, path: bin}"
    with gate_line(folder, machine, gate=", confirm_ms: 1500", more=more, debounce_ms=20) as line:
        line.rejected()
        (unseen,) = line.rejected()
        send_trigger(folder, "bin")
        send_trigger(folder, "bin")

        line.wait_for_alarm("reject-not-confirmed")

        assert str(unseen.part) in line.ask().held["reject-not-confirmed"]
        assert line.ask().incidents["confirm_bounces"] == 1
