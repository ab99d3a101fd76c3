"""The deployed graph: its types, its normalization, its score."""

import numpy as np
import pytest
import torch
from small_dataset import plate

from agent.runtimes import InferenceError
from training.graph import Deployed, TorchRuntime
from training.methods import Method


class Redness(Method):
    """A method whose map can be told by eye: the normalized red channel."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, 0]


MEAN, STD = (0.5, 0.25, 0.0), (0.25, 1.0, 1.0)


def test_pixels_are_normalized_inside_the_graph() -> None:
    image = np.zeros((1, 2, 2, 3), np.uint8)
    image[0, 0, 1] = (255, 0, 0)

    score, anomaly_map = Deployed(Redness(), MEAN, STD)(torch.from_numpy(image))

    assert anomaly_map.tolist() == [[[-2.0, 2.0], [-2.0, -2.0]]]
    assert score.tolist() == [2.0]
    assert (score.dtype, anomaly_map.dtype) == (torch.float32, torch.float32)


def test_the_runtime_takes_read_only_images_and_gives_the_graphs_numbers() -> None:
    deployed = Deployed(Redness(), MEAN, STD)
    image = plate(0)
    image.flags.writeable = False

    raw, anomaly_map = TorchRuntime(deployed).infer(image)

    assert raw == anomaly_map.max()
    assert (anomaly_map.shape, anomaly_map.dtype) == ((80, 96), np.float32)
    assert TorchRuntime(deployed).executed_precision == "f32"


def test_what_the_graph_cannot_take_is_an_inference_error() -> None:
    with pytest.raises(InferenceError, match="torch"):
        TorchRuntime(Deployed(Redness(), MEAN, STD)).infer(np.zeros((4, 4, 2), np.uint8))
