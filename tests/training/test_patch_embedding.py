"""The official embedding against the official code's own way."""

import pytest
import torch
from torch.nn import functional as F

from training.patch_embedding import OfficialEmbedding


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slow_official(levels: list[torch.Tensor]) -> torch.Tensor:
    """The official code's own way: unfold, enlarge each of the C * 9 planes, pool twice."""
    grid = levels[0].shape[2:]
    pooled = []
    for level in levels:
        planes = F.unfold(level, 3, padding=1).unflatten(2, level.shape[2:])  # (B, C * 9, h, w)
        rows = F.interpolate(planes, grid, mode="bilinear").permute(0, 2, 3, 1).flatten(0, 2)  # (B*h*w, C * 9)
        pooled.append(F.adaptive_avg_pool1d(rows[:, None], 1024))
    rows = F.adaptive_avg_pool1d(torch.cat(pooled, dim=2), 1024)[:, 0]
    return rows.view(len(levels[0]), *grid, 1024).permute(0, 3, 1, 2)


def test_the_official_embedding_of_constant_features_is_half_of_each_level() -> None:
    levels = [torch.full((1, 512, 8, 8), 3.0), torch.full((1, 1024, 4, 4), 7.0)]

    inside = OfficialEmbedding((512, 1024))(levels)[0, :, 3:5, 3:5]  # away from the zeros beyond the border

    assert torch.allclose(inside[:512], torch.tensor(3.0))
    assert torch.allclose(inside[512:], torch.tensor(7.0))


def test_the_official_embedding_of_wide_resnet_doubles_the_centre_and_pairs_channels() -> None:
    fine = torch.zeros(1, 512, 8, 8)
    fine[0, 5, 4, 4] = 1.0
    coarse = torch.zeros(1, 1024, 8, 8)
    coarse[0, 10, 4, 4] = 1.0

    found = OfficialEmbedding((512, 1024))([fine, coarse])[0]

    ones = torch.ones(3, 3)
    assert torch.allclose(found[5, 3:6, 3:6], 0.1 * ones + torch.diag(torch.tensor([0.0, 0.1, 0.0])))
    assert torch.allclose(found[512 + 5, 3:6, 3:6], ones / 18)
    assert found.count_nonzero() == 18


@pytest.mark.parametrize(
    "channels",
    [(512, 1024), (128, 256), (32, 96), (40, 112), (384,), (64, 128, 256)],
    ids=["wide", "r18", "mobilenet", "efficientnet", "one", "three"],
)
def test_the_official_embedding_is_what_unfolding_and_pooling_give(channels: tuple[int, ...]) -> None:
    levels = [torch.randn(1, C, 8 >> k, 8 >> k, generator=seeded(k)) for k, C in enumerate(channels)]

    found = OfficialEmbedding(channels)(levels)

    assert torch.allclose(found, slow_official(levels), atol=1e-5)  # sums of up to 90 numbers of size 1 in float32
