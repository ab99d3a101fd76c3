"""From a backbone's levels to one vector per patch, PatchCore section 3.1: anomalib's plain variant and the official code's."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

OFFICIAL_DIMENSIONS = 1024  # of each level and, after pooling the levels together, of the whole


class PlainEmbedding(nn.Module):
    """Each level averaged over 3x3 (zeros counted), enlarged to the finest grid, all channels kept."""

    def forward(self, levels: list[Tensor]) -> Tensor:
        """(B, C, h, w) of each level, finest first, to (B, sum of C, h, w)."""
        return _stacked([F.avg_pool2d(level, kernel_size=3, stride=1, padding=1) for level in levels])


class OfficialEmbedding(nn.Module):
    """The official code's: C x 3 x 3 values of each level pooled to 1024, then the levels together to 1024.

    Adaptive pooling is linear and repeats itself every gcd(C, 1024)-th of the channels, so it is a grouped convolution with a
    fixed kernel. Wide-ResNet-50: centre 0.2 and neighbours 0.1 of a channel, then 3x3 means of pairs of channels.
    """

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self._groups = [math.gcd(C, OFFICIAL_DIMENSIONS) for C in channels]
        for k, (C, groups) in enumerate(zip(channels, self._groups, strict=True)):  # noqa: N806 - the papers' capitals
            values = torch.eye(9 * C // groups)[None]  # of one group: each value alone
            pooled = F.adaptive_avg_pool1d(values, OFFICIAL_DIMENSIONS // groups)[0]  # (9 * C / groups, bins)
            kernel = pooled.T.reshape(-1, C // groups, 3, 3).repeat(groups, 1, 1, 1)  # (1024, C / groups, 3, 3)
            self.register_buffer(f"kernel_{k}", kernel, persistent=False)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """(B, C, h, w) of each level, finest first, to (B, 1024, h, w)."""
        kernels = [self.get_buffer(f"kernel_{k}") for k in range(len(levels))]
        pooled = [
            F.conv2d(level, kernel, padding=1, groups=groups)
            for level, kernel, groups in zip(levels, kernels, self._groups, strict=True)
        ]
        # a bin of the whole is as many neighbouring dimensions of the concatenation as there are levels
        stacked = _stacked(pooled)  # (B, 1024 * levels, h, w)
        B, _, h, w = stacked.shape  # noqa: N806 - the papers' capitals
        return stacked.view(B, OFFICIAL_DIMENSIONS, len(levels), h, w).mean(dim=2)


def _stacked(levels: list[Tensor]) -> Tensor:
    """All levels on the grid of the first, their channels concatenated."""
    fine, *coarser = levels
    grown = [F.interpolate(level, size=fine.shape[2:], mode="bilinear", align_corners=False) for level in coarser]
    return torch.cat([fine, *grown], dim=1)
