"""By which rules rejects make the line stand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.gate.line_stop import Rejects
from agent.gate.plan import StopRules
from agent.inspection import Cause, Outcome, Verdict

PASS = Verdict(Outcome.PASS, Cause.SCORE, "")
REJECT = Verdict(Outcome.REJECT, Cause.SCORE, "")


def broken(rules: StopRules, parts: str) -> list[int]:
    """After which parts (P pass, R reject; counted from 1) a rule was broken."""
    rejects = Rejects(rules)
    return [n for n, part in enumerate(parts, start=1) if rejects.broken_by(PASS if part == "P" else REJECT)]


@pytest.mark.parametrize(
    ("rules", "parts", "after"),
    [
        (StopRules(), "RRRRRRRR", []),
        (StopRules(in_a_row=3), "RRPRRPRR", []),
        (StopRules(in_a_row=3), "RRPRRRP", [6]),
        (StopRules(in_a_row=1), "PPR", [3]),
        (StopRules(rejects=3, of_last=5), "RPPRPPRPPR", []),
        (StopRules(rejects=3, of_last=5), "RPRPPRRP", [7]),
        (StopRules(rejects=2, of_last=2), "RPRR", [4]),
    ],
    ids=["no rule", "never in a row", "in a row", "the first", "too seldom", "of the last", "all of the last"],
)
def test_a_rule_is_broken_by_the_part_that_is_one_too_many(rules: StopRules, parts: str, after: list[int]) -> None:
    assert broken(rules, parts) == after


def test_after_a_reset_the_count_begins_anew() -> None:
    rejects = Rejects(StopRules(in_a_row=3, rejects=3, of_last=10))
    before = [bool(rejects.broken_by(REJECT)) for _ in range(3)]

    rejects.reset()

    assert before == [False, False, True]
    assert [bool(rejects.broken_by(REJECT)) for _ in range(3)] == [False, False, True]


@given(st.lists(st.sampled_from("PR"), max_size=60), st.integers(1, 6), st.integers(1, 6), st.integers(0, 6))
def test_the_rules_say_what_counting_says(parts: list[str], in_a_row: int, most: int, more: int) -> None:
    window = most + more

    found = broken(StopRules(in_a_row, most, window), "".join(parts))

    runs = [n for n in range(1, len(parts) + 1) if n >= in_a_row and set(parts[n - in_a_row : n]) == {"R"}]
    shares = [n for n in range(1, len(parts) + 1) if parts[max(0, n - window) : n].count("R") >= most]
    assert found == sorted({*runs, *shares})
