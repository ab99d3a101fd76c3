"""From the results of the test parts to every figure of an evaluation."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.calibration import Calibration
from training.evaluation import (
    HEAT_SHARES,
    LOCO_KINDS,
    Confusion,
    DefectResult,
    Evaluation,
    FixedRecall,
    Latency,
    Loco,
    PartResult,
    Promise,
    Rate,
    WorkingPoint,
    rate_of,
)
from training.metrics import average_precision, bootstrap_interval, f1_max, found_at, image_auroc, roc_points
from training.pixel_metrics import PixelCurves

_LOCO_LIMITS = (0.01, 0.05, 0.1, 0.3, 1.0)  # of the false positive rate; 0.05 is the one that is quoted
_RECALL_AT = (0.01, 0.05)  # false-reject rates
_SIZES = ((0.0001, "below 0.01 %"), (0.001, "0.01 to 0.1 %"), (0.01, "0.1 to 1 %"), (0.1, "1 to 10 %"), (2.0, "10 % and more"))


def figures(
    calibration: Calibration,
    parts: Sequence[PartResult],
    curves: PixelCurves,
    saturated: dict[str, PixelCurves],
    latencies_ms: Sequence[float],
    seed: int,
    limits: tuple[float, float],
) -> Evaluation:
    """All figures of the parts; curves: of those with a map and a mask; saturated: by kind, of LOCO's regions.

    limits: of the sensitivity that a line may have.
    """
    raw = np.array([p.raw for p in parts])
    rejected = np.array([p.rejected for p in parts])
    defect = np.array([p.defect or "" for p in parts])
    good = defect == ""
    interval = bootstrap_interval(raw[good], raw[~good], seed)
    median, p95 = np.percentile(latencies_ms, [50, 95]) if latencies_ms else (0.0, 0.0)
    kinds = [str(name) for name in np.unique(defect[~good])]
    return Evaluation(
        image_auroc=image_auroc(raw[good], raw[~good]),
        image_auroc_low=interval.low,
        image_auroc_high=interval.high,
        pixel_auroc=curves.pixel_auroc(),
        aupro=curves.aupro(),
        f1_max=f1_max(raw[good], raw[~good]),
        n_good=int(good.sum()),
        n_defect=int((~good).sum()),
        threshold=calibration.threshold,
        false_rejects=rate_of(int(rejected[good].sum()), int(good.sum())),
        escapes=rate_of(int((~rejected[~good]).sum()), int((~good).sum())),
        per_defect={name: _defect_result(raw[good], raw[defect == name], rejected[defect == name]) for name in kinds},
        refused=tuple(f"{p.path}: {p.fault}" for p in parts if p.fault is not None),
        without_mask=tuple(p.path for p in parts if p.defect_share is None and p.fault is None),
        average_precision=average_precision(raw[good], raw[~good]),
        pixel_average_precision=curves.pixel_average_precision(),
        pixel_f1_max=curves.pixel_f1_max(),
        confusion=Confusion(*(int(n.sum()) for n in (~rejected[good], rejected[good], rejected[~good], ~rejected[~good]))),
        recall_at=tuple(_fixed_recall(raw[good], raw[~good], rate) for rate in _RECALL_AT),
        working_points=tuple(_working_points(raw[good], raw[~good], calibration, limits)),
        per_size=_per_size(parts),
        loco=_loco(raw[good], {kind: raw[defect == kind] for kind in LOCO_KINDS if kind in kinds}, saturated),
        latency=Latency(float(median), float(p95), len(latencies_ms)),
        promise=Promise(
            len(calibration.raw_scores), calibration.false_reject_rate, calibration.wished_rate, calibration.confidence
        ),
        roc=roc_points(raw[good], raw[~good]),
        pro=curves.pro_points(),
        heat=(curves.good_level(HEAT_SHARES[0]), curves.good_level(HEAT_SHARES[1])),
        parts=tuple(parts),
    )


def _defect_result(good: NDArray[Any], raw: NDArray[Any], rejected: NDArray[np.bool_]) -> DefectResult:
    rate = rate_of(int(rejected.sum()), len(rejected))
    return DefectResult(rate.n, image_auroc(good, raw), rate.count, rate.low, rate.high)


def _fixed_recall(good: NDArray[Any], defect: NDArray[Any], rate: float) -> FixedRecall:
    found = found_at(good, defect, rate)
    return FixedRecall(rate, found.highest_passing, found.false_rejects, rate_of(found.found, len(defect)))


def _working_points(
    good: NDArray[Any], defect: NDArray[Any], calibration: Calibration, limits: tuple[float, float]
) -> Iterator[WorkingPoint]:
    """One for each tenth within the limits, and at both of them."""
    low, high = limits
    for sensitivity in sorted({low, high, *(k / 10 for k in range(math.ceil(10 * low), math.floor(10 * high) + 1))}):
        there = calibration.moved(sensitivity, limits)
        found, false_rejects = (rate_of(int((raw >= there.threshold).sum()), len(raw)) for raw in (defect, good))
        yield WorkingPoint(sensitivity, found, false_rejects, there.false_reject_rate)


def _per_size(parts: Sequence[PartResult]) -> dict[str, Rate]:
    """The defects with a mask, by size; sizes that no defect has are left out."""
    drawn = [(size_of(p.defect_share), p.rejected) for p in parts if p.defect is not None and p.defect_share]
    by_size = {size: [rejected for s, rejected in drawn if s == size] for _, size in _SIZES}
    return {size: rate_of(sum(rejected), len(rejected)) for size, rejected in by_size.items() if rejected}


def _loco(good: NDArray[Any], kinds: dict[str, NDArray[Any]], saturated: dict[str, PixelCurves]) -> Loco | None:
    """None where the defects are not MVTec LOCO's."""
    if not kinds:
        return None
    auspro = {f"{limit:g}": {kind: c.aupro(limit) for kind, c in saturated.items()} for limit in _LOCO_LIMITS if saturated}
    return Loco(
        _with_mean({kind: image_auroc(good, raw) for kind, raw in kinds.items()}),
        {limit: _with_mean(row) for limit, row in auspro.items()},
    )


def _with_mean(by_kind: dict[str, float]) -> dict[str, float]:
    """MVTec LOCO's mean of both kinds beside them, where both are there."""
    return by_kind | {"mean": sum(by_kind.values()) / len(by_kind)} if len(by_kind) == len(LOCO_KINDS) else by_kind


def size_of(defect_share: float) -> str:
    """The decade of the picture's area that a defect covers: fixed, so that models and data sets compare.

    >>> size_of(0.002), size_of(0.5)
    ('0.1 to 1 %', '10 % and more')
    """
    return next(name for end, name in _SIZES if defect_share < end)
