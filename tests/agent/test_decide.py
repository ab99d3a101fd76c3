"""What passes: properties of the one function that says so."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.decide import Policy, decide, strictest
from agent.inspection import Cause, Fault, Outcome, Prediction, Verdict

MAP = np.zeros((1, 1), dtype=np.float32)
finite = st.floats(allow_nan=False, allow_infinity=False)
policies = finite.map(Policy)
faults = st.text().map(Fault)
predictions = st.builds(Prediction, raw=st.floats(), score=st.floats(), p_value=st.floats(0, 1), anomaly_map=st.just(MAP))
LENIENCE = {Outcome.PASS: 1, Outcome.REJECT: 0}


def of_raw(raw: float) -> Prediction:
    return Prediction(raw, score=0.0, p_value=0.5, anomaly_map=MAP)


@given(st.one_of(predictions, faults), policies)
def test_every_reading_gets_a_verdict_that_fits_the_link(reading: Prediction | Fault, policy: Policy) -> None:
    verdict = decide(reading, policy)

    assert isinstance(verdict, Verdict)
    assert verdict.cause in {Cause.SCORE, Cause.FAULT}
    assert len(verdict.detail) <= 500


@given(predictions, policies)
def test_only_a_finite_raw_score_below_the_threshold_passes(prediction: Prediction, policy: Policy) -> None:
    verdict = decide(prediction, policy)

    assert (verdict.outcome is Outcome.PASS) == (math.isfinite(prediction.raw) and prediction.raw < policy.threshold)


@pytest.mark.parametrize("raw", [math.nan, math.inf, -math.inf], ids=str)
@given(policy=policies)
def test_a_raw_score_that_is_no_number_is_a_fault_and_rejected(raw: float, policy: Policy) -> None:
    verdict = decide(of_raw(raw), policy)

    assert (verdict.outcome, verdict.cause) == (Outcome.REJECT, Cause.FAULT)
    assert str(raw) in verdict.detail


@given(finite)
def test_a_raw_score_at_the_threshold_is_rejected(threshold: float) -> None:
    verdict = decide(of_raw(threshold), Policy(threshold))

    assert (verdict.outcome, verdict.cause) == (Outcome.REJECT, Cause.SCORE)


@given(finite, finite, policies)
def test_a_higher_raw_score_is_never_judged_more_leniently(a: float, b: float, policy: Policy) -> None:
    low, high = sorted((a, b))

    of_low, of_high = decide(of_raw(low), policy), decide(of_raw(high), policy)

    assert LENIENCE[of_high.outcome] <= LENIENCE[of_low.outcome]


@given(faults, policies)
def test_a_fault_is_always_rejected_as_a_fault(fault: Fault, policy: Policy) -> None:
    verdict = decide(fault, policy)

    assert (verdict.outcome, verdict.cause) == (Outcome.REJECT, Cause.FAULT)


def test_the_reason_of_a_fault_is_the_verdicts_detail() -> None:
    verdict = decide(Fault("camera top: no frame within 80 ms"), Policy(4.0))

    assert verdict.detail == "camera top: no frame within 80 ms"


def test_a_long_reason_is_cut_at_its_end() -> None:
    verdict = decide(Fault("camera lost: " + "x" * 10_000), Policy(4.0))

    assert verdict.detail.startswith("camera lost: x")
    assert len(verdict.detail) == 500


@pytest.mark.parametrize("threshold", [math.nan, math.inf, -math.inf], ids=str)
def test_a_policy_without_a_finite_threshold_cannot_exist(threshold: float) -> None:
    with pytest.raises(ValueError, match="expected a finite threshold"):
        Policy(threshold)


@given(st.lists(st.one_of(predictions, faults), min_size=1, max_size=5), policies)
def test_a_part_passes_only_if_every_photograph_of_it_does_and_a_fault_among_them_is_its_cause(
    readings: list[Prediction | Fault], policy: Policy
) -> None:
    verdicts = [decide(reading, policy) for reading in readings]

    verdict = verdicts[strictest(verdicts)]

    assert (verdict.outcome is Outcome.PASS) == all(one.outcome is Outcome.PASS for one in verdicts)
    assert (verdict.cause is Cause.FAULT) == any(one.cause is Cause.FAULT for one in verdicts)
