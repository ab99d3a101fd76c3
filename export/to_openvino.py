"""The same graph as OpenVINO IR, converted from the ONNX file so that both say the same, precision stated in the graph."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino import opset13

from agent.bundle import BundleError

_FEW = 64  # channels up to which the CPU brings a map from channels last to channels first by a slow loop


def to_openvino(onnx_file: Path, file: Path, half_weights: bool = False) -> None:
    """Writes `file` (.xml) and its weights beside it (.bin), in float32 or, to be half as large, in float16; the computation
    is the same. Raises BundleError where it cannot be written."""
    _save(openvino.convert_model(str(onnx_file)), file, half_weights)


def to_openvino_bf16(onnx_file: Path, file: Path, nodes: Collection[str]) -> None:
    """As `to_openvino`, with the named nodes of the ONNX graph in bfloat16 and Converts around them, since the precision
    hint of the device stays f32. What is fused is left to the device: fused here, a layer would have lost its name."""
    model = openvino.Core().read_model(str(onnx_file))
    low = {op.get_friendly_name(): op for op in model.get_ordered_ops() if op.get_friendly_name().split("/")[0] in nodes}
    lowered: dict[str, Any] = {}
    for op in low.values():
        for k in range(op.get_input_size()):
            source = op.input(k).get_source_output()
            if source.get_node().get_friendly_name() in low or source.get_element_type() != openvino.Type.f32:
                continue
            key = f"{source.get_node().get_friendly_name()}:{source.get_index()}"
            if key not in lowered:
                lowered[key] = opset13.convert(source, openvino.Type.bf16)
            op.input(k).replace_source_output(lowered[key].output(0))
    for op in low.values():
        leaving = [target for target in op.output(0).get_target_inputs() if target.get_node().get_friendly_name() not in low]
        if leaving:
            raised = opset13.convert(op.output(0), openvino.Type.f32)
            for target in leaving:
                target.replace_source_output(raised.output(0))
    model.validate_nodes_and_infer_types()
    _save(model, file, half_weights=False)


def _permute_last(model: Any) -> None:
    """Few channels are permuted where convolutions have them, last: moving them first costs more than such a convolution."""
    for op in model.get_ordered_ops():
        if op.get_type_name() == "Gather" and _permutes_few_channels(op):
            last = opset13.transpose(op.input(0).get_source_output(), np.array([0, 2, 3, 1]))
            taken = opset13.gather(last, op.input(1).get_source_output(), np.array(3))
            back = opset13.transpose(taken, np.array([0, 3, 1, 2]))
            for target in op.output(0).get_target_inputs():
                target.replace_source_output(back.output(0))


def _permutes_few_channels(op: Any) -> bool:
    given, taken = op.get_input_partial_shape(0), op.get_output_partial_shape(0)
    axis = op.input(2).get_source_output().get_node()
    if not given.is_static or given != taken or len(given) != 4 or axis.get_type_name() != "Constant":
        return False
    return int(axis.get_data().item()) == 1 and given[1].get_length() <= _FEW


def _save(model: Any, file: Path, half_weights: bool) -> None:
    _permute_last(model)
    try:
        openvino.save_model(model, str(file), compress_to_fp16=half_weights)
    except RuntimeError as e:  # its only way to say that the disk is full
        raise BundleError(f"{file}: cannot be written: {e}") from e
