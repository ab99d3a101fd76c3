"""The numbers that image scores are judged by, defined so that two teams get the same ones."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv


@dataclass(frozen=True)
class Interval:
    low: float
    high: float


@dataclass(frozen=True)
class Found:
    """What a fixed false-reject rate finds: a part is rejected above `highest_passing`. counts: of rejected parts."""

    highest_passing: float
    false_rejects: int
    found: int


def image_auroc(good: NDArray[Any], defect: NDArray[Any]) -> float:
    """P(defect scores higher than good) + P(equal) / 2, the Mann-Whitney form; nan if either side is empty.

    good, defect: (N,) raw scores. +inf is legal (a refused image); ValueError on NaN.

    >>> image_auroc(np.array([0.1, 0.2]), np.array([0.2, 9.0]))
    0.875
    """
    _refuse_nan(good, defect)
    if not good.size or not defect.size:
        return float("nan")
    ordered = np.sort(good)
    below = np.searchsorted(ordered, defect, side="left").sum()
    not_above = np.searchsorted(ordered, defect, side="right").sum()
    return float((below + not_above) / (2 * good.size * defect.size))


def f1_max(good: NDArray[Any], defect: NDArray[Any]) -> float:
    """Largest F1 of any threshold on these very scores: an upper bound that no deployed threshold reaches.

    good, defect: (N,) raw scores, +inf is legal; ValueError on NaN. nan if either side is empty.

    >>> f1_max(np.array([0.0, 2.0]), np.array([1.0, 3.0]))
    0.8
    """
    _refuse_nan(good, defect)
    return f1_max_of_counts(*_counts(good, defect))


def average_precision(good: NDArray[Any], defect: NDArray[Any]) -> float:
    """Step-wise area under the precision-recall curve, ties merged, nothing interpolated.

    good, defect: (N,) raw scores, +inf is legal; ValueError on NaN. nan if either side is empty.

    >>> average_precision(np.array([0.0, 2.0]), np.array([1.0, 3.0]))
    0.8333333333333333
    """
    _refuse_nan(good, defect)
    return average_precision_of_counts(*_counts(good, defect))


def found_at(good: NDArray[Any], defect: NDArray[Any], false_reject_rate: float) -> Found:
    """The defects found when at most that share of these very good parts is rejected.

    With k = floor(rate * N) rejects allowed, whatever scores above the (k + 1)-th largest good score is rejected. Parts
    that tie with it pass, good and defect alike: the rate is never exceeded and no defect is counted as found by luck.
    ValueError on NaN, for a rate outside [0, 1) and without a good part.

    >>> found_at(np.arange(100.0), np.array([97.5, 98.0, 98.5]), 0.01)
    Found(highest_passing=98.0, false_rejects=1, found=1)
    """
    _refuse_nan(good, defect)
    if not good.size or not 0.0 <= false_reject_rate < 1.0:
        raise ValueError(f"expected good scores and 0 <= rate < 1, got {good.size} scores and {false_reject_rate}")
    allowed = int(false_reject_rate * good.size + 1e-9)  # 0.29 * 100 is 28.999999999999996
    highest_passing = np.sort(good)[-1 - allowed]
    return Found(float(highest_passing), int((good > highest_passing).sum()), int((defect > highest_passing).sum()))


def roc_points(good: NDArray[Any], defect: NDArray[Any], limit: int = 200) -> tuple[tuple[float, float], ...]:
    """At most limit points (false-reject rate, share of defects found) from (0, 0) to (1, 1), for a drawing.

    Empty if either side is. ValueError on NaN.
    """
    _refuse_nan(good, defect)
    if not good.size or not defect.size:
        return ()
    false_rejects, found = (np.cumsum(side[::-1]) / side.sum() for side in _counts(good, defect))
    return thinned(np.append(0.0, false_rejects), np.append(0.0, found), limit)


def bootstrap_interval(
    good: NDArray[Any], defect: NDArray[Any], seed: int, resamples: int = 1000, confidence: float = 0.95
) -> Interval:
    """Percentile interval of image_auroc; good and defect are resampled apart, so both keep their number.

    Memory: a few (resamples, len(good) + len(defect)) arrays. Both ends nan if either side is empty.
    """
    _refuse_nan(good, defect)
    if not good.size or not defect.size:
        return Interval(float("nan"), float("nan"))
    draws = _drawn(good.size, defect.size, resamples, seed)
    return _percentiles(_auroc_of_draws(good, defect, *draws), confidence)


def bootstrap_difference(
    ours: tuple[NDArray[Any], NDArray[Any]],
    theirs: tuple[NDArray[Any], NDArray[Any]],
    seed: int,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> Interval:
    """Paired percentile interval of image_auroc(*ours) - image_auroc(*theirs): the parts are resampled, not the scores.

    ours, theirs: the good and the defect scores of two models, in the same order of the same parts, (n,) each; or of as
    many courses of training, (courses, n), whose mean is compared. Each course's raw scores are in its own unit. The
    one-sided lower 95 % bound is `low` at confidence 0.9. ValueError on other lengths or NaN.
    """
    lengths = [(good.shape[-1], defect.shape[-1]) for good, defect in (ours, theirs)]
    if lengths[0] != lengths[1] or 0 in lengths[0]:
        raise ValueError(f"expected scores of the same good and defect parts, got {lengths[0]} and {lengths[1]} of them")
    _refuse_nan(*ours)
    _refuse_nan(*theirs)
    draws = _drawn(*lengths[0], resamples, seed)
    return _percentiles(_mean_auroc_of_draws(*ours, *draws) - _mean_auroc_of_draws(*theirs, *draws), confidence)


def binomial_interval(k: int, n: int, confidence: float = 0.95) -> Interval:
    """Exact (Clopper-Pearson) two-sided interval of a rate seen as k of n; [0, 1] for n = 0.

    >>> round(binomial_interval(0, 50).high, 4)  # 50 defects and no escape still allow 7 %
    0.0711
    """
    if not 0 <= k <= n:
        raise ValueError(f"expected 0 <= k <= n, got k = {k}, n = {n}")
    tail = (1 - confidence) / 2
    low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, tail))
    high = 1.0 if k == n else float(betaincinv(k + 1, n - k, 1 - tail))
    return Interval(low, high)


def auroc_of_counts(good: NDArray[np.int64], defect: NDArray[np.int64]) -> Any:
    """image_auroc from the number of scores in each of the last axis' increasing bins; a bin is a tie."""
    half_below = np.cumsum(good, axis=-1) - good / 2
    pairs = good.sum(axis=-1, dtype=np.float64) * defect.sum(axis=-1)  # of pixels: more than an int64 counts
    return (defect * half_below).sum(axis=-1) / pairs


