"""The two real processes, a real broker, a belt with its PLC and its camera, and what breaks: nothing escapes.

Long runs: `make soak-line`.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_line import run_line
from real_world import Plan

MADE = {
    "eject killed",
    "inspect killed",
    "broker killed",
    "camera silent for seconds",
    "camera refuses for seconds",
    "PLC acknowledged late",
    "PLC did not acknowledge",
    "PLC vanished",
    "coupler answered 80 ms late",
    "wall clock stepped",
}
OF_A_BELT_WITH_AN_ENCODER = {"belt stood", "belt ran back"}


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for a Unix socket in it."""
    with tempfile.TemporaryDirectory(prefix="k") as path:
        yield Path(path)


@pytest.mark.timeout(240)  # many processes start and die; 20 s of its own, more beside other tests
@pytest.mark.parametrize(
    ("plan", "made"),
    [
        (Plan(parts=80, seed=3, kills=1, others=1, slow=0.05, lost=0.05), MADE),
        (Plan(parts=60, seed=46, kills=1, others=1, by_encoder=True), MADE | OF_A_BELT_WITH_AN_ENCODER),
    ],
    ids=["by time", "by encoder"],
)
def test_nothing_escapes_while_all_around_the_line_breaks(folder: Path, plan: Plan, made: set[str]) -> None:
    findings = run_line(plan, folder)

    print(f"seed {plan.seed}: {dict(findings.counts)}")
    assert findings.violations == []
    assert [what for what in made if findings.counts[f"made: {what}"] < 1] == []
    assert findings.counts["events at the collector"] >= plan.parts - 1
    assert findings.counts["records"] >= plan.parts - 1  # one may be killed with its trigger unread: the PLC takes it off
    assert (
        findings.counts["the PLC saw ok"] + findings.counts["the PLC saw ng"] > plan.parts // 3
    )  # the others: an overrun, a kill
    assert findings.counts["events whose time is before that of the one before"] + findings.counts["made: wall clock stepped"] > 1
