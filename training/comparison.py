"""Which of two models is better, as far as the same test parts can tell."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.evaluation import Evaluation, PartResult
from training.metrics import bootstrap_difference

_SEED = 0


def comparison(this: Evaluation, other: Evaluation, name: str) -> str:
    """For people; name: of the other. Both are of the same parts in the same order."""
    sides = [_scores(this), _scores(other)]
    points = 100 * (this.image_auroc - other.image_auroc)
    limits = bootstrap_difference(sides[0], sides[1], _SEED)
    defects = [(a, b) for a, b in zip(this.parts, other.parts, strict=True) if a.defect is not None]
    good = [(a, b) for a, b in zip(this.parts, other.parts, strict=True) if a.defect is None]
    if this.refused or other.refused:
        verdict = "pictures that were not inspected decide too: test both with pictures that both accept"
    elif limits.low > 0:
        verdict = "this one tells defects from good parts better"
    elif limits.high < 0:
        verdict = "the other one tells defects from good parts better"
    else:
        verdict = "these parts do not show which one is better: test with more"
    lines = [
        f"against {name}, on the same parts:",
        f"  image AUROC {100 * this.image_auroc:.2f} and {100 * other.image_auroc:.2f}: {points:+.1f} points "
        f"({100 * limits.low:+.1f} to {100 * limits.high:+.1f}, 95 % paired bootstrap)",
        f"  each at its own threshold: defects found {_both(defects)}; good parts rejected {_both(good)}",
        *_not_inspected(this, other),
        f"  {verdict}",
    ]
    return "\n".join(lines)


def _scores(e: Evaluation) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Raw, of the good parts and of the defects."""
    good, defect = ([p.raw for p in e.parts if (p.defect is None) == is_good] for is_good in (True, False))
    return np.array(good), np.array(defect)


def _not_inspected(this: Evaluation, other: Evaluation) -> list[str]:
    """How many each could not inspect; no line where both could inspect all."""
    if not (this.refused or other.refused):
        return []
    counts, example = f"{len(this.refused)} and {len(other.refused)} of {len(this.parts)}", (*this.refused, *other.refused)[0]
    return [f"  {counts} could not be inspected and count as rejected, such as {example}"]


def _both(pairs: Sequence[tuple[PartResult, PartResult]]) -> str:
    """How many each rejects, and how many only one of them."""
    this, other = sum(a.rejected for a, _ in pairs), sum(b.rejected for _, b in pairs)
    alone = sum(a.rejected and not b.rejected for a, b in pairs), sum(b.rejected and not a.rejected for a, b in pairs)
    return f"{this} and {other} of {len(pairs)} ({alone[0]} by this one alone, {alone[1]} by the other alone)"
