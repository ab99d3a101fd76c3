"""Weights of convolutions rounded by what they are given, and biases that make up for the rest."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.random import default_rng
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from export.layers import Layer
from export.quantize import Quantizer
from export.rounding import MOST, MOST_NARROW, Rounding, rounded

CONVOLUTIONS = {  # attributes, and the weight's shape for 8 channels
    "plain": ({"pads": [1, 1, 1, 1]}, (16, 8, 3, 3)),
    "strided": ({"strides": [2, 2], "pads": [0, 1, 2, 1]}, (16, 8, 3, 3)),
    "dilated": ({"dilations": [2, 2]}, (16, 8, 3, 3)),
    "in groups": ({"group": 4, "pads": [1, 1, 1, 1]}, (16, 2, 3, 3)),
    "by channel": ({"group": 8, "pads": [1, 1, 1, 1]}, (8, 1, 3, 3)),
}


def products_of(groups: int, columns: int) -> Tensor:
    """Of columns that are alike, as neighbouring pixels are."""
    one = torch.randn(groups, columns, 4 * columns, dtype=torch.float64, generator=torch.manual_seed(0))
    alike = one + 2.0 * one.mean(dim=1, keepdim=True) * columns**0.5
    return alike @ alike.mT / alike.shape[2]


@pytest.mark.parametrize("most", [MOST, MOST_NARROW])
def test_what_comes_out_changes_by_less_than_a_half_of_what_rounding_each_weight_alone_does(most: int) -> None:
    groups, columns = 2, 150  # more than a block
    moments = products_of(groups, columns)
    weights = torch.randn(groups, 32, columns, dtype=torch.float64, generator=torch.manual_seed(1))
    units = weights.abs().amax(dim=2, keepdim=True) / most

    found = rounded(weights, units, moments, most)

    def changes(integers: Tensor) -> float:
        error = integers * units - weights
        return float(torch.einsum("gck,gkl,gcl->", error, moments, error))

    assert found.abs().max() <= most
    assert torch.equal(found, found.round())
    assert changes(found) < 0.5 * changes((weights / units).round())


def test_what_is_given_nothing_has_finite_weights() -> None:
    weights = torch.ones(1, 2, 3, dtype=torch.float64)

    assert torch.equal(rounded(weights, weights[..., :1] / MOST, torch.zeros(1, 3, 3, dtype=torch.float64), MOST), MOST * weights)


def convolution(folder: Path, kind: str) -> Path:
    """A file with one convolution of 8 channels, of an exporter's names."""
    attributes, shape = CONVOLUTIONS[kind]
    random = default_rng(0)
    weight = numpy_helper.from_array(random.normal(0, 1, shape).astype(np.float32), "method.conv.weight")
    bias = numpy_helper.from_array(random.normal(0, 1, shape[0]).astype(np.float32), "method.conv.bias")
    node = helper.make_node("Conv", ["image", weight.name, bias.name], ["map"], name="conv", **attributes)
    given = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 8, 24, 20])
    graph = helper.make_graph([node], "g", [given], [helper.make_empty_tensor_value_info("map")], [weight, bias])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, file := folder / "model.onnx")
    return file


def view(k: int) -> dict[str, np.ndarray]:
    """Neighbours are alike, and none is below zero, as behind a ReLU."""
    noise = default_rng(k).normal(1, 1, (1, 8, 24, 20)).astype(np.float32)
    smooth = noise + np.roll(noise, 1, axis=2) + np.roll(noise, 1, axis=3) + noise.mean(axis=1, keepdims=True) * 4
    return {"image": np.maximum(smooth, 0)}


def answers(file: Path, views: list[dict[str, np.ndarray]]) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, one)[0] for one in views])


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_convolution_of_7_bits_answers_nearer_to_the_float_one_and_as_it_does_on_the_mean(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    float_file, views, unseen = convolution(tmp_path, kind), [view(k) for k in range(30)], [view(k) for k in range(100, 116)]
    quantizer, layer = Quantizer(float_file, views, tmp_path), Layer("conv", "conv", 1)
    wanted = answers(float_file, unseen)

    quantizer.write(float_file, tmp_path / "refined.onnx", [layer], "given", narrow=True)
    monkeypatch.setattr(Rounding, "refine", lambda *_: None)
    quantizer.write(float_file, tmp_path / "nearest.onnx", [layer], "given", narrow=True)
    refined, nearest = (answers(tmp_path / name, unseen) - wanted for name in ("refined.onnx", "nearest.onnx"))

    assert np.square(refined).mean() < 0.8 * np.square(nearest).mean()  # what is given is rounded in both
    assert np.abs(refined.mean(axis=(0, 2, 3))).max() < 0.5 * np.abs(nearest.mean(axis=(0, 2, 3))).max()


def test_the_weights_of_a_file_do_not_depend_on_what_was_written_before(tmp_path: Path) -> None:
    float_file, views, layer = convolution(tmp_path, "plain"), [view(k) for k in range(4)], Layer("conv", "conv", 1)
    first = Quantizer(float_file, views, tmp_path)
    first.write(float_file, tmp_path / "wide.onnx", [layer], "all")
    first.write(float_file, tmp_path / "narrow.onnx", [layer], "all", narrow=True)

    Quantizer(float_file, views, tmp_path).write(float_file, tmp_path / "again.onnx", [layer], "all", narrow=True)

    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "narrow.onnx").read_bytes()
    assert (tmp_path / "wide.onnx").read_bytes() != (tmp_path / "narrow.onnx").read_bytes()
