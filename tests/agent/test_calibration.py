"""The threshold and the claim that stands behind it, checked without the code that made it."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.calibration import (
    Calibration,
    CalibrationError,
    calibrate,
    explain,
    parts_needed,
    supported_rate,
    threshold_rank,
)

float32 = st.floats(-1000, 1000, width=32)
scores = st.lists(
    st.integers(-8000, 8000).map(lambda eighths: eighths / 8), min_size=5, max_size=80, unique=True
)  # exact in float32


def probability_of_at_least(j: int, n: int, rate: Fraction) -> Fraction:
    """P(Binomial(n, rate) >= j), exactly."""
    return 1 - sum((math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(j)), start=Fraction(0))


def share_of_thresholds_that_keep_the_promise(values: np.ndarray, n: int, rate: float, runs: int) -> float:
    """How often the threshold from n random scores rejects at most `rate` of all `values` (each equally likely)."""
    random = np.random.default_rng(20)
    thresholds = [calibrate(random.choice(values, n), rate).threshold for _ in range(runs)]
    return float(np.mean([np.mean(values >= threshold) <= rate for threshold in thresholds]))


@pytest.mark.parametrize(
    ("n", "rate", "rank"),
    [
        (300, 0.01, 1),
        (300, 0.005, 0),
        (300, 0.001, 0),
        (1000, 0.01, 5),
        (1000, 0.005, 2),
        (1000, 0.001, 0),
        (3000, 0.01, 21),
        (3000, 0.005, 9),
        (3000, 0.001, 1),
        (10000, 0.01, 84),
        (10000, 0.005, 39),
        (10000, 0.001, 5),
    ],
    ids=lambda value: str(value),
)
def test_the_rank_is_that_of_the_published_table(n: int, rate: float, rank: int) -> None:
    assert threshold_rank(n, rate) == rank


@given(st.integers(1, 250), st.integers(5, 500))
def test_the_rank_is_the_largest_that_can_be_claimed_with_95_percent_confidence(n: int, per_mille: int) -> None:
    rate, confidence = Fraction(per_mille, 1000), Fraction(95, 100)

    rank = threshold_rank(n, float(rate))

    assert rank == 0 or probability_of_at_least(rank, n, rate) >= confidence
    assert rank == n or probability_of_at_least(rank + 1, n, rate) < confidence


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.linspace(0, 1, 10_000, dtype=np.float32), id="all different"),
        pytest.param(np.repeat(np.arange(20, dtype=np.float32), 10), id="twenty values"),
        pytest.param(np.repeat(np.array([-2, -1], dtype=np.float32), (90, 10)), id="two values, one rare"),
        pytest.param(np.array([0] * 900 + [1] * 60 + [2] * 40, dtype=np.float32), id="ties just beside the rate"),
    ],
)
def test_the_promised_false_reject_rate_is_kept_95_times_in_100_with_ties_too(values: np.ndarray) -> None:
    runs = 400
    three_sigma = 3 * math.sqrt(0.95 * 0.05 / runs)  # of a share estimated from so many runs

    kept = share_of_thresholds_that_keep_the_promise(values, n=100, rate=0.05, runs=runs)

    assert kept >= 0.95 - three_sigma


@given(scores)
def test_the_median_scores_0_and_the_threshold_1_whatever_the_sign(raws: list[float]) -> None:
    calibration = calibrate(raws)

    assert calibration.score(calibration.median) == 0.0
    assert calibration.score(calibration.threshold) == 1.0


@given(scores, float32, float32)
def test_a_stranger_part_has_no_lower_score_and_no_higher_p_value(raws: list[float], a: float, b: float) -> None:
    low, high = sorted((a, b))

    calibration = calibrate(raws)

    assert calibration.score(low) <= calibration.score(high)
    assert calibration.p_value(low) >= calibration.p_value(high)


@given(scores)
def test_no_calibration_part_is_rejected_when_too_few_support_the_wished_rate(raws: list[float]) -> None:
    calibration = calibrate(raws, wished_rate=0.001)

    assert max(raws) < calibration.threshold
    assert calibration.false_reject_rate == supported_rate(len(raws))


@pytest.mark.parametrize(
    ("raw", "p_value"),
    [(0.0, 1.0), (1.0, 1.0), (2.0, 4 / 5), (2.5, 3 / 5), (4.0, 2 / 5), (5.0, 1 / 5), (math.inf, 1 / 5)],
    ids=str,
)
def test_the_p_value_counts_the_parts_at_least_as_strange(raw: float, p_value: float) -> None:
    calibration = calibrate([4.0, 1.0, 2.0, 3.0])

    assert calibration.p_value(raw) == pytest.approx(p_value)


def test_the_threshold_lies_just_above_its_order_statistic() -> None:
    raws = np.arange(1000, dtype=np.float32)

    calibration = calibrate(raws, wished_rate=0.01)

    assert calibration.threshold == np.nextafter(np.float32(995), np.float32(1000))  # the 5th largest
    assert calibration.false_reject_rate == 0.01


@pytest.mark.parametrize(
    ("raws", "says"),
    [
        ([], "got none"),
        ([1.0, math.nan, 2.0], "1 of 3 calibration scores are not finite"),
        ([1.0, math.inf, -math.inf], "2 of 3 calibration scores are not finite"),
        ([1e300, 1.0], "1 of 2 calibration scores are not finite"),
        ([3.5] * 100, "copies of one another"),
        ([0.0] * 100, "copies of one another"),
    ],
    ids=["none", "nan", "infinite", "beyond float32", "all equal", "all zero"],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_scores_that_can_carry_no_threshold_are_refused(raws: list[float], says: str) -> None:
    with pytest.raises(CalibrationError, match=says):
        calibrate(raws)


@pytest.mark.parametrize(
    ("rate", "confidence"),
    [(0.0, 0.95), (1.0, 0.95), (-0.1, 0.95), (math.nan, 0.95), (0.01, 0.0), (0.01, 1.0)],
    ids=str,
)
def test_a_rate_or_confidence_that_is_no_share_is_refused(rate: float, confidence: float) -> None:
    with pytest.raises(CalibrationError, match="between 0 and 1"):
        calibrate([1.0, 2.0, 3.0], rate, confidence)


@given(st.integers(1, 5000))
def test_the_rate_that_parts_support_needs_exactly_those_parts(n: int) -> None:
    rate = supported_rate(n)

    assert parts_needed(rate * 1.000001) == n  # a hair above, against rounding
    assert threshold_rank(n, rate * 1.000001) == 1


def test_the_explanation_says_how_many_more_photographs_the_wished_rate_needs() -> None:
    calibration = calibrate(np.arange(50), wished_rate=0.01)

    text = explain(calibration)

    assert "from 50 good parts: at most 5.82 % of good parts rejected (95 % confidence)" in text
    assert "1 % was asked for: that needs 299 held-out parts, 249 more" in text


def test_the_explanation_is_one_line_when_the_wish_is_met() -> None:
    calibration = calibrate(np.arange(1000), wished_rate=0.01)

    text = explain(calibration)

    assert text == "threshold 995 from 1000 good parts: at most 1 % of good parts rejected (95 % confidence)"


def test_a_calibration_made_from_few_scores_of_any_sign_judges_negative_raws() -> None:
    calibration = Calibration((-9.0, -8.0, -7.0), threshold=-6.0, false_reject_rate=0.5, wished_rate=0.5, confidence=0.95)

    assert calibration.score(-4.0) == 2.0
    assert calibration.score(-10.0) == -1.0
