"""Image to Prediction: preprocessing, runtime and calibration of one artefact, proved on the bundle's own golden images."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from agent.bundle import Artifact, Bundle, BundleError, depth_of
from agent.calibration import Calibration
from agent.inspection import Depth, Fault, Image, Prediction, Reading
from agent.preprocess import InputContract, RefusedImageError, prepare, prepare_depth, read_depth, read_image, to_8_bit
from agent.runtimes import Runtime, RuntimeConfig
from agent.tiled import tiled


@dataclass(frozen=True, slots=True)
class Model:
    """An artefact, compiled and calibrated."""

    contract: InputContract
    runtime: Runtime
    calibration: Calibration

    def predict(self, image: Image, depth: Depth | None = None) -> Prediction:
        """image: (H, W, 3) uint8 RGB; depth: (H, W) metres, for a model that needs it; another does not look at it.

        Raises RefusedImageError and InferenceError.
        """
        prepared = prepare(image, self.contract)
        if not self.contract.depth:
            raw, anomaly_map = self.runtime.infer(prepared)
        elif depth is None:
            raise RefusedImageError("the model judges depth too, and there was none with the image: does this camera measure it?")
        else:
            size = (image.shape[1], image.shape[0])
            raw, anomaly_map = self.runtime.infer(prepared, prepare_depth(depth, size, self.contract))
        return Prediction(raw, self.calibration.score(raw), self.calibration.p_value(raw), anomaly_map)

    def read(self, image: Image, depth: Depth | None = None) -> Reading:
        """The prediction, or the Fault of an image outside the contract or of numbers that are none. Raises InferenceError."""
        try:
            prediction = self.predict(image, depth)
        except RefusedImageError as e:
            return Fault(str(e))
        if not (math.isfinite(prediction.raw) and np.isfinite(prediction.anomaly_map).all()):
            return Fault(f"the model gave a raw score of {prediction.raw}, or a map, that is not finite")
        return prediction


@contextmanager
def open_model(bundle: Bundle, artifact: Artifact, runtime: RuntimeConfig) -> Iterator[Model]:
    """The artefact on this machine, warm, and shown to give the scores it gave when it was exported."""
    with runtime.open(bundle.path(artifact.files[0])) as opened:
        model = Model(bundle.manifest.input, tiled(opened, bundle.manifest.input), artifact.calibration)
        self_test(bundle, artifact, model)
        yield model


@dataclass(frozen=True, slots=True)
class GoldenCheck:
    """One golden image: raw score here and at export, and their distance in units of threshold minus median."""

    file: str
    raw: float
    expected: float
    deviation: float


def self_test(bundle: Bundle, artifact: Artifact, model: Model) -> list[GoldenCheck]:
    """Every golden image against its recorded raw score. Raises BundleError beyond the artefact's parity tolerance."""
    checks = [
        _check_golden(bundle, file, expected, model)
        for file, expected in zip(bundle.manifest.golden, artifact.golden_raw, strict=True)
    ]
    for check in checks:
        if not check.deviation <= artifact.parity.tolerance:
            raise BundleError(
                f"{bundle.path(check.file)}: {artifact.name} gives raw score {check.raw:.6g} here, {check.expected:.6g} at "
                f"export; deviation {check.deviation:.2g} of (threshold - median), at most {artifact.parity.tolerance:.2g} "
                "allowed: another runtime version or processor computes differently, do not run this bundle here"
            )
    return checks


def _check_golden(bundle: Bundle, file: str, expected: float, model: Model) -> GoldenCheck:
    image = to_8_bit(read_image(bundle.path(file)), model.contract.white_level)
    depth = read_depth(bundle.path(depth_of(file))) if model.contract.depth else None
    raw = model.predict(image, depth).raw
    return GoldenCheck(file, raw, expected, abs(raw - expected) / model.calibration.scale)
