"""How far each value between the layers of a float graph goes, over many views of what it will see."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationMethod
from onnxruntime.quantization.calibrate import TensorsData, create_calibrator, save_tensors_data
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

SHARE = 298 / 299  # of the way from the least to the greatest: of 300 views all but the one that goes farthest


def learn_ranges(graph: Path, views: Sequence[Mapping[str, NDArray[Any]]], file: Path) -> None:
    """Writes the ranges of all values of an ONNX graph as `quantize_static` reads them.

    Of each view the least and the greatest value, not quantiles of them: what is strange lies at the ends. Of these over all
    views the quantiles SHARE: one that goes much farther than all others would make their steps coarse (decision 30).
    """
    augmented = file.with_suffix(".augmented.onnx")
    with quietly():
        calibrator = create_calibrator(graph, [*QLinearOpsRegistry, *QDQRegistry], augmented)
    seen = []
    for view in views:
        calibrator.calibrate_tensors_range = None  # or this view would be put together with those before
        calibrator.collect_data(_One(view))
        seen.append(calibrator.compute_data())
    augmented.unlink()
    ranges = {}
    for name in seen[0]:
        low, high = (np.stack([one[name].range_value[end] for one in seen]) for end in (0, 1))
        ranges[name] = _quantile(low, 1 - SHARE), _quantile(high, SHARE)
    save_tensors_data(TensorsData(CalibrationMethod.MinMax, ranges), file)


@contextmanager
def quietly() -> Iterator[None]:
    """Without ONNX Runtime's advice in the root's log."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)


def _quantile(values: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    return np.asarray(np.quantile(values, share, axis=0), np.float32)


class _One:
    """Gives one view to ONNX Runtime."""

    def __init__(self, view: Mapping[str, NDArray[Any]]) -> None:
        self._left = [view]

    def get_next(self) -> Mapping[str, NDArray[Any]] | None:
        return self._left.pop() if self._left else None
