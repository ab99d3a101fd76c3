"""Parts and their verdicts at the gate, A1, A2, A9, C9, C11: late, out of order, close together, or never judged."""

from gate_line import COIL, PASS, REJECT, GateLine, pulses
from libmodbus import Plc
from waiting import wait_until

from agent.inspection import Cause, Outcome


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


def test_c9_a_trigger_without_a_frame_ends_as_a_rejected_part_with_its_record(line: GateLine) -> None:
    (part,) = line.trigger()  # inspection hears of it and never has an image to judge

    (closed,) = line.closed([part])

    assert (closed.verdict.outcome, closed.verdict.cause) == (Outcome.REJECT, Cause.LATE)


def test_c11_triggers_ten_times_faster_than_they_are_judged_are_all_accounted_for(line: GateLine) -> None:
    judged = 0
    for _ in range(10):
        parts = line.trigger(10)
        line.tell(parts[0], PASS)
        judged += 1

    line.inspector.listen_until(lambda: len(line.inspector.closed_parts()) == 100)

    account = line.ask().account
    assert (account["triggers"], account["pass"], account["reject_late"]) == (100, judged, 90)
