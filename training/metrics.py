"""The numbers a method is judged by, defined so that two teams get the same ones."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

_SAMPLE = 1 << 20  # values kept by score_edges: 4 MB, at least 8 for each of the 65536 bins


@dataclass(frozen=True)
class Interval:
    low: float
    high: float


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
    if not good.size or not defect.size:
        return float("nan")
    # only a defect's score can be the best threshold: from anywhere else, moving up to the next one loses no defect
    found = defect.size - np.searchsorted(np.sort(defect), defect, side="left")
    false_rejects = good.size - np.searchsorted(np.sort(good), defect, side="left")
    return float((2 * found / (found + false_rejects + defect.size)).max())


def bootstrap_interval(
    good: NDArray[Any], defect: NDArray[Any], seed: int, resamples: int = 1000, confidence: float = 0.95
) -> Interval:
    """Percentile interval of image_auroc; good and defect are resampled apart, so both keep their number.

    Memory: a few (resamples, len(good) + len(defect)) arrays. Both ends nan if either side is empty.
    """
    _refuse_nan(good, defect)
    if not good.size or not defect.size:
        return Interval(float("nan"), float("nan"))
    levels, ranks = np.unique(np.concatenate([good, defect]), return_inverse=True)
    generator = np.random.default_rng(seed)
    good_counts = _resampled_counts(ranks[: good.size], levels.size, resamples, generator)
    defect_counts = _resampled_counts(ranks[good.size :], levels.size, resamples, generator)
    auroc = _auroc_of_counts(good_counts, defect_counts)
    low, high = np.quantile(auroc, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


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


def score_edges(maps: Iterable[NDArray[np.float32]], limit: int = 65536) -> NDArray[np.float32]:
    """At most limit increasing bin edges for PixelCurves: every distinct value if they are so few, else quantiles.

    maps: all anomaly maps of the test images, (H, W) float32 and finite, read once. The quantiles come from every
    step-th value of each sorted map, so that the bins hold nearly equal populations and the result is the same each
    run. Memory: one map and 2**20 values, whatever the number of maps. ValueError if there is no value.
    """
    if not 2 <= limit <= _SAMPLE // 2:
        raise ValueError(f"expected 2 <= limit <= {_SAMPLE // 2}, got {limit}")
    distinct = sample = np.empty(0, np.float32)
    step = 1
    for anomaly_map in maps:
        _refuse_map(anomaly_map)
        values = np.sort(anomaly_map, axis=None)
        if distinct.size <= limit:
            distinct = np.union1d(distinct, values)[: limit + 1]  # one too many is enough to know
        sample = np.concatenate([sample, values[step // 2 :: step]])
        while sample.size > _SAMPLE:
            sample = np.sort(sample)[1::2]
            step *= 2
    if not distinct.size:
        raise ValueError("expected at least one anomaly map, got none")
    if distinct.size <= limit:
        return distinct
    edges = np.sort(sample)[np.linspace(0, sample.size - 1, limit).round().astype(np.intp)]
    # a value that fills whole bins (a clamped zero) gets a bin of its own: its ties must not swallow its neighbours
    heavy = edges[1:][edges[1:] == edges[:-1]]
    return np.union1d(edges, np.nextafter(heavy, np.float32(np.inf)))


class PixelCurves:
    """Pixel AUROC and AU-PRO of a test set, one image at a time.

    Memory: three numbers per edge (1.5 MB for 65536) and one image, however many pixels are added; that is why the
    edges come first, from score_edges over the same maps. Values between two neighbouring edges count as ties: exact
    when every distinct value is an edge, else off by about 1e-6 (tests/training/test_metrics.py).

    >>> anomaly_map = np.array([[0.1, 0.2], [0.3, 0.4]], np.float32)
    >>> curves = PixelCurves(score_edges([anomaly_map]))
    >>> curves.add(anomaly_map, np.array([[False, False], [True, False]]))
    >>> round(curves.pixel_auroc(), 4), round(curves.aupro(), 4), curves.n_components
    (0.6667, 0.0, 1)
    """

    def __init__(self, edges: NDArray[np.float32]) -> None:
        self._edges = edges
        self._good_pixels = np.zeros(edges.size + 1, np.int64)
        self._defect_pixels = np.zeros(edges.size + 1, np.int64)
        self._overlap = np.zeros(edges.size + 1)  # each pixel of component r weighs 1 / |r|
        self._n_components = 0

    @property
    def n_components(self) -> int:
        return self._n_components

    def add(self, anomaly_map: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:
        """Count one image; a good one comes with an empty mask.

        anomaly_map: (H, W) float32, finite, enlarged to the mask's size. mask: (H, W), original resolution, True on the
        defect. ValueError otherwise.
        """
        _refuse_map(anomaly_map)
        if mask.dtype != np.bool_:
            raise ValueError(f"expected a bool mask, got {mask.dtype}")
        if anomaly_map.shape != mask.shape:
            raise ValueError(f"anomaly map {anomaly_map.shape}, mask {mask.shape}: enlarge the map to the mask's size")
        # sorting the pixels and looking up the edges takes a third of the time of looking up each pixel among the edges
        values = np.sort(anomaly_map, axis=None)
        pixels = np.diff(np.searchsorted(values, self._edges), prepend=0, append=values.size)

        n_labels, labels = cv2.connectedComponents(mask.astype(np.uint8, order="C"), connectivity=8)
        component = labels[mask]
        bins = np.searchsorted(self._edges, anomaly_map[mask], side="right")
        defect_pixels = np.bincount(bins, minlength=pixels.size)
        weights = 1.0 / np.bincount(component)[component]

        self._good_pixels += pixels - defect_pixels
        self._defect_pixels += defect_pixels
        self._overlap += np.bincount(bins, weights=weights, minlength=pixels.size)
        self._n_components += n_labels - 1  # label 0 is the background

    def pixel_auroc(self) -> float:
        """Rank statistic over all pixels of all images; nan without a defect pixel or without a good one."""
        if not self._defect_pixels.any() or not self._good_pixels.any():
            return float("nan")
        return float(_auroc_of_counts(self._good_pixels, self._defect_pixels))

    def aupro(self, limit: float = 0.3) -> float:
        """Area under the per-region overlap up to a false positive rate of limit, divided by limit; MVTec's definition.

        Bergmann et al., IJCV 2021, and mvtec_ad_evaluation: 8-connected components, the rate over the good pixels of
        all images, ties merged, interpolation at the limit. nan without a component or without a good pixel.
        """
        if not 0.0 < limit <= 1.0:
            raise ValueError(f"expected 0 < limit <= 1, got {limit}")
        if not self._n_components or not self._good_pixels.any():
            return float("nan")
        false_positives = np.cumsum(self._good_pixels[::-1])
        fpr = np.concatenate([[0.0], false_positives / false_positives[-1], [1.0]])
        pro = np.concatenate([[0.0], np.cumsum(self._overlap[::-1]) / self._n_components, [1.0]])
        after = int(np.searchsorted(fpr, limit, side="right"))  # the first point beyond the limit
        if after < fpr.size:
            slope = (pro[after] - pro[after - 1]) / (fpr[after] - fpr[after - 1])
            at_limit = pro[after - 1] + slope * (limit - fpr[after - 1])
            fpr, pro = np.append(fpr[:after], limit), np.append(pro[:after], at_limit)
        return float(np.sum(np.diff(fpr) * (pro[1:] + pro[:-1])) / 2 / limit)


def _auroc_of_counts(good: NDArray[np.int64], defect: NDArray[np.int64]) -> Any:
    """image_auroc from the number of scores in each of the last axis' increasing bins; a bin is a tie."""
    half_below = np.cumsum(good, axis=-1) - good / 2
    return (defect * half_below).sum(axis=-1) / (good.sum(axis=-1) * defect.sum(axis=-1))


def _resampled_counts(
    ranks: NDArray[np.intp], n_levels: int, resamples: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """How often each level is drawn when len(ranks) scores are drawn with replacement: (resamples, n_levels)."""
    drawn = ranks[generator.integers(ranks.size, size=(resamples, ranks.size))]
    rows = np.arange(resamples)[:, None] * n_levels
    return np.bincount((rows + drawn).ravel(), minlength=resamples * n_levels).reshape(resamples, n_levels)


def _refuse_nan(good: NDArray[Any], defect: NDArray[Any]) -> None:
    found = int(np.isnan(good).sum()), int(np.isnan(defect).sum())
    if any(found):
        raise ValueError(f"expected scores, got NaN for {found[0]} good and {found[1]} defect images")


def _refuse_map(anomaly_map: NDArray[np.float32]) -> None:
    if anomaly_map.dtype != np.float32 or anomaly_map.ndim != 2:
        raise ValueError(f"expected an (H, W) float32 anomaly map, got {anomaly_map.shape} {anomaly_map.dtype}")
    finite = np.isfinite(anomaly_map)
    if not finite.all():
        raise ValueError(f"expected a finite map, got {int((~finite).sum())} of {finite.size} values NaN or inf")
