"""What makes the line stand, and that only a person lets it go on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.gate.line_stop import LineStop, Reason, Rules
from agent.inspection import Cause, Outcome, Verdict

PASS = Verdict(Outcome.PASS, Cause.SCORE, "")
REJECT = Verdict(Outcome.REJECT, Cause.SCORE, "")


def broken(rules: Rules, parts: str) -> list[int]:
    """After which parts (P pass, R reject; counted from 1) a rule was broken."""
    stop = LineStop(rules)
    return [n for n, part in enumerate(parts, start=1) if stop.broken_by(PASS if part == "P" else REJECT)]


@pytest.mark.parametrize(
    ("rules", "parts", "after"),
    [
        (Rules(), "RRRRRRRR", []),
        (Rules(in_a_row=3), "RRPRRPRR", []),
        (Rules(in_a_row=3), "RRPRRRP", [6]),
        (Rules(in_a_row=1), "PPR", [3]),
        (Rules(of_last=(3, 5)), "RPPRPPRPPR", []),
        (Rules(of_last=(3, 5)), "RPRPPRRP", [7]),
        (Rules(of_last=(2, 2)), "RPRR", [4]),
    ],
    ids=["no rule", "never in a row", "in a row", "the first", "too seldom", "of the last", "all of the last"],
)
def test_a_rule_is_broken_by_the_part_that_is_one_too_many(rules: Rules, parts: str, after: list[int]) -> None:
    assert broken(rules, parts) == after


def test_a_reason_is_held_until_the_reset_and_told_once() -> None:
    stop = LineStop(Rules())

    told = [stop.hold(Reason.EJECTOR, "first"), stop.hold(Reason.EJECTOR, "second"), stop.hold(Reason.ENCODER, "third")]

    assert told == [True, False, True]
    assert stop.held == {Reason.EJECTOR: "first", Reason.ENCODER: "third"}


def test_after_a_reset_the_count_begins_anew() -> None:
    stop = LineStop(Rules(in_a_row=3, of_last=(3, 10)))
    before = [bool(stop.broken_by(REJECT)) for _ in range(3)]

    stop.reset()

    assert before == [False, False, True]
    assert [bool(stop.broken_by(REJECT)) for _ in range(3)] == [False, False, True]
    assert stop.held == {}


@given(st.lists(st.sampled_from("PR"), max_size=60), st.integers(1, 6), st.integers(1, 6), st.integers(0, 6))
def test_the_rules_say_what_counting_says(parts: list[str], in_a_row: int, most: int, more: int) -> None:
    window = most + more

    found = broken(Rules(in_a_row, (most, window)), "".join(parts))

    runs = [n for n in range(1, len(parts) + 1) if n >= in_a_row and set(parts[n - in_a_row : n]) == {"R"}]
    shares = [n for n in range(1, len(parts) + 1) if parts[max(0, n - window) : n].count("R") >= most]
    assert found == sorted({*runs, *shares})
