"""The OpenVINO files: what is stated in them, and that they compute what the ONNX graph does."""

from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest

from agent.bundle import BundleError
from export.executed import share
from export.to_openvino import to_openvino, to_openvino_bf16


def saved(folder: Path, channels: int, nodes: list[onnx.NodeProto], **constants: np.ndarray) -> Path:
    """An ONNX graph from `given` to `wanted`, both (1, channels, 4, 4)."""
    given, wanted = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, channels, 4, 4)) for name in ("given", "wanted")
    )
    weights = [onnx.numpy_helper.from_array(values, name) for name, values in constants.items()]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "graph", [given], [wanted], weights), opset_imports=[onnx.helper.make_opsetid("", 18)]
    )
    model.ir_version = 9
    onnx.save_model(model, folder / "model.onnx")
    return folder / "model.onnx"


def test_weights_stay_in_float32(bundle_folder: Path) -> None:
    model = openvino.Core().read_model(bundle_folder / "artifacts" / "model.xml")

    kinds = {str(node.get_element_type()) for node in model.get_ops() if node.get_type_name() == "Constant"}

    assert not {kind for kind in kinds if "f16" in kind}


def test_the_compiled_model_computes_in_float32(bundle_folder: Path) -> None:
    from agent.drivers import section

    with section("agent.runtimes", {"type": "openvino"}).open(bundle_folder / "artifacts" / "model.xml") as opened:
        precision = opened.executed_precision

    assert precision == "f32"


def test_a_place_that_cannot_be_written_is_named(bundle_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.xml").mkdir()

    with pytest.raises(BundleError, match=r"model\.xml: cannot be written"):
        to_openvino(bundle_folder / "artifacts" / "model.onnx", tmp_path / "model.xml")


def test_a_layer_in_bfloat16_stays_so_where_its_result_is_scaled(tmp_path: Path) -> None:
    weight, tenth = np.ones((8, 8, 1, 1), np.float32), np.float32([0.1])
    nodes = [
        onnx.helper.make_node("Conv", ["given", "weight"], ["found"], name="layer"),
        onnx.helper.make_node("Mul", ["found", "tenth"], ["wanted"], name="scaled"),
    ]
    graph = saved(tmp_path, 8, nodes, weight=weight, tenth=tenth)

    to_openvino_bf16(graph, tmp_path / "model.xml", {"layer"})

    kinds = {
        op.get_type_name(): op.output(0).get_element_type() for op in openvino.Core().read_model(tmp_path / "model.xml").get_ops()
    }
    assert kinds["Convolution"] == openvino.Type.bf16
    assert kinds["Multiply"] == openvino.Type.f32


def test_the_work_of_a_layer_is_counted_where_its_result_is_shifted_and_scaled(tmp_path: Path) -> None:
    nodes = [
        onnx.helper.make_node("Conv", ["given", "weight"], ["found"], name="layer"),
        onnx.helper.make_node("Sub", ["found", "mean"], ["centered"], name="shifted"),
        onnx.helper.make_node("Div", ["centered", "deviation"], ["normed"], name="scaled"),
        onnx.helper.make_node("Abs", ["normed"], ["wanted"], name="end"),
    ]
    weight, one = np.ones((8, 8, 1, 1), np.float32), np.float32([1.0])
    graph = saved(tmp_path, 8, nodes, weight=weight, mean=one, deviation=2 * one)

    to_openvino(graph, tmp_path / "model.xml")

    assert share(graph, tmp_path / "model.xml", "openvino", "f32") == 1.0
