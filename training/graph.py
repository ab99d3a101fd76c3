"""The graph that is deployed: uint8 pixels in, raw score and map out; the only module that is traced for export."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from agent.inspection import AnomalyMap, Depth, Image
from agent.preprocess import InputContract
from agent.runtimes import InferenceError
from training.methods import Method


class Deployed(nn.Module):
    """A method with its normalization in front and its score behind.

    mean, std: per colour channel, for pixels scaled to 0..1. contract: its region of interest, if any, is the method's.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, method: Method, mean: Sequence[float], std: Sequence[float], contract: InputContract | None = None
    ) -> None:
        super().__init__()
        self.method = method
        if contract is not None:
            method.inspect(contract)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1))

    def normalize(self, images: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 RGB to (N, 3, H, W) float32 as the backbone was trained on."""
        pixels = images.permute(0, 3, 1, 2).to(torch.float32) / 255.0  # (N, 3, H, W)
        return (pixels - self.mean) / self.std

    def forward(self, images: Tensor, depth: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(N, H, W, 3) uint8 RGB, and (N, H, W) float32 metres for a method that needs depth, to score (N,) and
        anomaly_map (N, h, w), both float32 and raw."""
        given = [self.normalize(images)] if depth is None else [self.normalize(images), depth]
        return self.method.judge(*given)


class TorchRuntime:
    """The trained model as a Runtime: the reference every exported artefact is compared with."""

    def __init__(self, deployed: Deployed) -> None:
        self._deployed = deployed.eval()

    @property
    def executed_precision(self) -> str:
        return "f32"

    @property
    def executed_on(self) -> str:
        return "torch"

    def infer(self, image: Image, depth: Depth | None = None) -> tuple[float, AnomalyMap]:
        inputs = [torch.tensor(given)[None] for given in (image, depth) if given is not None]
        try:
            with torch.inference_mode():
                score, anomaly_map = self._deployed(*inputs)
        except RuntimeError as e:
            raise InferenceError(f"torch: {e}") from e
        return float(score[0]), anomaly_map[0].numpy()
