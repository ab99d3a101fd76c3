from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from agent.drivers import section
from export.to_onnx import OPSET, to_onnx
from training.graph import TorchRuntime
from training.run import Run


@pytest.fixture(scope="session")
def model(bundle_folder: Path) -> onnx.ModelProto:
    return onnx.load(bundle_folder / "artifacts" / "model.onnx")


def test_the_graph_takes_uint8_nhwc_and_gives_raw_score_and_native_map(model: onnx.ModelProto) -> None:
    (image,), outputs = model.graph.input, {value.name: value for value in model.graph.output}

    shapes = {name: [d.dim_value for d in value.type.tensor_type.shape.dim] for name, value in outputs.items()}

    assert image.type.tensor_type.elem_type == TensorProto.UINT8
    assert [d.dim_value for d in image.type.tensor_type.shape.dim] == [1, 64, 64, 3]
    assert shapes == {"score": [1], "anomaly_map": [1, 8, 8]}
    assert model.opset_import[0].version == OPSET


def test_nothing_of_the_workstation_is_left_in_the_file(bundle_folder: Path) -> None:
    content = (bundle_folder / "artifacts" / "model.onnx").read_bytes()

    assert b".py" not in content
    assert str(Path(__file__).parents[2]).encode() not in content


def test_weights_are_inside_the_file(model: onnx.ModelProto) -> None:
    assert all(tensor.data_location == TensorProto.DEFAULT for tensor in model.graph.initializer)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64, 3), np.uint8),
        np.full((64, 64, 3), 255, np.uint8),
        np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8),
    ],
    ids=["black", "white", "noise"],
)
@pytest.mark.parametrize(("runtime", "file"), [("onnxruntime", "model.onnx"), ("openvino", "model.xml")])
def test_images_unlike_any_part_give_finite_scores_as_torch_does(
    run: Run, bundle_folder: Path, runtime: str, file: str, image: np.ndarray
) -> None:
    expected, _ = TorchRuntime(run.deployed).infer(image)

    with section("agent.runtimes", {"type": runtime}).open(bundle_folder / "artifacts" / file) as opened:
        raw, anomaly_map = opened.infer(image)

    assert np.isfinite(anomaly_map).all()
    assert raw == pytest.approx(expected, rel=1e-4)  # float32 sums in another order
    assert raw == anomaly_map.max()


def test_exporting_twice_gives_the_same_bytes(run: Run, tmp_path: Path) -> None:
    to_onnx(run.deployed, run.record.input, tmp_path / "a.onnx")
    to_onnx(run.deployed, run.record.input, tmp_path / "b.onnx")

    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
