"""What an evaluation found, as machines keep it."""

from pathlib import Path

import msgspec

from agent.bundle import Manifest, Provenance
from agent.whole_file import write_whole
from training.data import DataError
from training.metrics import binomial_interval

LOCO_KINDS = ("logical_anomalies", "structural_anomalies")  # MVTec LOCO judges them apart
SENSITIVITY_LIMITS: tuple[float, float] = next(
    field.default for field in msgspec.structs.fields(Manifest) if field.name == "sensitivity_limits"
)  # of bundles made now
HEAT_SHARES = (0.95, 0.9999)  # of the good parts' pixels: where a heat map begins to show, and where it is full


class Rate(msgspec.Struct, frozen=True):
    """count of n, with exact 95 % limits of the rate behind it (Clopper-Pearson)."""

    count: int
    n: int
    low: float
    high: float


class DefectResult(msgspec.Struct, frozen=True):
    """One class of defects against all good parts. rejected: at the threshold, with exact 95 % limits of its rate."""

    n: int
    image_auroc: float
    rejected: int
    rejected_low: float
    rejected_high: float


class FixedRecall(msgspec.Struct, frozen=True):
    """The defects found when at most false_reject_rate of these very good parts is rejected (metrics.found_at).

    A part is rejected above highest_passing, raw. The limits of `found` take that threshold as given.
    """

    false_reject_rate: float
    highest_passing: float
    false_rejects: int
    found: Rate


class WorkingPoint(msgspec.Struct, frozen=True):
    """What a line's `sensitivity` gives on these very parts.

    promised: the false-reject rate that the parts held out for the threshold vouch for there, by Promise.confidence.
    """

    sensitivity: float
    found: Rate
    false_rejects: Rate
    promised: float


class Confusion(msgspec.Struct, frozen=True):
    """Parts at the deployed threshold."""

    good_passed: int
    good_rejected: int
    defects_rejected: int
    defects_passed: int


class Loco(msgspec.Struct, frozen=True):
    """MVTec LOCO's own figures, by kind of anomaly and, as `mean`, the unweighted mean of both where both are there.

    auspro: by false positive limit, then by kind; empty without the regions and saturation areas of the data set.
    """

    image_auroc: dict[str, float]
    auspro: dict[str, dict[str, float]]


class Latency(msgspec.Struct, frozen=True):
    """Photograph in memory to score and map, one at a time, on the machine and the runtime of the evaluation.

    images: those that were inspected; where there are none, the times are 0.
    """

    median_ms: float
    p95_ms: float
    images: int


class Promise(msgspec.Struct, frozen=True):
    """What the threshold rests on: with `confidence`, at most false_reject_rate of the good parts will be rejected."""

    parts: int
    false_reject_rate: float
    wished_rate: float
    confidence: float


class PartResult(msgspec.Struct, frozen=True):
    """One test part. score: 1 at the threshold. fault: why it could not be inspected; raw and score are then inf.

    defect_share: of the picture, covered by the mask; 0 for a good part, None where nobody has drawn the defect.
    """

    path: str
    defect: str | None
    raw: float
    score: float
    rejected: bool
    fault: str | None
    defect_share: float | None


class Origin(msgspec.Struct, frozen=True):
    """Which model was judged on which parts, where and when. test_sha256: of all test pictures and their classes.

    artifact: of a bundle, empty for a RUN. precision: what it computed in.
    """

    model: str
    data: str
    test_sha256: str
    runtime: str
    precision: str
    machine: str
    evaluated_at: str
    versions: dict[str, str]
    provenance: Provenance
    artifact: str = ""


class Evaluation(msgspec.Struct, frozen=True):
    """The figures of one model on one test set. Image figures are of raw scores; a refused image counts as +inf.

    image_auroc_low, _high: 95 % bootstrap interval. f1_max: at the best threshold for this very test set, an upper
    bound. escapes: defects passed. refused: path and reason; these and `without_mask` are not in the pixel figures.
    per_size: defects rejected, by the share of the picture that their mask covers. roc, pro: points of the curves.
    heat: levels of the raw map that HEAT_SHARES of the good parts' pixels stay below.
    """

    image_auroc: float
    image_auroc_low: float
    image_auroc_high: float
    pixel_auroc: float
    aupro: float
    f1_max: float
    n_good: int
    n_defect: int
    threshold: float
    false_rejects: Rate
    escapes: Rate
    per_defect: dict[str, DefectResult]
    refused: tuple[str, ...]
    without_mask: tuple[str, ...]
    average_precision: float
    pixel_average_precision: float
    pixel_f1_max: float
    confusion: Confusion
    recall_at: tuple[FixedRecall, ...]
    working_points: tuple[WorkingPoint, ...]
    per_size: dict[str, Rate]
    loco: Loco | None
    latency: Latency
    promise: Promise
    roc: tuple[tuple[float, float], ...]
    pro: tuple[tuple[float, float], ...]
    heat: tuple[float, float]
    parts: tuple[PartResult, ...]
    origin: Origin | None = None


def rate_of(count: int, n: int) -> Rate:
    """The rate with its exact limits.

    >>> rate_of(0, 4).n
    4
    """
    interval = binomial_interval(count, n)
    return Rate(count, n, interval.low, interval.high)


def write_json(file: Path, evaluation: Evaluation) -> None:
    """What is not a number becomes null. Raises DataError."""
    write_file(file, msgspec.json.format(msgspec.json.encode(evaluation), indent=1) + b"\n")


def write_file(file: Path, content: bytes) -> None:
    """All of it or nothing, in a folder that is made where it is missing. Raises DataError."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, content)
    except OSError as e:
        raise DataError(f"{file}: cannot be written: {e.strerror or e}") from e
