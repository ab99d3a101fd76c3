"""What an artefact of lower precision must keep of the float one before it may be shipped; good parts suffice to ask it."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from scipy.stats import spearmanr

from agent.bundle import GateRecord
from agent.calibration import Calibration
from agent.preprocess import InputContract, enlarge, inspected
from export.parity import Answer
from training.damage import Mask
from training.pixel_metrics import PixelCurves, score_edges

LEAST_SPEARMAN = 0.995
MOST_SHIFT = 0.05  # of the range of the float scores
MOST_FLIPS = 0.02  # of the images
MOST_AUPRO_CHANGE = 0.5  # points
LEAST_LOW_MACS = 0.5  # of all multiplications
MOST_TIME = 0.9  # of the fastest float artefact's


@dataclass(frozen=True, slots=True)
class Judged:
    """An artefact's answers on the gate's images, and its own calibration."""

    answers: Sequence[Answer]
    calibration: Calibration

    @property
    def raws(self) -> np.ndarray:
        return np.array([answer.raw for answer in self.answers])

    @property
    def rejects(self) -> np.ndarray:
        return ~(self.raws < self.calibration.threshold)


@dataclass(frozen=True, slots=True)
class Cost:
    """low_macs: share of all multiplications in the artefact's precision. time_ratio: to float. gains: whether it must be
    worth its while; float16 weights need not, they are half the size. float_layers, bf16_layers: blocks not in it."""

    low_macs: float
    time_ratio: float
    gains: bool = True
    float_layers: tuple[str, ...] = ()
    bf16_layers: tuple[str, ...] = ()


def gate(reference: Judged, found: Judged, masks: Sequence[Mask | None], contract: InputContract, cost: Cost) -> GateRecord:
    """The figures, and in `failures` the limits they break. masks: of each image, None for a good part."""
    raws = found.raws
    finite = bool(np.isfinite(raws).all() and all(np.isfinite(a.anomaly_map).all() for a in found.answers))
    if not finite:
        return GateRecord(
            len(raws), 0.0, 1.0, len(raws), 0, 1.0, -100.0, cost.low_macs, cost.time_ratio, cost.float_layers,
            ("its scores or maps are not finite",), cost.bf16_layers,
        )  # fmt: skip
    spread = float(np.ptp(reference.raws))
    spearman = float(spearmanr(reference.raws, raws).statistic) if np.ptp(raws) > 0 < spread else 0.0
    shift = float(np.abs(raws - reference.raws).max()) / max(spread, float(np.finfo(np.float32).tiny))
    flips = int((found.rejects != reference.rejects).sum())
    allowed = max(1, int(MOST_FLIPS * len(raws)))
    change = 100 * (aupro(found, masks, contract) - aupro(reference, masks, contract))
    maps = _map_change(reference, found)
    limits = (
        (spearman >= LEAST_SPEARMAN, f"rank correlation {spearman:.4f}, at least {LEAST_SPEARMAN} wanted"),
        (shift <= MOST_SHIFT, f"one score moves by {100 * shift:.1f} % of the range, at most {100 * MOST_SHIFT:.0f} % allowed"),
        (flips <= allowed, f"{flips} of {len(raws)} decisions change, at most {allowed} allowed"),
        (abs(change) <= MOST_AUPRO_CHANGE, f"AU-PRO changes by {change:+.2f} points, at most {MOST_AUPRO_CHANGE} allowed"),
        (
            not cost.gains or cost.low_macs >= LEAST_LOW_MACS,
            f"does {100 * cost.low_macs:.0f} % of the work in low precision, at least {100 * LEAST_LOW_MACS:.0f} % wanted",
        ),
        (
            not cost.gains or cost.time_ratio <= MOST_TIME,
            f"takes {cost.time_ratio:.2f} x the time of float, at most {MOST_TIME} x wanted",
        ),
    )
    failures = tuple(words for kept, words in limits if not kept)
    return GateRecord(
        len(raws), spearman, shift, flips, allowed, maps, change, cost.low_macs, cost.time_ratio, cost.float_layers, failures,
        cost.bf16_layers,
    )  # fmt: skip


def loses(record: GateRecord) -> bool:
    """Whether it says something else than float does, which fewer layers in low precision may mend."""
    return not (
        record.spearman >= LEAST_SPEARMAN
        and record.worst_shift <= MOST_SHIFT
        and record.flips <= record.flips_allowed
        and abs(record.aupro_change) <= MOST_AUPRO_CHANGE
    )


def aupro(judged: Judged, masks: Sequence[Mask | None], contract: InputContract) -> float:
    """On the damaged images, whose masks are of the prepared picture: fitted already, and so is the region of interest there.

    Only the maps' order counts, so each artefact has its own edges.
    """
    fitted, inside = msgspec.structs.replace(contract, fit="stretch", roi=None), inspected(contract)
    size = (contract.width, contract.height)
    seen = [
        (np.where(inside, enlarge(answer.anomaly_map, size, fitted), answer.anomaly_map.min()), mask)
        for answer, mask in zip(judged.answers, masks, strict=True)
        if mask is not None
    ]
    curves = PixelCurves(score_edges([large for large, _ in seen], limit=8192))
    for large, mask in seen:
        curves.add(large, mask)
    return curves.aupro()


def _map_change(reference: Judged, found: Judged) -> float:
    """Largest over the images of the mean deviation of a map, as a share of the range of all float maps."""
    maps = [answer.anomaly_map for answer in reference.answers]
    spread = max(float(m.max()) for m in maps) - min(float(m.min()) for m in maps)
    changes = [float(np.abs(f.anomaly_map - m).mean()) for f, m in zip(found.answers, maps, strict=True)]
    return max(changes) / max(spread, float(np.finfo(np.float32).tiny))
