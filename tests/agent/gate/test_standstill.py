"""A gate that is held or in maintenance: what it does with parts, what lasts over a restart, and that only a person ends it."""

from pathlib import Path

from virtual_gate import BY_TIME, DELAY_NS, MS, PASS, REJECT, Output, alarms, told

from agent.gate.gate import Gate
from agent.gate.journal import Journal
from agent.gate.line_stop import Reason
from agent.gate.orders import OrderBook
from agent.gate.plan import GatePlan, StopRules
from agent.inspection import Outcome


def test_while_the_line_is_held_each_new_part_is_rejected_and_after_a_reset_judged(journal: Journal, output: Output) -> None:
    gate = Gate("boot", BY_TIME, output, journal)
    before = told(gate, 0, PASS)
    gate.hold(Reason.CRASH_LOOP, "five restarts", 1)
    while_held = told(gate, 2, PASS)
    gate.reset()
    after = told(gate, 3, PASS)

    verdicts = {closed.part: closed.verdict for closed in gate.act(DELAY_NS + 3)}

    assert (verdicts[before], verdicts[after]) == (PASS, PASS)
    assert verdicts[while_held].outcome is Outcome.REJECT
    assert "crash-loop" in verdicts[while_held].detail


def test_a_reason_is_held_and_told_of_once_until_the_reset(journal: Journal, output: Output) -> None:
    gate = Gate("boot", BY_TIME, output, journal)
    later_ns = 120_000 * MS  # an alarm of one name is told once a minute

    gate.hold(Reason.EJECTOR, "first", 0)
    gate.hold(Reason.EJECTOR, "second", later_ns)
    gate.hold(Reason.ENCODER, "third", later_ns)

    assert gate.held == {Reason.EJECTOR: "first", Reason.ENCODER: "third"}
    assert alarms(gate) == ["ejector-failed", "encoder-lost"]


def test_a_hold_and_maintenance_outlive_the_process(tmp_path: Path, journal: Journal, output: Output) -> None:
    book = OrderBook(tmp_path / "orders.json")
    killed = Gate("killed", BY_TIME, output, journal, book)
    killed.hold(Reason.EJECTOR, "coil 3", 0)
    killed.maintain(True, 0)

    after = Gate("after", BY_TIME, output, journal, book)

    assert (after.held, after.in_maintenance) == ({Reason.EJECTOR: "coil 3"}, True)
    after.reset()
    after.maintain(False, 1)
    assert (Gate("third", BY_TIME, output, journal, book).held, after.in_maintenance) == ({}, False)


def test_an_order_that_a_full_disk_refused_is_told_of_and_outlives_the_process_once_there_is_room(
    tmp_path: Path, journal: Journal, output: Output
) -> None:
    """Or the next process would move an output with people's hands in the machine."""
    book, in_the_way = OrderBook(tmp_path / "orders.json"), tmp_path / "orders.new"
    in_the_way.mkdir()
    killed = Gate("killed", BY_TIME, output, journal, book)
    killed.maintain(True, 0)
    killed.act(1)
    told_of = alarms(killed)
    in_the_way.rmdir()
    killed.act(10_000 * MS + 1)

    after = Gate("after", BY_TIME, output, journal, book)

    assert told_of == ["orders-not-kept"]
    assert after.in_maintenance


def test_a_rule_of_the_line_holds_it(journal: Journal, output: Output) -> None:
    plan = GatePlan(travel_ms=120, lead_ms=20, stop=StopRules(rejects=2, of_last=10))
    gate = Gate("boot", plan, output, journal)
    for ns, verdict in [(0, REJECT), (1, PASS), (2, REJECT)]:
        told(gate, ns, verdict)

    gate.act(DELAY_NS + 2)

    assert gate.held == {Reason.REJECTS_OF_LAST: "2 of the last 3 parts were rejected"}
    assert alarms(gate) == ["rejects-of-last"]


def test_parts_that_were_rejected_because_the_line_was_held_do_not_hold_it_again_after_the_reset(
    journal: Journal, output: Output
) -> None:
    gate = Gate("boot", GatePlan(travel_ms=120, lead_ms=20, stop=StopRules(in_a_row=2)), output, journal)
    [told(gate, ns, REJECT) for ns in (0, 1)]
    gate.act(DELAY_NS + 1)
    held = dict(gate.held)
    [told(gate, DELAY_NS + ns, PASS) for ns in (2, 3, 4)]

    gate.reset()
    while_held = gate.act(2 * DELAY_NS + 4)

    assert list(held) == [Reason.REJECTS_IN_A_ROW]
    assert [one.verdict.outcome for one in while_held] == [Outcome.REJECT] * 3
    assert gate.held == {}


def test_in_maintenance_a_pulse_that_was_on_ends_at_once_and_none_begins(journal: Journal, output: Output) -> None:
    gate = Gate("boot", BY_TIME, output, journal)
    told(gate, 0, REJECT)
    told(gate, 50 * MS, REJECT)
    gate.act(DELAY_NS)

    gate.maintain(True, DELAY_NS + MS)
    (second,) = gate.act(DELAY_NS + 50 * MS)

    assert (output.on_at, output.off_at) == ([DELAY_NS], [DELAY_NS + MS])
    assert (second.verdict, second.actual_ns) == (REJECT, None)
    assert second.problem.startswith("maintenance")
