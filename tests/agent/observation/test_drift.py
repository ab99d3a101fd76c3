"""Drift is told and ends by itself; good parts raise no alarm; and no threshold is ever within its reach."""

import inspect

import numpy as np
import pytest

import agent.observation.drift
from agent.calibration import calibrate
from agent.inspection import Cause, Measured, Outcome, Verdict
from agent.observation.drift import Drift, Uniformity
from agent.sections import WatchDrift

CALIBRATION = 300
WATCH = WatchDrift(parts=300, once_in_parts=100_000, reject_share=0.2)
PASS = Verdict(Outcome.PASS, Cause.SCORE, "")
REJECT = Verdict(Outcome.REJECT, Cause.SCORE, "")
TABLE = calibrate(np.random.default_rng(0).normal(0, 1, CALIBRATION).astype(np.float32), wished_rate=0.01)


def took(drift: Drift, raw_scores: np.ndarray) -> None:
    [drift.took(Measured("top", raw=float(raw), score=0.0, p_value=TABLE.p_value(float(raw)))) for raw in raw_scores]


def parts(n: int, shift: float = 0.0, seed: int = 1) -> np.ndarray:
    """Raw scores like those of calibration, moved by so many standard deviations."""
    return np.random.default_rng(seed).normal(shift, 1, n)


@pytest.mark.parametrize("seed", range(3))
def test_good_parts_like_those_of_calibration_raise_no_alarm(seed: int) -> None:
    drift = Drift(WATCH, CALIBRATION)

    took(drift, parts(5000, seed=seed + 1))

    assert drift.alarms == {}


def test_defects_among_good_parts_are_no_drift() -> None:
    drift = Drift(WATCH, CALIBRATION)
    scores = parts(3000)
    scores[::10] += 20  # one part in ten has a defect

    took(drift, scores)

    assert drift.alarms == {}


@pytest.mark.parametrize(
    ("shift", "alarm", "within"), [(1.0, "drift-stranger", 100), (-1.5, "drift-alike", 100), (0.5, "drift-stranger", 800)]
)
def test_m14_scores_that_shift_raise_an_alarm_that_names_the_direction(shift: float, alarm: str, within: int) -> None:
    drift = Drift(WATCH, CALIBRATION)
    took(drift, parts(1000))

    took(drift, parts(within, shift, seed=2))

    assert alarm in drift.alarms


def test_m14_scores_that_change_their_shape_alone_raise_an_alarm() -> None:
    drift = Drift(WATCH, CALIBRATION)
    medians = np.full(600, float(np.median(TABLE.raw_scores))) + np.random.default_rng(3).normal(0, 0.05, 600)

    took(drift, medians)

    assert "drift-distribution" in drift.alarms


def test_an_alarm_ends_when_parts_are_as_before() -> None:
    drift = Drift(WATCH, CALIBRATION)
    took(drift, parts(200, 1.5))
    raised = set(drift.alarms)

    took(drift, parts(1500, seed=4))

    assert "drift-stranger" in raised
    assert drift.alarms == {}


def test_m14_all_parts_rejected_at_once_is_told_after_20_and_over_when_parts_pass_again() -> None:
    drift = Drift(WATCH, CALIBRATION)
    [drift.ended(PASS) for _ in range(300)]
    [drift.ended(REJECT) for _ in range(20)]
    told = dict(drift.alarms)

    [drift.ended(PASS) for _ in range(300)]

    assert told == {"reject-run": "20 parts in a row were rejected"}
    assert drift.alarms == {}


def test_m14_rejects_in_a_row_are_over_once_half_of_the_last_20_pass_whatever_the_share_of_all_is() -> None:
    drift = Drift(WatchDrift(reject_share=0.9), CALIBRATION)
    [drift.ended(REJECT) for _ in range(20)]  # no other parts have come: the share of all says nothing yet
    [drift.ended(PASS) for _ in range(10)]
    half = set(drift.alarms)

    drift.ended(PASS)

    assert (half, drift.alarms) == ({"reject-run"}, {})


def test_too_many_rejects_of_the_last_parts_are_told() -> None:
    drift = Drift(WATCH, CALIBRATION)

    [drift.ended(REJECT if n % 4 == 0 else PASS) for n in range(100)]

    assert "reject-rate" in drift.alarms
    assert drift.numbers["reject_share"] == 0.25


def test_light_that_fades_is_told_and_noise_is_not() -> None:
    drift = Drift(WATCH, CALIBRATION)
    random = np.random.default_rng(5)
    [drift.looked(100 + float(random.normal(0, 1))) for _ in range(500)]
    before = dict(drift.alarms)

    [drift.looked(100 - k / 10 + float(random.normal(0, 1))) for k in range(100)]

    assert before == {}
    assert "mean grey level" in drift.alarms["drift-brightness"]


def test_the_false_alarms_of_the_cumulative_sum_are_as_rare_as_asked_for() -> None:
    random, lengths = np.random.default_rng(6), []
    for _ in range(20):  # runs until the first alarm
        cusum, n = Uniformity(300, 10**9, once_in=2000), 0
        while cusum.stranger < cusum.shift_limit and n < 40_000:
            cusum.add(float(random.uniform(0.05, 1)))
            n += 1
        lengths.append(n)

    assert np.mean(lengths) > 2000  # the limit ignores overshoot, so alarms are rarer than asked for, never more frequent


def test_m14_nothing_here_can_change_a_threshold() -> None:
    source = inspect.getsource(agent.observation.drift)

    assert "Policy" not in source
    assert "Calibration" not in source
    assert "threshold =" not in source