def f1_max_of_counts(good: NDArray[np.int64], defect: NDArray[np.int64]) -> float:
    """f1_max from the number of scores in each of increasing bins."""
    if not good.any() or not defect.any():
        return float("nan")
    false_rejects, found = np.cumsum(good[::-1]), np.cumsum(defect[::-1])
    return float((2 * found / (found + false_rejects + found[-1])).max())


def average_precision_of_counts(good: NDArray[np.int64], defect: NDArray[np.int64]) -> float:
    """average_precision from the number of scores in each of increasing bins."""
    if not good.any() or not defect.any():
        return float("nan")
    false_rejects, found = np.cumsum(good[::-1]), np.cumsum(defect[::-1])
    precision = found / np.maximum(found + false_rejects, 1)
    return float((defect[::-1] * precision).sum() / found[-1])


def thinned(x: NDArray[Any], y: NDArray[Any], limit: int) -> tuple[tuple[float, float], ...]:
    """At most limit points of a rising curve, nearly equidistant along it, both ends kept."""
    length = np.cumsum(np.abs(np.diff(x, prepend=x[0])) + np.abs(np.diff(y, prepend=y[0])))
    kept = np.unique(np.searchsorted(length, np.linspace(0.0, length[-1], limit)))
    return tuple((round(float(a), 6), round(float(b), 6)) for a, b in zip(x[kept], y[kept], strict=True))


def _counts(good: NDArray[Any], defect: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many good and how many defect parts have each of the distinct scores, ascending."""
    levels, ranks = np.unique(np.concatenate([good, defect]), return_inverse=True)
    return np.bincount(ranks[: good.size], minlength=levels.size), np.bincount(ranks[good.size :], minlength=levels.size)


def _drawn(n_good: int, n_defect: int, resamples: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices drawn with replacement: (resamples, n_good) and (resamples, n_defect)."""
    generator = np.random.default_rng(seed)
    return generator.integers(n_good, size=(resamples, n_good)), generator.integers(n_defect, size=(resamples, n_defect))


def _mean_auroc_of_draws(
    good: NDArray[Any], defect: NDArray[Any], drawn_good: NDArray[np.int64], drawn_defect: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Over the courses, of each resample: (resamples,)."""
    courses = zip(np.atleast_2d(good), np.atleast_2d(defect), strict=True)
    found = [_auroc_of_draws(*course, drawn_good, drawn_defect) for course in courses]
    return np.asarray(np.mean(found, axis=0), dtype=np.float64)


def _auroc_of_draws(
    good: NDArray[Any], defect: NDArray[Any], drawn_good: NDArray[np.int64], drawn_defect: NDArray[np.int64]
) -> NDArray[np.float64]:
    """image_auroc of each resample: (resamples,)."""
    levels, ranks = np.unique(np.concatenate([good, defect]), return_inverse=True)
    good_counts = _counts_of_rows(ranks[: good.size][drawn_good], levels.size)
    defect_counts = _counts_of_rows(ranks[good.size :][drawn_defect], levels.size)
    return np.asarray(auroc_of_counts(good_counts, defect_counts), dtype=np.float64)


def _counts_of_rows(ranks: NDArray[np.intp], n_levels: int) -> NDArray[np.int64]:
    """How often each level stands in each row: (rows, n_levels)."""
    rows = np.arange(len(ranks))[:, None] * n_levels
    return np.bincount((rows + ranks).ravel(), minlength=len(ranks) * n_levels).reshape(len(ranks), n_levels)


def _percentiles(values: NDArray[np.float64], confidence: float) -> Interval:
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def _refuse_nan(good: NDArray[Any], defect: NDArray[Any]) -> None:
    found = int(np.isnan(good).sum()), int(np.isnan(defect).sum())
    if any(found):
        raise ValueError(f"expected scores, got NaN for {found[0]} good and {found[1]} defect images")
