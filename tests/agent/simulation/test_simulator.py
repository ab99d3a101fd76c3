"""The line in virtual time lets nothing escape, tells nothing wrong, and would notice if it did."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from agent.decide import Policy, decide
from agent.gate.gate import Gate
from agent.gate.schedule import InFlight
from agent.inspection import Cause, Closed, Outcome, Part, Prediction, Reading, Verdict
from agent.simulation.belt import BeltPart, Flap, SimulatedBelt
from agent.simulation.line import Chances, Findings, Plan, Shipped
from agent.simulation.simulator import Told, judge, simulate, simulate_command

PASS = Verdict(Outcome.PASS, Cause.SCORE, "nobody looked")


class WithoutDefaultReject(Gate):
    """A part of which nothing was heard passes."""

    def _arrive(self, in_flight: InFlight, now_ns: int) -> list[Closed]:
        in_flight.verdict = in_flight.verdict or PASS
        return super()._arrive(in_flight, now_ns)


class AcceptsLateVerdicts(Gate):
    """A part of which nothing was heard waits for its verdict, which is then carried out."""

    def _arrive(self, in_flight: InFlight, now_ns: int) -> list[Closed]:
        if in_flight.verdict is None:
            self._waiting = {**getattr(self, "_waiting", {}), in_flight.part: in_flight}
            return []
        return super()._arrive(in_flight, now_ns)

    def tell(self, part: Part, verdict: Verdict) -> None:
        if (in_flight := getattr(self, "_waiting", {}).pop(part, None)) is None:
            super().tell(part, verdict)
        else:
            self._schedule.open(part, in_flight.triggered_ns, verdict)


def accepts_nan(reading: Reading, policy: Policy) -> Verdict:
    """Compares the wrong way round."""
    if isinstance(reading, Prediction) and math.isnan(reading.raw):
        return PASS
    return decide(reading, policy)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_bad_part_passes_because_of_a_fault_and_each_has_one_record(seed: int, tmp_path: Path) -> None:
    findings = simulate(Plan(1500, seed), tmp_path)

    print(f"seed {seed}: {dict(findings.counts)}")
    assert findings.violations == []
    assert findings.counts["parts"] == findings.counts["records"] >= 1500
    assert findings.counts["made: verdict late"] > 0
    assert findings.counts["made: verdict lost"] > 0


MANY_KILLS = Chances(inspection_killed_hz=0.2, ejector_killed_hz=0.2, ejector_stalled_hz=0.5)
MANY_FAULTS = Chances(not_a_number=0.1, late=0.1, lost=0.1)


def test_no_bad_part_passes_while_both_processes_are_killed_again_and_again(tmp_path: Path) -> None:
    findings = simulate(Plan(1000, seed=4, chances=MANY_KILLS), tmp_path)

    print(f"seed 4: {dict(findings.counts)}")
    assert findings.violations == []
    assert findings.counts["made: ejector killed"] >= 10
    assert findings.counts["made: inspection killed"] >= 10


@pytest.mark.parametrize("seed", [5, 6])
def test_no_bad_part_passes_on_a_belt_that_changes_its_speed(seed: int, tmp_path: Path) -> None:
    findings = simulate(Plan(700, seed, with_encoder=True), tmp_path)

    print(f"seed {seed}: {dict(findings.counts)}")
    assert findings.violations == []
    assert findings.counts["good parts taken off beside a reject"] == 0


@pytest.mark.parametrize(
    ("mutant", "what"),
    [
        (Shipped(gate=WithoutDefaultReject), "is bad and went by"),
        (Shipped(gate=AcceptsLateVerdicts), "may|went by|records"),
        (Shipped(decide=accepts_nan), "is bad and went by"),
    ],
    ids=["default reject removed", "late verdict accepted", "nan accepted"],
)
def test_a_mutant_is_caught(mutant: Shipped, what: str, tmp_path: Path) -> None:
    plan = Plan(600, seed=7, chances=replace(MANY_FAULTS, inspection_killed_hz=0, ejector_killed_hz=0))

    assert simulate(plan, tmp_path / "shipped").violations == []
    findings = simulate(plan, tmp_path / "mutant", mutant)

    assert findings.violations
    assert [violation for violation in findings.violations if any(word in violation for word in what.split("|"))]


def test_the_same_seed_is_the_same_run(tmp_path: Path) -> None:
    plan = Plan(200, seed=8)

    assert simulate(plan, tmp_path / "a").counts == simulate(plan, tmp_path / "b").counts


def belt_part(**changes: object) -> BeltPart:
    return replace(BeltPart(1, is_bad=True, entered_mm=0.0, part=Part("boot1", 1)), **changes)


@pytest.mark.parametrize(
    ("part", "told", "n"),
    [
        (belt_part(), Told("boot1/1", "pass", "score", ""), 1),
        (belt_part(misjudged=True), Told("boot1/1", "pass", "score", ""), 0),
        (belt_part(misjudged=True), Told("boot1/1", "reject", "late", ""), 1),
        (belt_part(), Told("boot1/1", "reject", "score", ""), 1),
        (belt_part(), Told("boot1/1", "reject", "score", "pulse 60 ms late"), 0),
        (belt_part(caught_ms=10.0), Told("boot1/1", "reject", "score", ""), 0),
        (belt_part(is_bad=False), Told("boot1/1", "pass", "score", ""), 0),
        (belt_part(is_bad=False), Told("boot1/1", "reject", "late", ""), 1),
        (belt_part(), Told("boot1/2", "reject", "late", ""), 2),
    ],
    ids=["escape", "the model's own miss", "a miss that was late", "reject that went by", "reject told as doubtful", "taken off",
         "good and passed", "good, told as rejected", "record of another part"],
)  # fmt: skip
def test_what_happened_is_compared_with_what_was_told(part: BeltPart, told: Told, n: int) -> None:
    findings = Findings()

    judge([part], [told], findings)

    assert len(findings.violations) == n


def test_a_part_told_twice_is_a_violation() -> None:
    findings, told = Findings(), Told("boot1/1", "reject", "score", "")

    judge([belt_part(caught_ms=10.0)], [told, told], findings)

    assert findings.violations == ["part 1 (boot1/1) has 2 records"]


@pytest.mark.parametrize(("on_ms", "is_taken_off"), [(390, True), (360, False), (430, False)], ids=["in time", "early", "late"])
def test_the_flap_takes_off_only_what_is_before_it(on_ms: int, is_taken_off: bool) -> None:
    from random import Random

    belt, flap = SimulatedBelt(400, 0.0, changes_speed=False, random=Random(0)), Flap(lag_ns=0)
    first = belt.step(1.0, is_fed=True, flap=flap)
    for ms in range(500):
        if ms in (on_ms, on_ms + 30):
            flap.switch(ms == on_ms, ms * 1_000_000)
        flap.follow(ms * 1_000_000)
        belt.step(1.0, is_fed=False, flap=flap)

    assert first is not None
    assert first.is_taken_off is is_taken_off


def test_the_command_counts_and_says_that_nothing_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate_command(["--parts", "200", "--seed", "9"]) == 0

    assert "0  violations" in capsys.readouterr().out


def test_a_run_without_parts_shows_nothing_and_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        simulate_command(["--parts", "0"])

    assert ended.value.code == 2
    assert "--parts 0: expected at least 1" in capsys.readouterr().err
