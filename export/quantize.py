"""A float graph to INT8: ONNX with Q/DQ pairs, of which OpenVINO's IR is a conversion. Only what is named is quantized."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from agent.inspection import Depth, Image
from export.layers import WEIGHTED, Layer, between
from export.rounding import MOST, MOST_NARROW, Rounding

Inputs = Mapping[str, NDArray[Any]]


def inputs_of(images: Sequence[Image], depths: Sequence[Depth] | None) -> list[Inputs]:
    """What the graph is given for each."""
    if depths is None:
        return [{"image": image[np.newaxis]} for image in images]
    return [{"image": i[np.newaxis], "depth": d[np.newaxis]} for i, d in zip(images, depths, strict=True)]


class Quantizer:
    """Learns once the range of each value between the layers of a float ONNX graph, then writes it with any of them in INT8.

    Ranges are the least and the greatest value seen, not quantiles of them: what is strange lies at the ends. folder: for what
    it keeps meanwhile.
    """

    def __init__(self, float_file: Path, views: Sequence[Inputs], folder: Path) -> None:
        self._folder, self._ranges = folder, folder / "ranges.json"
        prepared = self._write(float_file, folder / "learned.onnx", [], _Reader(views), round_results=True)
        self._rounding = Rounding(prepared, views)

    def write(self, float_file: Path, file: Path, chosen: Sequence[Layer], round_results: bool, narrow: bool = False) -> None:
        """Writes `file`, the chosen layers and what lies between them in INT8. float_file: the graph whose ranges were learned,
        or one that differs only outside of the chosen layers.

        round_results: also what a layer gives, not only what it is given. ONNX Runtime computes in integers only what has them on
        both sides. OpenVINO does not need it, and what is then averaged or subtracted is truer without (docs/decisions.md).
        narrow: weights of 7 bits.
        """
        nodes = [layer.node for layer in chosen] + between(onnx.load(float_file), chosen, chosen)
        self._write(float_file, file, nodes, None, round_results, narrow)
        self._rounding.refine(file, {layer.node for layer in chosen}, MOST_NARROW if narrow else MOST)

    def _write(
        self,
        float_file: Path,
        file: Path,
        nodes: list[str],
        reader: "_Reader | None",
        round_results: bool,
        narrow: bool = False,
    ) -> Path:
        """The float graph that it started from."""
        prepared = self._folder / f"prepared-{float_file.name}"
        before = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)
        try:
            if not prepared.exists():
                quant_pre_process(float_file, prepared, skip_optimization=True, skip_symbolic_shape=True)
            quantize_static(
                prepared,
                file,
                reader,
                quant_format=QuantFormat.QDQ,
                nodes_to_quantize=nodes or ["none of them"],
                per_channel=True,
                reduce_range=narrow,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                calibration_cache_path=self._ranges,
                extra_options={
                    "OpTypesToExcludeOutputQuantization": [] if round_results else list(WEIGHTED),
                },
            )
        finally:
            logging.getLogger().setLevel(before)
        return prepared


class _Reader:
    """Gives the views to ONNX Runtime, one by one."""

    def __init__(self, views: Sequence[Inputs]) -> None:
        self._left: Iterator[Inputs] = iter(views)

    def get_next(self) -> Inputs | None:
        return next(self._left, None)
