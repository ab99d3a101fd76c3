"""A float graph to INT8: ONNX with Q/DQ pairs, of which OpenVINO's IR is a conversion. Only what is named is quantized."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from agent.inspection import Depth, Image
from export.layers import WEIGHTED, Layer, between
from export.ranges import learn_ranges, quietly
from export.rounding import MOST, MOST_NARROW, Rounding

Inputs = Mapping[str, NDArray[Any]]


def inputs_of(images: Sequence[Image], depths: Sequence[Depth] | None) -> list[Inputs]:
    """What the graph is given for each."""
    if depths is None:
        return [{"image": image[np.newaxis]} for image in images]
    return [{"image": i[np.newaxis], "depth": d[np.newaxis]} for i, d in zip(images, depths, strict=True)]


class Quantizer:
    """Learns once how far each value between the layers of a float ONNX graph goes, then writes it with any of them in INT8.

    folder: for what it keeps meanwhile.
    """

    def __init__(self, float_file: Path, views: Sequence[Inputs], folder: Path) -> None:
        self._folder, self._ranges = folder, folder / "ranges.json"
        prepared = self._prepared(float_file)
        learn_ranges(prepared, views, self._ranges)
        self._rounding = Rounding(prepared, views)

    def write(self, float_file: Path, file: Path, chosen: Sequence[Layer], round_results: bool, narrow: bool = False) -> None:
        """Writes `file`, the chosen layers and what lies between them in INT8. float_file: the graph whose ranges were learned,
        or one that differs only outside of the chosen layers.

        round_results: also what a layer gives, not only what it is given. ONNX Runtime computes in integers only what has them on
        both sides. OpenVINO does not need it, and what is then averaged or subtracted is truer without (docs/decisions.md).
        narrow: weights of 7 bits.
        """
        nodes = [layer.node for layer in chosen] + between(onnx.load(float_file), chosen, chosen)
        with quietly():
            quantize_static(
                self._prepared(float_file),
                file,
                None,
                quant_format=QuantFormat.QDQ,
                nodes_to_quantize=nodes or ["none of them"],
                per_channel=True,
                reduce_range=narrow,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                calibration_cache_path=self._ranges,
                extra_options={"OpTypesToExcludeOutputQuantization": [] if round_results else list(WEIGHTED)},
            )
        self._rounding.refine(file, {layer.node for layer in chosen}, MOST_NARROW if narrow else MOST)

    def _prepared(self, float_file: Path) -> Path:
        """With the shape of each value in it."""
        prepared = self._folder / f"prepared-{float_file.name}"
        if not prepared.exists():
            with quietly():
                quant_pre_process(float_file, prepared, skip_optimization=True, skip_symbolic_shape=True)
        return prepared
