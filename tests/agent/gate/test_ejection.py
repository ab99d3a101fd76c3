"""Pulses and their answers, in virtual time: the output is on for who is to be rejected, or what went wrong is told of."""

import pytest
from virtual_gate import BY_COUNTS, BY_TIME, DELAY_NS, MS, PASS, REJECT, Output, acted, alarms, told

from agent.gate.gate import Gate
from agent.gate.journal import Journal
from agent.gate.line_stop import Reason
from agent.gate.plan import GatePlan, StopRules


def test_a_belt_that_runs_on_while_the_ejector_process_stands_still_is_told_of(journal: Journal, output: Output) -> None:
    gate = Gate("boot", BY_COUNTS, output, journal)
    assert gate.belt is not None
    gate.belt.moved(0, 0)
    told(gate, 0, REJECT)
    gate.belt.moved(-1000, 10 * MS)
    gate.act(10 * MS)
    gate.act(100 * MS)  # the belt stands, the pulse is over

    gate.belt.moved(-1000 - BY_COUNTS.window_counts, 900 * MS)
    (closed,) = gate.act(900 * MS)

    assert "500 counts through the gate with the output off" in closed.problem


@pytest.mark.parametrize("slower", [1, 20, 30, 40, 50, 60, 80, 200])
def test_a_part_whose_pulse_is_cut_on_a_slow_belt_is_told_of_and_no_other(journal: Journal, output: Output, slower: int) -> None:
    """20 counts a ms, from 200 counts before the stretch on slower by so much."""
    plan = GatePlan(travel_ms=600, travel_counts=12_000, lead_ms=40, pulse_ms=30, gap_ms=20, stop=StopRules(part_went_by=True))
    gate = Gate("boot", plan, output, journal)
    gate.belt_read(0, 0, 0)
    told(gate, 0, REJECT)
    closed = []
    for ms in range(1, 550 + 82 * slower):
        gate.belt_read(20 * ms if ms < 550 else 11_000 + 20 * (ms - 550) // slower, ms * MS, ms * MS)
        closed += gate.act(ms * MS)

    (record,) = closed
    is_cut = slower > 28  # 1400 counts in longest_on_ms, 2000, at 0.7 a ms
    assert record.problem == ("its pulse is cut: the output is never on for more than 2000 ms" if is_cut else "")
    assert gate.incidents["maybe_not_ejected"] == is_cut
    assert (Reason.WENT_BY in gate.held, Reason.OUTPUT_TOO_LONG in gate.held) == (is_cut, is_cut)


def test_a_part_in_the_gate_when_maintenance_makes_the_output_inert_is_told_of(journal: Journal, output: Output) -> None:
    gate = Gate("boot", BY_COUNTS, output, journal)
    gate.belt_read(0, 0, 0)
    told(gate, 0, REJECT)
    gate.belt_read(-1000, 100 * MS, 100 * MS)
    gate.act(100 * MS)
    gate.belt_read(-1200, 120 * MS, 120 * MS)  # its front is at the gate
    gate.act(120 * MS)

    gate.maintain(True, 121 * MS)
    gate.belt_read(-1320, 132 * MS, 132 * MS)
    gate.act(132 * MS)
    gate.maintain(False, 133 * MS)
    gate.belt_read(-1500, 150 * MS, 150 * MS)
    (closed,) = gate.act(150 * MS)

    assert closed.problem == "maintenance: the outputs are inert"


def test_a_part_whose_output_does_not_come_on_again_as_its_belt_goes_on_is_told_of(journal: Journal, output: Output) -> None:
    gate = Gate("boot", BY_COUNTS, output, journal)
    gate.belt_read(0, 0, 0)
    told(gate, 0, REJECT)
    gate.belt_read(-1000, 100 * MS, 100 * MS)
    [gate.act(ms * MS) for ms in (100, 200)]  # it stands, the pulse is over
    output.error = "coil 3 does not answer"

    closed = []
    for ms in range(900, 960, 5):
        gate.belt_read(-1000 - 10 * (ms - 899), ms * MS, ms * MS)
        closed += gate.act(ms * MS)

    assert [one.problem for one in closed] == ["coil 3 does not answer"]
    assert Reason.EJECTOR in gate.held


def test_a_belt_that_stood_at_the_gate_goes_on_with_the_output_on(journal: Journal, output: Output) -> None:
    gate = Gate("boot", BY_COUNTS, output, journal)
    assert gate.belt is not None
    gate.belt.moved(0, 0)
    told(gate, 0, REJECT)
    gate.belt.moved(-1000, 10 * MS)
    gate.act(10 * MS)
    gate.act(100 * MS)

    gate.belt.moved(-1010, 900 * MS)
    gate.act(900 * MS)

    assert output.on_at == [10 * MS, 900 * MS]


def test_neighbours_that_are_closer_than_the_gap_get_one_long_pulse(journal: Journal, output: Output) -> None:
    gate = Gate("boot", BY_TIME, output, journal)
    told(gate, 0, REJECT)
    told(gate, 35 * MS, REJECT)  # 5 ms after the first pulse; the gap is 10

    acted(gate, DELAY_NS + 200 * MS)

    assert (len(output.on_at), output.off_at) == (2, [DELAY_NS + 65 * MS])
    assert gate.output.pulse.short_gaps == 0


def test_a_neighbour_that_passes_is_not_ejected_with_the_one_before_it(journal: Journal, output: Output) -> None:
    gate = Gate("boot", BY_TIME, output, journal)
    told(gate, 0, REJECT)
    told(gate, 35 * MS, PASS)

    acted(gate, DELAY_NS + 200 * MS)

    assert output.off_at == [DELAY_NS + 30 * MS]


def test_an_output_that_is_wanted_for_too_long_goes_off_and_holds_the_line(journal: Journal, output: Output) -> None:
    gate = Gate("boot", BY_TIME, output, journal)
    for k in range(20):
        told(gate, 20 * MS * k, REJECT)

    acted(gate, DELAY_NS + 1000 * MS)

    assert output.longest_ns == 200 * MS
    assert Reason.OUTPUT_TOO_LONG in gate.held
    assert output.on_since_ns is None


def test_a_part_whose_pulse_is_cut_because_the_output_was_on_for_too_long_is_told_of(journal: Journal, output: Output) -> None:
    gate = Gate("boot", BY_TIME, output, journal)
    for ms in (0, 25, 50, 75, 100, 125, 150, 170, 171, 200):
        told(gate, ms * MS, REJECT)

    closed = acted(gate, DELAY_NS + 300 * MS)

    assert [bool(one.problem) for one in closed] == [False] * 8 + [True] * 2
    assert closed[-1].problem == "its pulse is cut: the output is never on for more than 200 ms"


def test_a_part_whose_output_comes_on_when_it_has_to_go_off_is_told_of(journal: Journal, output: Output) -> None:
    gate = Gate("boot", BY_TIME, output, journal)
    told(gate, 0, REJECT)
    output.is_slow = True
    acted(gate, DELAY_NS + 210 * MS)

    output.answer_at(DELAY_NS + 45 * MS)
    (closed,) = gate.act(DELAY_NS + 211 * MS)

    assert closed.problem.startswith("its pulse is cut")


def test_a_part_whose_pulse_failed_is_told_of_and_holds_the_line(journal: Journal, output: Output) -> None:
    gate = Gate("boot", BY_TIME, output, journal)
    told(gate, 0, REJECT)
    output.error = "coil 3 does not answer"

    (closed,) = gate.act(DELAY_NS)

    assert (closed.verdict, closed.actual_ns, closed.problem) == (REJECT, None, "coil 3 does not answer")
    assert gate.held[Reason.EJECTOR] == "coil 3 does not answer"
    assert gate.incidents["maybe_not_ejected"] == 1
    assert set(alarms(gate)) == {"ejector-failed", "maybe-not-ejected"}


def test_an_output_that_did_not_go_off_is_told_to_until_it_has(journal: Journal, output: Output) -> None:
    gate = Gate("boot", BY_TIME, output, journal)
    told(gate, 0, REJECT)
    [gate.act(ns * MS) for ns in range(0, 110, 10)]
    output.error = "no answer"
    [gate.act(ns * MS) for ns in range(110, 1000, 10)]
    stays_on = output.on_since_ns
    output.error = ""

    [gate.act(ns * MS) for ns in range(1000, 1200, 10)]

    assert stays_on == DELAY_NS
    assert output.on_since_ns is None
    assert len(output.off_at) == 1
    assert Reason.EJECTOR in gate.held


def test_maintenance_switches_off_an_output_that_answers_only_later(journal: Journal, output: Output) -> None:
    gate = Gate("boot", BY_TIME, output, journal)
    told(gate, 0, REJECT)
    [gate.act(ns * MS) for ns in range(0, 110, 10)]
    output.error = "no answer"
    gate.maintain(True, 110 * MS)
    gate.act(110 * MS)
    output.error = ""

    woken_ns = gate.wake_ns()
    gate.act(210 * MS)

    assert woken_ns == 210 * MS
    assert (output.on_since_ns, output.off_at) == (None, [210 * MS])


def test_a_part_is_closed_when_its_output_has_answered_and_not_before(journal: Journal, output: Output) -> None:
    gate = Gate("boot", BY_TIME, output, journal)
    told(gate, 0, REJECT)
    output.is_slow = True

    while_asked = [gate.act(DELAY_NS), len(gate), gate.is_at_rest]
    output.is_slow = False
    (closed,) = gate.act(DELAY_NS + 5 * MS)

    assert while_asked == [[], 1, False]
    assert closed.actual_ns == DELAY_NS


def test_a_slow_output_gets_its_whole_pulse_from_when_it_is_on(journal: Journal, output: Output) -> None:
    gate = Gate("boot", BY_TIME, output, journal)
    told(gate, 0, REJECT)
    output.is_slow = True
    waited = acted(gate, DELAY_NS + 59 * MS)
    off_meanwhile, woken_for_nothing = list(output.off_at), gate.wake_ns()

    output.answer_at(DELAY_NS + 60 * MS)
    (closed,) = gate.act(DELAY_NS + 60 * MS)
    until_off = [gate.act(DELAY_NS + ms * MS) for ms in range(61, 100)]

    assert (waited, off_meanwhile, woken_for_nothing) == ([], [], None)
    assert closed.actual_ns == DELAY_NS + 60 * MS
    assert output.off_at == [DELAY_NS + 90 * MS]
    assert not any(until_off)


def test_a_pulse_so_late_that_its_part_may_have_gone_by_is_told_of(journal: Journal, output: Output) -> None:
    gate = Gate("boot", GatePlan(travel_ms=120, lead_ms=20, window_ms=50, stop=StopRules(part_went_by=True)), output, journal)
    told(gate, 0, REJECT)

    (closed,) = gate.act(DELAY_NS + 51 * MS)

    assert closed.problem == "pulse 51 ms late: the part may have gone by"
    assert closed.actual_ns == DELAY_NS + 51 * MS
    assert Reason.WENT_BY in gate.held


def test_a13_a_machine_too_slow_for_its_line_is_reported_as_such(journal: Journal, output: Output) -> None:
    gate = Gate("boot", GatePlan(travel_ms=120, lead_ms=20, late_ms=5, window_ms=50, longest_on_ms=60_000), output, journal)

    for k in range(100):
        told(gate, k * 200 * MS, REJECT)
        gate.act(k * 200 * MS + DELAY_NS + (6 if k % 50 == 49 else 1) * MS)
        gate.act(k * 200 * MS + 199 * MS)

    assert gate.output.lateness.figures() == {"pulses": 100, "p50_ms": 1.0, "p99_ms": 6.0, "max_ms": 6.0}
    assert alarms(gate) == ["pulses-late"]


def test_a_part_that_was_given_up_has_ended_whatever_its_output_answers_later(journal: Journal, output: Output) -> None:
    """Encoder and output hang on one coupler, whose plug is pulled while a part is in the gate."""
    gate = Gate("boot", BY_COUNTS, output, journal)
    gate.belt_read(0, 0, 0)
    part = told(gate, 0, REJECT)
    output.is_slow, output.error = True, "the coupler does not answer"
    gate.belt_read(-1000, 100 * MS, 100 * MS)
    gate.act(100 * MS)
    gate.encoder_lost("the coupler does not answer", 200 * MS)
    given_up = gate.act(200 * MS)
    output.is_slow = False

    afterwards = gate.act(300 * MS)

    assert [closed.part for closed in given_up + afterwards] == [part]
    assert gate.account["reject"] == gate.account["triggers"] == 1
    assert Reason.EJECTOR in gate.held
