"""The layer norm of FastFlow's features, as the runtimes compute it; their own ones add up a whole level in one float32."""

from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.to_openvino import to_openvino
from training.methods.fastflow import layer_normed

LEVEL = (1, 64, 64, 64)  # the finest of ResNet-18 at 256 px


class Norm(nn.Module):
    def forward(self, level: Tensor) -> Tensor:
        return layer_normed(level)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("norm") / "norm.onnx"
    given = {"input_names": ["level"], "output_names": ["normed"], "opset_version": 18, "dynamo": True, "verbose": False}
    torch.onnx.export(Norm().eval(), (torch.zeros(LEVEL),), str(out), **given)
    to_openvino(out, out.with_suffix(".xml"))
    return out


def by_onnxruntime(file: Path, level: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"level": level})[0])


def by_openvino(file: Path, level: NDArray[np.float32]) -> NDArray[np.float32]:
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    return np.asarray(openvino.Core().compile_model(file.with_suffix(".xml"), "CPU", settings)({"level": level})["normed"])


@pytest.mark.parametrize("compute", [by_onnxruntime, by_openvino])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_all_of_a_level_has_the_scale_that_float64_gives_it(file: Path, compute, seed: int) -> None:  # type: ignore[no-untyped-def]
    level = np.maximum(np.random.default_rng(seed).standard_normal(LEVEL, np.float32), 0.0) ** 2  # ReLU and a long tail

    normed = compute(file, level)

    exact = (level.astype(np.float64) - level.mean(dtype=np.float64)) / np.sqrt(level.var(dtype=np.float64) + 1e-5)
    scale = float((normed * exact).sum() / (exact * exact).sum())
    assert abs(scale - 1.0) < 1e-6  # eight roundings; summed up at once it was 2e-5
