"""The numbers that anomaly maps are judged by, counted one image at a time."""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from training.metrics import auroc_of_counts, average_precision_of_counts, f1_max_of_counts, thinned

_SAMPLE = 1 << 20  # values kept by score_edges: 4 MB, at least 8 for each of the 65536 bins


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
    """Pixel AUROC, AP, F1 and the area under the (saturated) per-region overlap of a test set, one image at a time.

    Memory: three numbers per edge (1.5 MB for 65536) and one image, however many pixels are added; that is why the
    edges come first, from score_edges over the same maps. Values between two neighbouring edges count as ties: exact
    when every distinct value is an edge, else off by about 1e-6 (tests/training/test_pixel_metrics.py).

    >>> anomaly_map = np.array([[0.1, 0.2], [0.3, 0.4]], np.float32)
    >>> curves = PixelCurves(score_edges([anomaly_map]))
    >>> curves.add(anomaly_map, np.array([[False, False], [True, False]]))
    >>> round(curves.pixel_auroc(), 4), round(curves.aupro(), 4), curves.n_regions
    (0.6667, 0.0, 1)
    """

    def __init__(self, edges: NDArray[np.float32]) -> None:
        self._edges = edges
        self._good_pixels = np.zeros(edges.size + 1, np.int64)
        self._defect_pixels = np.zeros(edges.size + 1, np.int64)
        self._overlap = np.zeros(edges.size + 1)  # each pixel of region r weighs 1 / |r|, or 1 / its saturation area
        self._n_regions = 0

    @property
    def n_regions(self) -> int:
        return self._n_regions

    def add(self, anomaly_map: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:
        """Count one image, each 8-connected component of its mask a region; a good image comes with an empty mask.

        anomaly_map: (H, W) float32, finite, enlarged to the mask's size. mask: (H, W), original resolution, True on the
        defect. ValueError otherwise.
        """
        bins = self._count_pixels(anomaly_map, mask)
        n_labels, labels = cv2.connectedComponents(mask.astype(np.uint8, order="C"), connectivity=8)
        component = labels[mask]
        weights = 1.0 / np.bincount(component)[component]
        self._overlap += np.bincount(bins, weights=weights, minlength=self._overlap.size)
        self._n_regions += n_labels - 1  # label 0 is the background

    def add_regions(self, anomaly_map: NDArray[np.float32], regions: Sequence[tuple[NDArray[np.bool_], int]]) -> None:
        """Count one image of MVTec LOCO: `aupro` then gives AU-sPRO. A good image comes without a region.

        regions: mask, connected or not, and saturation area in px: so many pixels found count as the whole region. Its
        overlap at a threshold is min(pixels found / saturation area, 1), so only its highest saturation_area pixels ever
        count, and each of them weighs 1 / saturation_area. Regions may overlap. ValueError as for `add`.
        """
        defect = np.zeros(anomaly_map.shape, np.bool_)
        for mask, saturation_area in regions:
            _refuse_other_size(anomaly_map, mask)
            if not 1 <= saturation_area <= mask.sum():
                raise ValueError(f"expected a saturation area from 1 to the region's {mask.sum()} px, got {saturation_area}")
            defect |= mask
        self._count_pixels(anomaly_map, defect)
        for mask, saturation_area in regions:
            counted = np.sort(anomaly_map[mask])[-saturation_area:]
            bins = np.searchsorted(self._edges, counted, side="right")
            self._overlap += np.bincount(bins, minlength=self._overlap.size) / saturation_area
        self._n_regions += len(regions)

    def _count_pixels(self, anomaly_map: NDArray[np.float32], defect: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Adds the good and the defect pixels to their bins; returns the bin of each defect pixel."""
        _refuse_map(anomaly_map)
        if defect.dtype != np.bool_:
            raise ValueError(f"expected a bool mask, got {defect.dtype}")
        _refuse_other_size(anomaly_map, defect)
        # sorting the pixels and looking up the edges takes a third of the time of looking up each pixel among the edges
        values = np.sort(anomaly_map, axis=None)
        pixels = np.diff(np.searchsorted(values, self._edges), prepend=0, append=values.size)
        bins = np.searchsorted(self._edges, anomaly_map[defect], side="right")
        defect_pixels = np.bincount(bins, minlength=pixels.size)
        self._good_pixels += pixels - defect_pixels
        self._defect_pixels += defect_pixels
        return bins

    def pixel_auroc(self) -> float:
        """Rank statistic over all pixels of all images; nan without a defect pixel or without a good one."""
        if not self._defect_pixels.any() or not self._good_pixels.any():
            return float("nan")
        return float(auroc_of_counts(self._good_pixels, self._defect_pixels))

    def pixel_average_precision(self) -> float:
        """Step-wise area under the precision-recall curve of all pixels; nan as for pixel_auroc."""
        return average_precision_of_counts(self._good_pixels, self._defect_pixels)

    def pixel_f1_max(self) -> float:
        """F1 of the best threshold for these very pixels; nan as for pixel_auroc."""
        return f1_max_of_counts(self._good_pixels, self._defect_pixels)

    def aupro(self, limit: float = 0.3) -> float:
        """Area under the per-region overlap up to a false positive rate of limit, divided by limit; MVTec's definition.

        Bergmann et al., IJCV 2021 and 2022, and mvtec_ad_evaluation: the rate over the good pixels of all images, ties
        merged, interpolation at the limit. AU-sPRO after add_regions. nan without a region or without a good pixel.
        """
        if not 0.0 < limit <= 1.0:
            raise ValueError(f"expected 0 < limit <= 1, got {limit}")
        fpr, pro = self._pro_curve(limit)
        return float(np.sum(np.diff(fpr) * (pro[1:] + pro[:-1])) / 2 / limit) if fpr.size else float("nan")

    def pro_points(self, limit: float = 0.3, points: int = 200) -> tuple[tuple[float, float], ...]:
        """At most `points` points (false positive rate, mean overlap) up to the limit, for a drawing; () where aupro is nan."""
        fpr, pro = self._pro_curve(limit)
        return thinned(fpr, pro, points) if fpr.size else ()

    def good_level(self, share: float) -> float:
        """The level that at least `share` of the good pixels do not exceed, to the next edge; nan without a good pixel."""
        if not self._good_pixels.any():
            return float("nan")
        below = np.cumsum(self._good_pixels)
        return float(self._edges[min(int(np.searchsorted(below, share * below[-1])), self._edges.size - 1)])

    def _pro_curve(self, limit: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """False positive rate and mean overlap from (0, 0) to the limit; both empty where there is no curve."""
        if not self._n_regions or not self._good_pixels.any():
            return np.empty(0), np.empty(0)
        false_positives = np.cumsum(self._good_pixels[::-1])
        fpr = np.concatenate([[0.0], false_positives / false_positives[-1], [1.0]])
        pro = np.concatenate([[0.0], np.cumsum(self._overlap[::-1]) / self._n_regions, [1.0]])
        after = int(np.searchsorted(fpr, limit, side="right"))  # the first point beyond the limit
        if after < fpr.size:
            slope = (pro[after] - pro[after - 1]) / (fpr[after] - fpr[after - 1])
            at_limit = pro[after - 1] + slope * (limit - fpr[after - 1])
            fpr, pro = np.append(fpr[:after], limit), np.append(pro[:after], at_limit)
        return fpr, pro


def _refuse_map(anomaly_map: NDArray[np.float32]) -> None:
    if anomaly_map.dtype != np.float32 or anomaly_map.ndim != 2:
        raise ValueError(f"expected an (H, W) float32 anomaly map, got {anomaly_map.shape} {anomaly_map.dtype}")
    finite = np.isfinite(anomaly_map)
    if not finite.all():
        raise ValueError(f"expected a finite map, got {int((~finite).sum())} of {finite.size} values NaN or inf")


def _refuse_other_size(anomaly_map: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:
    if anomaly_map.shape != mask.shape:
        raise ValueError(f"anomaly map {anomaly_map.shape}, mask {mask.shape}: enlarge the map to the mask's size")
