"""What the tests of export share: the fitted RUN, and its bundle."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "agent"))

from fitted import dataset, run_folder
from onnx import TensorProto, helper, numpy_helper

from export.pack import export
from training.run import Run, open_run

__all__ = ["bundle_folder", "dataset", "run", "run_folder"]


@pytest.fixture(scope="session")
def run(run_folder: Path) -> Run:
    return open_run(run_folder)


@pytest.fixture(scope="session")
def bundle_folder(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported bundle, not to be changed."""
    out = tmp_path_factory.mktemp("exported") / "bundle"
    export(run, out, "plate")
    return out


@pytest.fixture(scope="session")
def averaging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two convolutions of 16 channels, and between them ReLU and an average of 2x2 places."""
    random = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(random.normal(0, 0.2, (16, 16, 3, 3)).astype(np.float32), f"method.{name}.weight")
        for name in ("first", "second")
    ]
    given = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 16, 32, 32])
    nodes = [
        helper.make_node("Conv", ["image", "method.first.weight"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("AveragePool", ["b"], ["c"], name="average", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["c", "method.second.weight"], ["map"], name="second"),
    ]
    graph = helper.make_graph(nodes, "g", [given], [helper.make_empty_tensor_value_info("map")], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, file := tmp_path_factory.mktemp("averaging") / "model.onnx")
    return file
