"""AST with depth in the device's runtimes: what the exporter makes of the flow and of the preparation of depth."""

import logging
from collections.abc import Callable

import numpy as np
import onnxruntime
import openvino
import pytest
import torch
from torch import Tensor, nn

from training.methods.ast import AST, Config
from training.pretrained import load_backbone

PX = 64


class Traced(nn.Module):
    """The judgement of an image and its depth."""

    def __init__(self, method: AST) -> None:
        super().__init__()
        self.method = method

    def forward(self, image: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        return self.method.judge(image, depth)


def seeded(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def block_with_holes() -> Tensor:
    """(1, PX, PX) in metres, one pixel in five not measured."""
    depth = torch.full((1, PX, PX), 0.5)
    depth[:, 16:32, 16:48] -= 0.05
    return depth * (seeded(6, 1, PX, PX) > -0.8)


@pytest.fixture(scope="module")
def method() -> AST:
    """It looks at depth alone, the export of backbones is tested elsewhere; its teacher has left the identity."""
    backbone, _ = load_backbone("resnet18", "random", 0, strides=(16,))
    method = Config(modality="depth", teacher_width=4, student_width=4).build(backbone, seed=0)
    with torch.no_grad():
        for k, parameter in enumerate(method.teacher.parameters()):
            parameter += 0.1 * seeded(k, *parameter.shape)
    return method.eval()


@pytest.fixture(scope="module")
def runtimes(method: AST, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Callable[[Tensor], list[np.ndarray]]]:
    """Score and map of a depth (1, PX, PX)."""
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    image = torch.zeros(1, 3, PX, PX)
    file = tmp_path_factory.mktemp("traced") / "model.onnx"
    torch.onnx.export(
        Traced(method).eval(),
        (image, torch.zeros(1, PX, PX)),
        file,
        input_names=["image", "depth"],
        opset_version=18,
        dynamo=True,
        verbose=False,
        external_data=False,
    )
    session = onnxruntime.InferenceSession(file)
    compiled = openvino.Core().compile_model(openvino.convert_model(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return {
        "onnxruntime": lambda depth: session.run(None, {"image": image.numpy(), "depth": depth.numpy()}),
        "openvino": lambda depth: list(compiled([image.numpy(), depth.numpy()]).values()),
    }


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    "depth",
    [
        block_with_holes(),
        torch.full((1, PX, PX), 0.5),
        torch.zeros(1, PX, PX),
        torch.rand(1, PX, PX, generator=torch.Generator().manual_seed(7)),
    ],
    ids=["a block with holes", "an empty belt", "nothing measured", "noise"],
)
def test_depth_is_judged_as_by_torch(method: AST, runtimes: dict, depth: Tensor, runtime: str) -> None:
    with torch.inference_mode():
        score, anomaly_map = method.judge(torch.zeros(1, 3, PX, PX), depth)

    found_score, found_map = runtimes[runtime](depth)

    assert anomaly_map.isfinite().all()
    assert found_score == pytest.approx(score.numpy(), rel=1e-4)  # float32 sums in another order
    assert np.abs(found_map - anomaly_map.numpy()).max() <= 1e-4 * anomaly_map.max()  # methods.md 8.4
