"""Ranges of what goes through a graph: those of all views that it was shown."""

from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.layers import Layer, is_averaged
from export.quantize import Quantizer, Rounds
from export.to_openvino import to_openvino


@pytest.fixture(scope="module")
def float_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One convolution that gives twice what it is given."""
    weight = numpy_helper.from_array(np.full((1, 1, 1, 1), 2, np.float32), "weight")
    given = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 4, 4])
    node = helper.make_node("Conv", ["image", "weight"], ["map"], name="conv")
    graph = helper.make_graph([node], "g", [given], [helper.make_empty_tensor_value_info("map")], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, file := tmp_path_factory.mktemp("float") / "model.onnx")
    return file


def scales(float_file: Path, farthest: list[int], folder: Path) -> tuple[float, float]:
    """Of what the convolution is given and of what it gives, after views whose farthest values are these."""
    views = [{"image": np.full((1, 1, 4, 4), value, np.float32)} for value in farthest]
    Quantizer(float_file, views, folder).write(float_file, folder / "int8.onnx", [Layer("conv", "conv", 1)], "all")
    kept = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(folder / "int8.onnx").graph.initializer}
    return float(kept["image_scale"]), float(kept["map_scale"])


@pytest.mark.parametrize("first", [0, 14, 15, 37])
@pytest.mark.parametrize("n_views", [40, 48])  # ONNX Runtime's own way of many views forgets all but the last of each 16
def test_views_count_wherever_they_stand_among_the_others(float_file: Path, n_views: int, first: int, tmp_path: Path) -> None:
    farthest = [51 if k in (first, first + 1) else 1 for k in range(n_views)]

    assert scales(float_file, farthest, tmp_path) == pytest.approx((51 / 255, 102 / 255))


@pytest.mark.parametrize(("strange", "most"), [(1, 1), (2, 3)])
def test_one_view_of_three_hundred_does_not_cost_the_others_a_bit_and_two_count(
    float_file: Path, strange: int, most: int, tmp_path: Path
) -> None:
    farthest = [3] * strange + [1] * (300 - strange)

    assert scales(float_file, farthest, tmp_path) == pytest.approx((most / 255, 2 * most / 255))


FIRST, SECOND = Layer("first", "first", 1), Layer("second", "second", 1)


def view(seed: int) -> dict[str, np.ndarray]:
    return {"image": np.random.default_rng(seed).normal(0, 1, (1, 16, 32, 32)).astype(np.float32)}


@pytest.mark.parametrize(
    ("rounds", "rounded"), [("given", "imagec"), ("averaged", "imagebc"), ("all", "imagebcmap_QuantizeLinear_Input")]
)
def test_what_is_rounded(averaging: Path, rounds: Rounds, rounded: str, tmp_path: Path) -> None:
    quantizer = Quantizer(averaging, [view(k) for k in range(4)], tmp_path)

    quantizer.write(averaging, file := tmp_path / "int8.onnx", [FIRST, SECOND], rounds)

    nodes = onnx.load(file).graph.node
    assert "".join(node.input[0] for node in nodes if node.op_type == "QuantizeLinear") == rounded


def test_an_average_of_what_is_rounded_is_of_bytes_and_as_near(averaging: Path, tmp_path: Path) -> None:
    quantizer = Quantizer(averaging, [view(k) for k in range(4)], tmp_path)
    quantizer.write(averaging, tmp_path / "int8.onnx", [FIRST, SECOND], "averaged", narrow=True)
    to_openvino(tmp_path / "int8.onnx", tmp_path / "int8.xml")
    image, core = view(1)["image"], openvino.Core()
    exact, compiled = (
        core.compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}) for file in (averaging, tmp_path / "int8.xml")
    )

    expected, found = exact(image)[0], compiled(image)[0]

    kernels = [op.get_rt_info() for op in compiled.get_runtime_model().get_ops()]
    (average,) = (str(one["primitiveType"].astype(str)) for one in kernels if str(one["layerType"].astype(str)) == "Pooling")
    assert average.endswith("I8")
    assert np.abs(found - expected).max() < 0.02 * np.ptp(expected)  # steps of 1/255 before, between and of 1/127 in weights


def test_only_what_lies_between_chosen_layers_is_averaged(averaging: Path) -> None:
    model = onnx.load(averaging)

    assert is_averaged(model, [FIRST, SECOND])
    assert not is_averaged(model, [FIRST])
    assert not is_averaged(model, [SECOND])
