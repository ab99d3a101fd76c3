"""Ranges of what goes through a graph: those of all views that it was shown."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.layers import Layer
from export.quantize import Quantizer


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


@pytest.mark.parametrize("strange", [0, 15, 16, 39])
@pytest.mark.parametrize("n_views", [40, 48])  # no multiple of 16, and one
def test_a_view_counts_wherever_it_stands_among_the_others(float_file: Path, n_views: int, strange: int, tmp_path: Path) -> None:
    views = [{"image": np.full((1, 1, 4, 4), 51 if k == strange else 1, np.float32)} for k in range(n_views)]

    Quantizer(float_file, views, tmp_path).write(float_file, tmp_path / "int8.onnx", [Layer("conv", "conv", 1)], True)

    kept = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(tmp_path / "int8.onnx").graph.initializer}
    assert kept["image_scale"] == pytest.approx(51 / 255)
    assert kept["map_scale"] == pytest.approx(102 / 255)
