"""The same graph as OpenVINO IR, converted from the ONNX file so that both say the same, precision stated in the graph."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import openvino
from openvino import opset13

from agent.bundle import BundleError
from export.rearrange import rearranged


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


def _save(model: Any, file: Path, half_weights: bool) -> None:
    rearranged(model)
    for k, op in enumerate(model.get_ordered_ops()):
        if op.get_friendly_name() == op.get_name():  # made up from a counter of this process: the same model has other bytes
            op.set_friendly_name(f"{op.get_type_name()}_unnamed_{k}")
    try:
        openvino.save_model(model, str(file), compress_to_fp16=half_weights)
    except RuntimeError as e:  # its only way to say that the disk is full
        raise BundleError(f"{file}: cannot be written: {e}") from e
