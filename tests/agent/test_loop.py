"""The hot path: whatever happens to an image or a model, a reading comes out."""

import dataclasses
import math

import numpy as np
import pytest
from small_bundle import CONTRACT, photograph

from agent.calibration import Calibration
from agent.inspection import AnomalyMap, Fault, Image, Judge, Measured, Part, Prediction, Shot
from agent.loop import measured, read
from agent.model import Model
from agent.runtimes import InferenceError

PART = Part("boot", 1)
TABLE = Calibration((0.1, 0.2, 0.3), threshold=0.4, false_reject_rate=0.5, wished_rate=0.5, confidence=0.95)
GOOD = photograph(np.random.default_rng(1))
DEFECT = photograph(np.random.default_rng(1), defect=True)


@dataclasses.dataclass
class Gives:
    """A runtime that gives this raw score, and this map or one of zeros."""

    raw: float
    executed_precision: str = "f32"
    anomaly_map: AnomalyMap | None = None

    def infer(self, image: Image) -> tuple[float, AnomalyMap]:
        return self.raw, np.zeros((8, 8), dtype=np.float32) if self.anomaly_map is None else self.anomaly_map


@dataclasses.dataclass
class Fails:
    """A runtime whose accelerator has gone."""

    executed_precision: str = "f32"

    def infer(self, image: Image) -> tuple[float, AnomalyMap]:
        raise InferenceError("model.xml: device lost")


def shot_of(image: Image | Fault) -> Shot:
    return Shot(PART, "top", triggered_ns=0, image=image)


def test_an_image_becomes_a_prediction() -> None:
    reading = read(Model(CONTRACT, Gives(0.35), TABLE), shot_of(GOOD))

    assert isinstance(reading, Prediction)
    assert (reading.raw, reading.score, reading.p_value) == pytest.approx((0.35, 0.75, 0.25))


def test_a_cameras_fault_stays_what_it_is() -> None:
    reading = read(Model(CONTRACT, Gives(0.35), TABLE), shot_of(Fault("no frame within 80 ms")))

    assert reading == Fault("no frame within 80 ms")


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros((20, 64, 3), np.uint8), "image is 64x20 px"),
        (np.zeros((64, 64), np.uint8), "expected (H, W, 3) uint8 RGB"),
        (np.zeros((64, 64, 3), np.float32), "expected (H, W, 3) uint8 RGB"),
        (np.zeros((0, 0, 3), np.uint8), "image is 0x0 px"),
    ],
    ids=["too flat", "one channel", "floats", "no pixels"],
)
def test_an_image_the_model_was_not_made_for_is_a_fault(image: Image, says: str) -> None:
    reading = read(Model(CONTRACT, Gives(0.35), TABLE), shot_of(image))

    assert isinstance(reading, Fault)
    assert says in reading.reason


def test_a_runtime_that_fails_is_a_fault() -> None:
    reading = read(Model(CONTRACT, Fails(), TABLE), shot_of(GOOD))

    assert reading == Fault("model.xml: device lost")


@pytest.mark.parametrize("raw", [math.nan, math.inf, -math.inf], ids=str)
def test_a_raw_score_that_is_no_number_is_a_fault(raw: float) -> None:
    reading = read(Model(CONTRACT, Gives(raw), TABLE), shot_of(GOOD))

    assert isinstance(reading, Fault)
    assert "not finite" in reading.reason


def test_a_map_with_a_hole_in_it_is_a_fault_whatever_its_score() -> None:
    """Not every runtime's maximum lets a NaN through."""
    model = Model(CONTRACT, Gives(0.1, anomaly_map=np.full((8, 8), np.nan, np.float32)), TABLE)

    reading = read(model, shot_of(GOOD))

    assert isinstance(reading, Fault)
    assert "not finite" in reading.reason


def test_what_was_measured_is_numbers_or_a_reason_never_both() -> None:
    prediction = Prediction(0.5, 2.0, 0.25, np.zeros((8, 8), dtype=np.float32))

    judge = Judge("b1", "cap", 4.0)
    of_prediction, of_fault = measured(shot_of(GOOD), prediction, judge), measured(shot_of(GOOD), Fault("no frame"), judge)

    assert of_prediction.latency_ms is not None
    assert dataclasses.replace(of_prediction, latency_ms=None) == Measured("top", 0.5, 2.0, 0.25, bundle_id="b1", threshold=4.0)
    assert dataclasses.replace(of_fault, latency_ms=None) == Measured("top", fault="no frame", bundle_id="b1", threshold=4.0)
