"""The gate in virtual time: where parts are by the encoder, changes of recipe, and what holds whatever happens."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from virtual_gate import BY_COUNTS, BY_TIME, DELAY_NS, MS, PASS, REJECT, Output, acted, alarms, told

from agent.gate.gate import Gate
from agent.gate.journal import Journal
from agent.gate.line_stop import Reason
from agent.gate.plan import GatePlan, StopRules
from agent.inspection import Cause, Closed, Outcome, Part

# ---------------------------------------------------------------- by the encoder


def test_a_part_arrives_by_counts_whatever_time_that_takes(journal: Journal, output: Output) -> None:
    gate = Gate("boot", BY_COUNTS, output, journal)
    assert gate.belt is not None
    gate.belt.moved(0, 0)
    part = told(gate, 0, REJECT)

    for ns, count in [(1, -400), (2, -400), (10**12, -400), (10**12 + 1, 300), (10**12 + 2, -999)]:
        gate.belt.moved(count, ns)
        assert gate.act(ns) == []
    gate.belt.moved(-1000, 10**12 + 3)
    at_the_gate = gate.act(10**12 + 3)
    gate.belt.moved(-1000 - BY_COUNTS.window_counts, 10**12 + 4)
    (closed,) = gate.act(10**12 + 4)

    assert at_the_gate == []
    assert (closed.part, closed.planned_ns, closed.actual_ns, closed.problem) == (part, 10**12 + 3, 10**12 + 3, "")
    assert output.on_at == [10**12 + 3]


def test_a_part_closes_with_the_instant_at_which_it_came_to_the_gate_between_two_readings(
    journal: Journal, output: Output
) -> None:
    gate = Gate("boot", BY_COUNTS, output, journal)
    assert gate.belt is not None
    gate.belt.moved(0, 0)
    told(gate, 0, REJECT)
    gate.belt.moved(-900, 9000)
    gate.belt.moved(-1100, 11000)
    gate.act(11500)
    gate.belt.moved(-1000 - BY_COUNTS.window_counts, 12000)

    (closed,) = gate.act(12500)

    assert (closed.planned_ns, closed.actual_ns) == (10000, 11500)


def test_a_part_that_came_while_the_encoder_was_late_to_answer_is_ejected_where_it_is(journal: Journal, output: Output) -> None:
    gate = Gate("boot", BY_COUNTS, output, journal)
    assert gate.belt is not None
    gate.belt.moved(0, 0)
    gate.belt.moved(-50, 5 * MS)
    told(gate, 50 * MS, REJECT)  # the belt is at 500, which nobody knows yet
    gate.act(51 * MS)
    gate.belt.moved(-1000, 100 * MS)
    gate.act(101 * MS)

    gate.belt.moved(-1400, 140 * MS)
    gate.act(140 * MS)
    too_early = list(output.on_at)
    gate.belt.moved(-1510, 151 * MS)
    gate.act(151 * MS)

    assert too_early == []
    assert output.on_at == [151 * MS]


def test_parts_that_come_while_the_encoder_stands_are_rejected_as_lost_and_hold_the_line(
    journal: Journal, output: Output
) -> None:
    gate = Gate("boot", BY_COUNTS, output, journal)
    assert gate.belt is not None
    gate.belt.moved(0, 0)
    gate.belt.moved(-10, 10)
    parts = [told(gate, ns, PASS) for ns in (100, 200, 300)]

    closed = gate.act(400)

    assert [one.part for one in closed] == parts
    assert {one.actual_ns for one in closed} == {None}
    assert all("encoder was lost" in one.problem for one in closed)
    assert Reason.ENCODER in gate.held
    assert gate.trigger(500, attached=True).final.outcome is Outcome.REJECT


def test_a_counter_that_is_set_while_the_belt_is_empty_holds_nothing_and_the_next_part_goes_by_the_new_count(
    journal: Journal, output: Output
) -> None:
    gate = Gate("boot", BY_COUNTS, output, journal)
    [gate.belt_read(-20_000 - 50 * n, 5 * n * MS, 5 * n * MS) for n in range(4)]
    [gate.belt_read(-50 * n, (20 + 5 * n) * MS, (20 + 5 * n) * MS) for n in range(3)]
    told(gate, 30 * MS, REJECT)  # the belt is at 100

    [gate.belt_read(-50 * n, (20 + 5 * n) * MS, (20 + 5 * n) * MS) for n in range(3, 22)]
    gate.act(125 * MS)
    too_early = list(output.on_at)
    gate.belt_read(-1100, 130 * MS, 130 * MS)
    gate.act(130 * MS)

    assert gate.held == {}
    assert (too_early, output.on_at) == ([], [130 * MS])


def test_a_belt_four_times_as_fast_as_planned_is_still_a_belt(journal: Journal, output: Output) -> None:
    gate = Gate("boot", BY_COUNTS, output, journal)
    gate.belt_read(0, 0, 0)
    told(gate, 0, REJECT)

    [gate.belt_read(-200 * n, 5 * n * MS, 5 * n * MS) for n in range(1, 5)]
    gate.act(20 * MS)

    assert gate.held == {}


def test_an_encoder_of_one_count_for_each_step_of_the_belt_is_not_taken_for_one_that_was_set(
    journal: Journal, output: Output
) -> None:
    gate = Gate("boot", GatePlan(travel_ms=1600, travel_counts=8), output, journal)
    gate.belt_read(0, 0, 0)
    told(gate, 0, REJECT)

    [gate.belt_read(ms // 200, ms * MS, ms * MS) for ms in range(5, 1600, 5)]
    gate.act(1600 * MS)

    assert gate.held == {}


def test_a_part_before_the_first_reading_of_the_encoder_is_not_taken_for_one_at_the_gate(
    journal: Journal, output: Output
) -> None:
    gate = Gate("boot", BY_COUNTS, output, journal)

    told(gate, 100, PASS)
    (closed,) = gate.act(200)

    assert closed.problem
    assert Reason.ENCODER in gate.held


def test_c16_an_idle_line_raises_no_alarm_and_switches_nothing_for_hours(journal: Journal, output: Output) -> None:
    gate = Gate("boot", BY_TIME, output, journal)

    closed = acted(gate, 10 * 3600 * 1000 * MS, step_ns=500 * MS)

    assert (closed, alarms(gate), output.on_at, output.off_at, gate.wake_ns()) == ([], [], [], [], None)


# ---------------------------------------------------------------- whatever happens

steps = st.lists(
    st.one_of(
        st.tuples(st.just("trigger"), st.booleans()),
        st.tuples(st.just("tell"), st.integers(1, 20), st.sampled_from([PASS, REJECT])),
        st.tuples(st.just("time"), st.integers(1, 250)),
        st.tuples(st.just("belt"), st.integers(-300, 900)),
        st.tuples(st.just("lost")),
        st.tuples(st.just("output fails"), st.booleans()),
        st.tuples(st.just("output slow"), st.booleans()),
        st.tuples(st.just("maintain"), st.booleans()),
        st.tuples(st.just("hold")),
        st.tuples(st.just("encoder lost")),
        st.tuples(st.just("reset")),
    ),
    max_size=60,
)


class Run:
    """A gate to which these things happened, and which was then left to itself until nothing moved any more."""

    def __init__(self, plan: GatePlan, happenings: list[tuple], folder: Path) -> None:
        self.output = Output()
        self.closed: list[Closed] = []
        self.passed_in_time: set[Part] = set()
        self.opened: list[Part] = []
        self._now_ns = 0
        self._count = 0
        with Journal(folder, "machine") as journal:
            self._gate = Gate("boot", plan, self.output, journal)
            for happening in [("belt", 0), *happenings]:
                self._happens(happening)
                self._look()
            self.output.error, self.output.is_slow = "", False
            for _ in range(400):
                self._happens(("belt", 100))
                self._happens(("time", 10))
                self._look()
            self.is_at_rest = self._gate.is_at_rest
            self.account = self._gate.account
            self.unconfirmed = set(journal.unconfirmed)

    def _look(self) -> None:
        self.closed += self._gate.act(self._now_ns)

    def _happens(self, happening: tuple) -> None:
        match happening:
            case ("trigger", attached):
                self.opened.append(self._gate.trigger(self._now_ns, attached).part)
            case ("tell", n, verdict):
                part = Part("boot", n)
                before = self._gate.account["verdicts_too_late"]
                self._gate.tell(part, verdict)
                if self._gate.account["verdicts_too_late"] == before and verdict is PASS:
                    self.passed_in_time.add(part)
            case ("time", ms):
                for _ in range(ms):
                    self._now_ns += MS
                    self._look()
            case ("belt", counts):
                self._now_ns += MS
                self._count -= counts
                if self._gate.belt is not None:
                    self._gate.belt.moved(self._count, self._now_ns)
            case ("lost",):
                self._gate.inspection_lost()
            case ("output fails", fails):
                self.output.error = "no answer" if fails else ""
            case ("output slow", is_slow):
                self.output.is_slow = is_slow
            case ("maintain", begin):
                self._gate.maintain(begin, self._now_ns)
            case ("hold",):
                self._gate.hold(Reason.CRASH_LOOP, "", self._now_ns)
            case ("encoder lost",):
                self._gate.encoder_lost("silent", self._now_ns)
            case ("reset",):
                self._gate.reset()


@pytest.mark.parametrize("plan", [BY_TIME, BY_COUNTS], ids=["by time", "by counts"])
@given(happenings=steps)
@example(happenings=[("trigger", False), ("time", 100), ("output fails", True), ("maintain", True)])
def test_each_part_closes_exactly_once_passes_only_by_a_verdict_in_time_and_the_output_is_off_at_the_end(
    plan: GatePlan, happenings: list[tuple]
) -> None:
    with TemporaryDirectory(prefix="k") as folder:
        run = Run(plan, happenings, Path(folder))

    assert sorted(closed.part for closed in run.closed) == sorted(run.opened)
    assert {closed.part for closed in run.closed if closed.verdict.outcome is Outcome.PASS} <= run.passed_in_time
    assert run.account["triggers"] == run.account["pass"] + run.account["reject"] == len(run.opened)
    assert run.unconfirmed == set(run.opened)
    assert run.is_at_rest
    assert run.output.on_since_ns is None


@given(happenings=steps)
def test_a_reject_was_ejected_or_its_record_says_why_not(happenings: list[tuple]) -> None:
    with TemporaryDirectory(prefix="k") as folder:
        run = Run(BY_TIME, happenings, Path(folder))

    rejects = [closed for closed in run.closed if closed.verdict.outcome is Outcome.REJECT]
    assert all(closed.problem or closed.actual_ns in run.output.on_at for closed in rejects)
    assert all(closed.actual_ns is None for closed in run.closed if closed.verdict.outcome is Outcome.PASS)


def test_parts_of_a_change_over_are_rejected_break_no_rule_and_are_not_waited_for(output: Output, journal: Journal) -> None:
    plan = GatePlan(travel_ms=120, lead_ms=20, pulse_ms=5, stop=StopRules(in_a_row=2))
    gate = Gate("boot", plan, output, journal)
    gate.trigger(0, attached=True, recipe=1)
    [gate.trigger(n * 10 * MS, attached=True, recipe=None, unsettled="change-over to recipe 2") for n in (1, 2, 3)]
    waited_for = gate.of_a_recipe

    closed = [*gate.act(DELAY_NS), *gate.act(DELAY_NS + 10 * MS), *gate.act(DELAY_NS + 20 * MS), *gate.act(DELAY_NS + 30 * MS)]

    assert waited_for == 1
    assert [(one.recipe, one.verdict.cause) for one in closed] == [(1, Cause.LATE)] + [(None, Cause.FAULT)] * 3
    assert closed[1].verdict.detail == "change-over to recipe 2"
    assert gate.held == {}


def test_another_recipes_way_and_pulse_are_those_of_parts_that_come_after_it(output: Output, journal: Journal) -> None:
    gate = Gate("boot", BY_TIME, output, journal)
    before = told(gate, 0, PASS)
    gate.change(GatePlan(travel_ms=70, lead_ms=20, pulse_ms=60, longest_on_ms=200, window_ms=50))
    after = told(gate, 10 * MS, REJECT)

    closed = [*gate.act(60 * MS), *gate.act(DELAY_NS)]
    [gate.act(ns * MS) for ns in (119, 121)]

    assert [(one.part, round(one.planned_ns / MS)) for one in closed] == [(after, 60), (before, 100)]
    assert (output.on_at, output.off_at) == ([60 * MS], [121 * MS])
