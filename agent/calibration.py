"""From raw scores of good parts to a threshold with a stated confidence, a readable score and a p-value."""

import math
from bisect import bisect_left

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from agent.error import InputError


class CalibrationError(InputError, ValueError):
    """These scores cannot carry a threshold."""


class Calibration(msgspec.Struct, frozen=True):
    """Scores of good parts held out for nothing else, and the threshold they support.

    raw_scores: ascending. With `confidence`, at most `false_reject_rate` of the good parts will be rejected;
    `wished_rate` is what was asked for, smaller than `false_reject_rate` when there were too few parts.
    """

    raw_scores: tuple[float, ...]
    threshold: float
    false_reject_rate: float
    wished_rate: float
    confidence: float

    def __post_init__(self) -> None:
        if not self.raw_scores or not self.threshold > self.median:
            raise CalibrationError(f"expected a threshold above the median of the calibration scores, got {self.threshold}")

    @property
    def median(self) -> float:
        n = len(self.raw_scores)
        return (self.raw_scores[(n - 1) // 2] + self.raw_scores[n // 2]) / 2.0

    @property
    def scale(self) -> float:
        """Threshold minus median: the unit in which tolerances on raw scores are stated."""
        return self.threshold - self.median

    def score(self, raw: float) -> float:
        """0 for a typical good part, 1 at the threshold, whatever the sign of raw."""
        return 1.0 + (raw - self.threshold) / self.scale

    def deviation(self, raw: float, expected: float) -> float:
        """How far raw is from what was expected, as a share of (threshold - median), or where that is more, of the expected
        score's own distance from the threshold (docs/decisions.md 3).

        >>> table = Calibration((1.0,), 2.0, 0.5, 0.5, 0.95)
        >>> table.deviation(1.5, 1.0), table.deviation(102.5, 102.0)
        (0.5, 0.005)
        """
        return abs(raw - expected) / max(self.scale, abs(expected - self.threshold))

    def moved(self, sensitivity: float, limits: tuple[float, float]) -> "Calibration":
        """The same scores with the threshold lower by `sensitivity` of (threshold - median), and the rate that this gives.

        Raises CalibrationError outside the limits.

        >>> table = calibrate([1.0, 2.0, 3.0, 4.0], 0.5)
        >>> table.moved(0.5, (0.0, 0.5)).threshold < table.threshold == table.moved(0.0, (0.0, 0.5)).threshold
        True
        """
        if not limits[0] <= sensitivity <= limits[1]:
            raise CalibrationError(f"sensitivity {sensitivity:g}, this bundle allows {limits[0]:g} to {limits[1]:g}")
        if sensitivity == 0.0:
            return self
        threshold = self.threshold - sensitivity * self.scale
        above = len(self.raw_scores) - bisect_left(self.raw_scores, threshold)
        rate = rate_at(len(self.raw_scores), above, self.confidence)
        return Calibration(self.raw_scores, threshold, rate, self.wished_rate, self.confidence)

    def p_value(self, raw: float) -> float:
        """Conformal p-value: (1 + number of calibration scores >= raw) / (n + 1)."""
        n = len(self.raw_scores)
        return (1 + n - bisect_left(self.raw_scores, raw)) / (n + 1)


def supported_rate(n: int, confidence: float = 0.95) -> float:
    """The smallest false-reject rate that n good parts can vouch for (threshold above the largest score).

    >>> round(supported_rate(50), 3)
    0.058
    """
    return float(1.0 - (1.0 - confidence) ** (1.0 / n))


def parts_needed(rate: float, confidence: float = 0.95) -> int:
    """How many good parts must be held out before `rate` can be claimed.

    >>> parts_needed(0.01), parts_needed(0.001)
    (299, 2995)
    """
    return math.ceil(math.log(1.0 - confidence) / math.log1p(-rate))


def threshold_rank(n: int, rate: float, confidence: float = 0.95) -> int:
    """The j of "just above the j-th largest of n scores rejects at most `rate`"; 0 when no j can claim it.

    The share of good parts above the j-th largest score is Beta(j, n - j + 1), so the claim holds with
    P(Binomial(n, rate) >= j) (order statistics; uniform bound as in Bates et al., arXiv 2104.08279).

    >>> [threshold_rank(n, 0.01) for n in (298, 300, 1000, 3000, 10000)]
    [0, 1, 5, 21, 84]
    """
    below, j = 0.0, 0
    while j < n:
        log_choose = math.lgamma(n + 1) - math.lgamma(j + 1) - math.lgamma(n - j + 1)
        below += math.exp(log_choose + j * math.log(rate) + (n - j) * math.log1p(-rate))
        if below > 1.0 - confidence:
            return j
        j += 1
    return n


def rate_at(n: int, rejected: int, confidence: float = 0.95) -> float:
    """The false-reject rate that can be claimed where `rejected` of n good parts are at or above a threshold that was set without
    looking at them: the exact one-sided upper limit (Clopper-Pearson).

    >>> round(rate_at(50, 0), 3), round(rate_at(60, 3), 3), rate_at(4, 4)
    (0.058, 0.124, 1.0)
    """
    if rejected >= n:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2.0
        low, high = (low, middle) if threshold_rank(n, middle, confidence) > rejected else (middle, high)
    return high


def least_rate(n: int, rejected: int, confidence: float = 0.95) -> float:
    """The other end of `rate_at`: the false-reject rate that there is at least where `rejected` of n parts are.

    >>> least_rate(50, 0), round(least_rate(15, 6), 3), round(least_rate(4, 4), 3)
    (0.0, 0.191, 0.473)
    """
    return 1.0 - rate_at(n, n - rejected, confidence)


def calibrate(raw_scores: ArrayLike, wished_rate: float = 0.01, confidence: float = 0.95) -> Calibration:
    """The threshold for a wished false-reject rate, or for the smallest rate these parts support if that is larger.

    raw_scores: float32 raw scores of good parts. The threshold is the next float32 above an order statistic, so
    the claim holds with ties too. Raises CalibrationError where no threshold can be set.
    """
    if not (0.0 < wished_rate < 1.0 and 0.0 < confidence < 1.0):
        raise CalibrationError(f"expected rate and confidence between 0 and 1, got {wished_rate} and {confidence}")
    ordered = np.sort(np.asarray(raw_scores, dtype=np.float32).ravel())
    n = len(ordered)
    if n == 0:
        raise CalibrationError("expected scores of good parts held out for calibration, got none")
    if not np.isfinite(ordered).all():
        raise CalibrationError(f"{np.count_nonzero(~np.isfinite(ordered))} of {n} calibration scores are not finite")
    rank = threshold_rank(n, wished_rate, confidence)
    rate = wished_rate if rank else supported_rate(n, confidence)
    largest_passing = ordered[-max(rank, 1)]
    threshold = float(np.nextafter(largest_passing, np.float32(np.inf)))
    median = float(np.median(ordered))
    if largest_passing == median or threshold - median <= 1e-6 * abs(threshold):
        raise CalibrationError(
            f"the threshold {threshold:.6g} is not above the median {median:.6g} of {n} calibration parts: their scores "
            "do not differ; are these photographs copies of one another?"
        )
    return Calibration(tuple(map(float, ordered)), threshold, rate, wished_rate, confidence)


def explain(calibration: Calibration) -> str:
    """What the threshold rests on, for the person who must sign for it.

    >>> print(explain(calibrate([1.0, 2.0, 3.0, 4.0])))
    threshold 4 from 4 good parts: at most 52.7 % of good parts rejected (95 % confidence)
    1 % was asked for: that needs 299 held-out parts, 295 more
    """
    n = len(calibration.raw_scores)
    lines = [
        f"threshold {calibration.threshold:.6g} from {n} good parts: at most "
        f"{100 * calibration.false_reject_rate:.3g} % of good parts rejected ({100 * calibration.confidence:.3g} % confidence)"
    ]
    if calibration.false_reject_rate > calibration.wished_rate:
        needed = parts_needed(calibration.wished_rate, calibration.confidence)
        lines.append(
            f"{100 * calibration.wished_rate:.3g} % was asked for: that needs {needed} held-out parts, {needed - n} more"
        )
    return "\n".join(lines)
