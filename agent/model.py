"""Image to Prediction: preprocessing, runtime and calibration of one artefact, proved on the bundle's own golden images."""

import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from agent.bundle import Artifact, Bundle, BundleError, depth_of
from agent.calibration import Calibration, CalibrationError
from agent.inspection import AnomalyMap, Depth, Fault, Image, Prediction, Reading
from agent.preprocess import InputContract, RefusedImageError, prepare, prepare_depth, read_depth, read_image, to_8_bit
from agent.runtimes import InferenceError, Runtime, RuntimeConfig
from agent.serving.compiled import compiled_folder
from agent.serving.local_calibration import artifact_sha256, calibrated_here
from agent.shrink import Shrink, alone, helpers_here
from agent.tiled import tiled

MOST_DEVIATION = 0.1  # of a golden image, whatever the artefact's tolerance: rounding differs between devices, judging does not


@dataclass(frozen=True, slots=True)
class Model:
    """An artefact, compiled and calibrated.

    golden_raw: the golden images' scores at this place, where they are not those of the export.
    lost: why the runtime failed twice in a row, until somebody takes it out and does something about it.
    shrink: who shrinks photographs.
    """

    contract: InputContract
    runtime: Runtime
    calibration: Calibration
    golden_raw: tuple[float, ...] = ()
    lost: deque[str] = field(default_factory=lambda: deque(maxlen=1))
    shrink: Shrink = alone

    def predict(self, image: Image, depth: Depth | None = None) -> Prediction:
        """image: (H, W, 3) uint8 RGB; depth: (H, W) metres, for a model that needs it; another does not look at it.

        Raises RefusedImageError and InferenceError.
        """
        prepared = prepare(image, self.contract, self.shrink)
        if not self.contract.depth:
            raw, anomaly_map = self._tried_twice(lambda: self.runtime.infer(prepared))
        elif depth is None:
            raise RefusedImageError("the model judges depth too, and there was none with the image: does this camera measure it?")
        else:
            prepared_depth = prepare_depth(depth, (image.shape[1], image.shape[0]), self.contract)
            raw, anomaly_map = self._tried_twice(lambda: self.runtime.infer(prepared, prepared_depth))
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

    def _tried_twice(self, infer: Callable[[], tuple[float, AnomalyMap]]) -> tuple[float, AnomalyMap]:
        """Below the first rung of the ladder (agent/serving/ladder.py): an inference that failed is tried once more."""
        with suppress(InferenceError):
            return infer()
        try:
            return infer()
        except InferenceError as e:
            self.lost.append(str(e))
            raise


@dataclass(frozen=True, slots=True)
class Here:
    """What this device adds to a bundle. state: the folder with its own tables and compiled models, None for neither.

    sensitivity: how far the working point is moved, as a share of (threshold - median); more is stricter.
    """

    state: Path | None = None
    sensitivity: float = 0.0


PLAIN = Here()


@contextmanager
def open_model(bundle: Bundle, artifact: Artifact, runtime: RuntimeConfig, here: Here = PLAIN) -> Iterator[Model]:
    """The artefact on this machine, warm, and shown to give the scores it gave when it was exported or calibrated here.

    Raises BundleError and InferenceError.
    """
    cache = compiled_folder(here.state, artifact_sha256(bundle, artifact)) if here.state else None
    with runtime.open(bundle.path(artifact.files[0]), cache) as opened, helpers_here() as helpers:
        own = calibrated_here(bundle, artifact, opened.executed_on, here.state)
        try:
            table = own.calibration.moved(here.sensitivity, bundle.manifest.sensitivity_limits)
        except CalibrationError as e:
            raise BundleError(f"{bundle.folder}: {e}") from e
        model = Model(bundle.manifest.input, tiled(opened, bundle.manifest.input), table, own.golden_raw, shrink=helpers)
        self_test(bundle, artifact, model)
        yield model


@dataclass(frozen=True, slots=True)
class GoldenCheck:
    """One golden image: raw score here and at export, and their `Calibration.deviation`."""

    file: str
    raw: float
    expected: float
    deviation: float


def self_test(bundle: Bundle, artifact: Artifact, model: Model) -> list[GoldenCheck]:
    """Every golden image against its recorded raw score.

    Raises BundleError where one cannot be read, beyond the artefact's parity tolerance, and beyond MOST_DEVIATION: an artefact
    may be farther than that from the trained model, no device may be from the artefact.
    """
    tolerance = min(artifact.parity.tolerance, MOST_DEVIATION)
    checks = [
        _check_golden(bundle, file, expected, model, artifact.calibration)
        for file, expected in zip(bundle.manifest.golden, model.golden_raw or artifact.golden_raw, strict=True)
    ]
    for check in checks:
        if not check.deviation <= tolerance:
            raise BundleError(
                f"{bundle.path(check.file)}: {artifact.name} gives raw score {check.raw:.6g} here, {check.expected:.6g} at "
                f"export, or when it was calibrated here; deviation {check.deviation:.2g} of its distance from the threshold, at "
                f"most {tolerance:.2g} allowed: another runtime version or processor computes differently; "
                f"{_remedy(artifact, checks)}, or do not run this bundle here"
            )
    return checks


def _remedy(artifact: Artifact, checks: list[GoldenCheck]) -> str:
    """`kensa calibrate` makes no threshold for what is farther than MOST_DEVIATION from the scores at export."""
    at_export = (artifact.calibration.deviation(check.raw, raw) for check, raw in zip(checks, artifact.golden_raw, strict=True))
    if all(deviation <= MOST_DEVIATION for deviation in at_export):
        return "make a threshold here with kensa calibrate"
    return "too far from the export for a threshold of its own: run another of its artefacts (kensa bench --choose)"


def _check_golden(bundle: Bundle, file: str, expected: float, model: Model, calibration: Calibration) -> GoldenCheck:
    try:
        image = to_8_bit(read_image(bundle.path(file)), model.contract.white_level)
        depth = read_depth(bundle.path(depth_of(file))) if model.contract.depth else None
        raw = model.predict(image, depth).raw
    except RefusedImageError as e:  # a bundle on a share that is away, as the station tests itself
        raise BundleError(f"{bundle.path(file)}: a golden image that cannot be judged: {e}") from e
    return GoldenCheck(file, raw, expected, calibration.deviation(raw, expected))
