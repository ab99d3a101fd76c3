"""The reject schedule: each part once, in order, never early, and rejected when nothing is known of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.gate.schedule import Schedule
from agent.inspection import Cause, Outcome, Part, Verdict

PASS = Verdict(Outcome.PASS, Cause.SCORE, "good")
REJECT = Verdict(Outcome.REJECT, Cause.SCORE, "defect")
LOST = Verdict(Outcome.REJECT, Cause.MISSED, "inspection lost")
DELAY_NS = 1000

gaps = st.lists(st.integers(0, 700), min_size=1, max_size=30)
looks = st.lists(st.integers(0, 900), min_size=1, max_size=60)


def part(n: int) -> Part:
    return Part("boot", n)


def line_of(*triggered_ns: int) -> Schedule:
    """A schedule with a part 0, 1, 2 ... for each trigger."""
    schedule = Schedule(DELAY_NS)
    for n, ns in enumerate(triggered_ns):
        schedule.open(part(n), ns)
    return schedule


def instants(steps: list[int]) -> list[int]:
    """Running sum."""
    return [sum(steps[: k + 1]) for k in range(len(steps))]


def run(triggered: list[int], looked: list[int]) -> list[tuple[int, int, int]]:
    """(part, planned, when it came out) of a line whose triggers and looks happen in the order of their times."""
    schedule = Schedule(DELAY_NS)
    out: list[tuple[int, int, int]] = []
    happenings = sorted([(ns, 0, n) for n, ns in enumerate(triggered)] + [(ns, 1, 0) for ns in looked])
    for ns, is_look, n in happenings:
        if is_look:
            out += [(in_flight.part.n, in_flight.planned_ns, ns) for in_flight in schedule.due(ns)]
        else:
            schedule.open(part(n), ns)
    return out


@given(gaps, looks)
def test_each_part_comes_out_exactly_once_in_the_order_of_the_triggers(trigger_gaps: list[int], look_gaps: list[int]) -> None:
    triggered = instants(trigger_gaps)
    the_end = triggered[-1] + DELAY_NS

    out = run(triggered, [*instants(look_gaps), the_end, the_end + 10**6])

    assert [n for n, _, _ in out] == list(range(len(triggered)))


@given(gaps, looks)
def test_no_part_comes_out_before_its_time_nor_after_the_next_look(trigger_gaps: list[int], look_gaps: list[int]) -> None:
    triggered, looked = instants(trigger_gaps), instants(look_gaps)

    out = run(triggered, looked)

    assert all(planned == triggered[n] + DELAY_NS for n, planned, _ in out)
    assert all(out_ns == min(ns for ns in looked if ns >= planned) for _, planned, out_ns in out)


@given(st.permutations(range(8)))
def test_verdicts_may_come_in_any_order(order: list[int]) -> None:
    schedule = line_of(*range(8))
    told = [schedule.tell(part(n), Verdict(Outcome.PASS, Cause.SCORE, f"verdict {n}")) for n in order]

    out = schedule.due(10**6)

    assert all(told)
    assert [in_flight.final.detail for in_flight in out] == [f"verdict {n}" for n in range(8)]


def test_a_part_without_a_verdict_is_rejected_as_late() -> None:
    (in_flight,) = line_of(0).due(DELAY_NS)

    assert (in_flight.final.outcome, in_flight.final.cause) == (Outcome.REJECT, Cause.LATE)


@pytest.mark.parametrize(
    ("first", "second"), [(PASS, PASS), (REJECT, PASS), (LOST, PASS), (REJECT, LOST)], ids=["pass", "reject", "lost", "rejects"]
)
def test_the_first_verdict_stands(first: Verdict, second: Verdict) -> None:
    schedule = line_of(0)

    told = [schedule.tell(part(0), first), schedule.tell(part(0), second)]

    assert told == [True, False]
    assert schedule.due(DELAY_NS)[0].final == first


def test_a_pass_may_be_called_back_until_the_part_is_at_the_gate() -> None:
    schedule = line_of(0, 500)
    [schedule.tell(part(n), PASS) for n in (0, 1)]

    called_back = schedule.tell(part(0), REJECT)
    (first,) = schedule.due(DELAY_NS)
    too_late = schedule.tell(part(0), REJECT)
    (second,) = schedule.due(10**6)

    assert (called_back, too_late) == (True, False)
    assert (first.final, second.final) == (REJECT, PASS)


@pytest.mark.parametrize("stranger", [part(0), part(7), Part("another boot", 1)], ids=["gone by", "never opened", "another boot"])
def test_a_verdict_for_a_part_that_is_not_on_the_line_is_refused(stranger: Part) -> None:
    schedule = line_of(0, 500)
    schedule.due(DELAY_NS)

    told = schedule.tell(stranger, PASS)

    assert not told
    assert len(schedule) == 1


def test_giving_up_leaves_the_parts_that_have_a_verdict_alone() -> None:
    schedule = line_of(0, 1, 2)
    schedule.tell(part(1), PASS)

    given_up = schedule.give_up(LOST)

    assert given_up == 2
    assert [in_flight.final for in_flight in schedule.due(10**6)] == [LOST, PASS, LOST]


def test_a_part_may_be_opened_with_its_verdict() -> None:
    schedule = Schedule(DELAY_NS)

    schedule.open(part(0), 0, LOST)

    assert not schedule.tell(part(0), PASS)
    assert schedule.due(DELAY_NS)[0].final == LOST


def test_it_wakes_for_the_first_part_on_the_line() -> None:
    schedule = line_of(0, 300)

    before, _, after = schedule.wake_ns(), schedule.due(DELAY_NS), schedule.wake_ns()

    assert (before, after) == (DELAY_NS, 300 + DELAY_NS)
    assert Schedule(DELAY_NS).wake_ns() is None


@pytest.mark.parametrize("delay_ns", [0, -1])
def test_a_gate_before_the_camera_is_refused(delay_ns: int) -> None:
    with pytest.raises(ValueError, match="delay above 0 ns"):
        Schedule(delay_ns)


def test_a_verdict_by_another_recipe_than_the_parts_rejects_it_whatever_it_says() -> None:
    schedule = Schedule(DELAY_NS)
    mine, others = (schedule.open(part(n), 0, recipe=2) for n in (0, 1))

    told = [schedule.tell(part(0), PASS, recipe=2), schedule.tell(part(1), PASS, recipe=1)]

    assert told == [True, True]
    assert (mine.final, others.final.outcome, others.final.cause) == (PASS, Outcome.REJECT, Cause.FAULT)


def test_parts_on_the_line_keep_their_way_when_those_after_them_have_another() -> None:
    schedule = Schedule(DELAY_NS)
    schedule.open(part(0), 0)
    schedule.change(DELAY_NS // 4, None)
    schedule.open(part(1), DELAY_NS // 2)

    arrived = [[one.part.n for one in schedule.due(ns)] for ns in (DELAY_NS // 2, 3 * DELAY_NS // 4, DELAY_NS)]

    assert arrived == [[], [1], [0]]
