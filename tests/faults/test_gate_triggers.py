"""The trigger input, A10, C10: stuck, set back, bouncing."""

import threading
from pathlib import Path

from gate_line import gate_line, send_trigger
from libmodbus import Plc, plc
from waiting import wait_until


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


def test_c10_parts_that_a_counter_tells_of_at_once_are_no_bounces(folder: Path, machine: Plc) -> None:
    with plc() as counter:
        trigger = f"{{type: modbus, host: 127.0.0.1, port: {counter.port}, counter: 0, timeout_ms: 300}}"
        with gate_line(folder, machine, trigger=trigger, debounce_ms=500) as line:
            counter.inputs[0] = 4
            line.inspector.listen_until(lambda: len(line.inspector.triggered) == 4)

            assert line.ask().incidents["bounces"] == 0
