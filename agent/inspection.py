"""The values that travel through an inspection; they know nobody, everybody knows them."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""(H, W, 3) uint8 RGB."""

Depth = NDArray[np.float32]
"""(H, W) float32, metres from the camera, 0 where nothing was measured."""

AnomalyMap = NDArray[np.float32]
"""(h, w) float32 on the network's native grid, larger is stranger."""


class Outcome(Enum):
    """What happens to the part at the gate."""

    PASS = "pass"
    REJECT = "reject"


class Cause(Enum):
    """Why. SCORE: judged by its image. FAULT: it could not be inspected. LATE: no verdict came in time.
    MISSED: nobody was there to inspect it."""

    SCORE = "score"
    FAULT = "fault"
    LATE = "late"
    MISSED = "missed"


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """One triggered part: the ejector process that counted it, and its count there (1, 2, 3 ...)."""

    boot: str
    n: int

    def __str__(self) -> str:
        return f"{self.boot}/{self.n}"


@dataclass(frozen=True, slots=True)
class Fault:
    """The reading of a part that could not be inspected."""

    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """One triggered exposure of one part by one camera.

    triggered_ns: the trigger edge on CLOCK_MONOTONIC, not the arrival of the pixels.
    image: read-only pixels, or the Fault that took their place. depth: of each pixel, from a camera that measures it.
    """

    part: Part
    camera: str
    triggered_ns: int
    image: Image | Fault
    depth: Depth | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What the model says of one image.

    raw: the graph's score, unbounded, larger is stranger.
    score: 0 is a typical good part, 1 the threshold.
    p_value: share of good calibration parts at least as strange, in (0, 1].
    """

    raw: float
    score: float
    p_value: float
    anomaly_map: AnomalyMap


Reading = Prediction | Fault


@dataclass(frozen=True, slots=True)
class Judge:
    """By what a part was judged: the line's own bundle. threshold: of the raw score."""

    bundle_id: str = ""
    model: str = ""
    threshold: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision on one part; `detail` is for people. by: whose it is; None where no model looked."""

    outcome: Outcome
    cause: Cause
    detail: str
    by: Judge | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """How a part ended at the gate, all times on CLOCK_MONOTONIC.

    planned_ns: when the ejector had to be switched on if rejected.
    actual_ns: when it was; None for a part that passed, and for one that was surely or possibly not ejected.
    problem: why a part to be rejected may have gone by the gate.
    recipe: that ran when it was triggered; 0 where the line has none, None for a part that came during a change-over.
    """

    part: Part
    verdict: Verdict
    triggered_ns: int
    planned_ns: int
    actual_ns: int | None
    problem: str = ""
    recipe: int | None = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """A reading as the event reports it: the numbers without the pictures.

    bundle_id, threshold: of the model that this camera's photographs are judged by; the threshold is of the raw score.
    """

    camera: str
    raw: float | None = None
    score: float | None = None
    p_value: float | None = None
    fault: str | None = None
    latency_ms: float | None = None
    bundle_id: str = ""
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One closed part with what was measured on it; the only value with a wire format (agent/events/event.py).

    readings: empty when the inspection process that took them died before the part reached the gate.
    bundle_id, threshold, model (its name): of the line's own bundle; each reading says which one its camera has.
    config_sha256: of the line's file as it was read. product: the name of the closed part's recipe.
    """

    closed: Closed
    readings: tuple[Measured, ...]
    bundle_id: str
    threshold: float
    model: str = ""
    config_sha256: str = ""
    product: str = ""
