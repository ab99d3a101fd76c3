"""Whether an exported artefact computes what the trained model computes; without that there is no bundle."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from agent.bundle import Parity
from agent.calibration import Calibration
from agent.error import InputError
from agent.inspection import AnomalyMap, Depth, Image
from agent.runtimes import Runtime

TOLERANCE = 1e-3  # of the unit: a thousandth of the way to the threshold (`Calibration.deviation`), or of the maps' range


class ParityError(InputError):
    """An artefact that deviates; the message says by how much and where most."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a runtime says of one network input."""

    raw: float
    anomaly_map: AnomalyMap


def answers(runtime: Runtime, images: Iterable[Image], depths: Iterable[Depth] | None = None) -> list[Answer]:
    """One answer per network input, in order; depths: of the images, for a model that needs them."""
    whole = map(np.ascontiguousarray, images)
    if depths is None:
        return [Answer(*runtime.infer(image)) for image in whole]
    return [Answer(*runtime.infer(image, np.ascontiguousarray(d))) for image, d in zip(whole, depths, strict=True)]


def deviation(
    reference: Sequence[Answer],
    found: Sequence[Answer],
    calibration: Calibration,
    executed_precision: str,
    tolerance: float = TOLERANCE,
) -> Parity:
    """The worst deviation of scores, `Calibration.deviation`, and of maps, in units of the range of all reference maps.

    Maps decide nothing and may hold distances near zero, whose square root magnifies rounding (docs/decisions.md 3).
    """
    map_range = max(r.anomaly_map.max() for r in reference) - min(r.anomaly_map.min() for r in reference)
    pairs = list(zip(reference, found, strict=True))
    scores = np.array([calibration.deviation(f.raw, r.raw) for r, f in pairs])
    maps = np.array([np.abs(f.anomaly_map - r.anomaly_map).max() for r, f in pairs]) / max(map_range, np.finfo(np.float32).tiny)
    return Parity(len(reference), float(scores.max()), float(maps.max()), tolerance, executed_precision)


def compare(
    name: str, reference: Sequence[Answer], found: Sequence[Answer], calibration: Calibration, executed_precision: str
) -> Parity:
    """The deviation of a float32 artefact. Raises ParityError beyond the tolerance; one that is not a number is beyond it."""
    parity = deviation(reference, found, calibration, executed_precision)
    if not (parity.score_deviation <= TOLERANCE and parity.map_deviation <= TOLERANCE):
        raise ParityError(
            f"{name} deviates from the trained model: score {parity.score_deviation:.2g} of its distance from the threshold, map "
            f"{parity.map_deviation:.2g} of its range, over {parity.images} images, at most {TOLERANCE:.2g} allowed; computed in "
            f"{executed_precision}. No bundle was written"
        )
    return parity
