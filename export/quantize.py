"""A float graph to INT8: ONNX with Q/DQ pairs, of which OpenVINO's IR is a conversion. Only what is named is quantized."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from agent.inspection import Depth, Image
from export.layers import AVERAGE, WEIGHTED, Layer, between
from export.ranges import learn_ranges, quietly
from export.rounding import MOST, MOST_NARROW, Rounding

Inputs = Mapping[str, NDArray[Any]]
Rounds = Literal["given", "averaged", "all"]
"""What is rounded: what each layer is given; what is averaged over places between layers, too; also what each layer gives.

ONNX Runtime computes in integers only what has them on both sides, so it needs all. OpenVINO does not, and what is subtracted or
averaged is truer without; but a map of many channels that is averaged right away takes a quarter of the time to write and read as
bytes (docs/decisions.md).
"""


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

    def write(self, float_file: Path, file: Path, chosen: Sequence[Layer], rounds: Rounds, narrow: bool = False) -> None:
        """Writes `file`, the chosen layers and what lies between them in INT8. float_file: the graph whose ranges were learned,
        or one that differs only outside of the chosen layers. narrow: weights of 7 bits.
        """
        graph = onnx.load(float_file)
        nodes = [layer.node for layer in chosen] + between(graph, chosen, chosen)
        if rounds == "averaged":  # the quantizer would be made to round what these are given, too
            unrounded = {node.name for node in graph.graph.node if node.op_type in ("MaxPool", "Resize")}
            nodes = [node for node in nodes if node not in unrounded]
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
                extra_options={
                    "OpTypesToExcludeOutputQuantization": [] if rounds == "all" else [*WEIGHTED, AVERAGE],
                    "ForceQuantizeNoInputCheck": rounds == "averaged",
                },
            )
        self._rounding.refine(file, {layer.node for layer in chosen}, MOST_NARROW if narrow else MOST)

    def _prepared(self, float_file: Path) -> Path:
        """With the shape of each value in it."""
        prepared = self._folder / f"prepared-{float_file.name}"
        if not prepared.exists():
            with quietly():
                quant_pre_process(float_file, prepared, skip_optimization=True, skip_symbolic_shape=True)
        return prepared
