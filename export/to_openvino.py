"""The same graph as OpenVINO IR, converted from the ONNX file so that both say the same, weights kept in float32."""

from pathlib import Path

import openvino

from agent.bundle import BundleError


def to_openvino(onnx_file: Path, file: Path) -> None:
    """Writes `file` (.xml) and its weights beside it (.bin). Raises BundleError where it cannot be written."""
    model = openvino.convert_model(str(onnx_file))
    try:
        openvino.save_model(model, str(file), compress_to_fp16=False)
    except RuntimeError as e:  # its only way to say that the disk is full
        raise BundleError(f"{file}: cannot be written: {e}") from e
