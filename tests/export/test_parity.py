import numpy as np
import pytest

from agent.calibration import Calibration
from export.parity import TOLERANCE, Answer, ParityError, compare


def answer(raw: float, corner: float = 0.0) -> Answer:
    """Its map ranges from 0 to 1, but for one corner."""
    return Answer(raw, np.array([[0.0, 1.0], [0.5, corner]], np.float32))


def table(threshold: float) -> Calibration:
    """Of good parts that score 1."""
    return Calibration((1.0,), threshold, 0.5, 0.5, 0.95)


def test_the_worst_deviation_is_recorded_in_units_of_threshold_minus_median() -> None:
    parity = compare(
        "x", [answer(1.0), answer(2.0)], [answer(1.0), answer(2.001)], calibration=table(3.0), executed_precision="f32"
    )

    assert parity.score_deviation == pytest.approx(0.0005)
    assert parity.images == 2


def test_a_score_far_beyond_the_threshold_may_deviate_by_a_share_of_its_distance() -> None:
    parity = compare("x", [answer(1002.0)], [answer(1002.5)], calibration=table(2.0), executed_precision="f32")

    assert parity.score_deviation == pytest.approx(0.0005)  # it would be 0.5 of threshold minus median


@pytest.mark.parametrize(
    ("found"),
    [answer(1.0 + 2 * TOLERANCE), answer(1.0, 2 * TOLERANCE), answer(float("nan")), answer(1.0, float("nan"))],
    ids=["score", "map", "score is nan", "map is nan"],
)
def test_a_deviation_beyond_the_tolerance_is_refused(found: Answer) -> None:
    with pytest.raises(ParityError, match="No bundle was written"):
        compare("model.onnx", [answer(1.0)], [found], calibration=table(2.0), executed_precision="f32")
