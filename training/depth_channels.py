"""Depth as a network can read it: the part's surface alone, on the grid of the features, as AST prepares it.

All of it is ordinary tensor operations, each image by itself, so that it is exported with the method that uses it.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_SHARP = 8  # depth is read so many times finer than the grid, a side
CHANNELS = _SHARP**2
_FILLS = 3  # rounds of filling, each by one pixel from the edge of a hole
_NEAREST_M = 7e-3  # from the background: what is nearer is background itself
_CENTIMETRES = 100.0


def depth_channels(depth: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The part's surface over its mean in cm (B, 64, h, w), and where the part is, 0 to 1, (B, 1, h, w).

    depth: (B, H, W) in metres, 0 where nothing was measured. grid: (h, w). An image without any foreground is part all over.
    """
    height, width = grid
    fine = (_SHARP * height, _SHARP * width)
    filled = fill_holes(depth[:, None])  # (B, 1, H, W)
    on_part = foreground(filled)
    mean = (on_part * filled).sum(dim=(2, 3), keepdim=True) / on_part.sum(dim=(2, 3), keepdim=True).clamp(min=1.0)
    surface = F.interpolate(on_part * (filled - mean) * _CENTIMETRES, fine, mode="bilinear", align_corners=False)
    mask = (F.interpolate(on_part, fine, mode="bilinear", align_corners=False) > 0).to(depth.dtype)
    # an even square has no middle: scipy's binary_dilation takes the 3 before and the 4 after
    dilated = F.max_pool2d(F.pad(mask, (3, 4, 3, 4)), kernel_size=_SHARP, stride=1)
    soft = F.interpolate(dilated, grid, mode="bilinear", align_corners=False)  # not made hard again
    is_empty = soft.amax(dim=(2, 3), keepdim=True) == 0
    return F.pixel_unshuffle(surface, _SHARP), torch.where(is_empty, torch.ones_like(soft), soft)


def fill_holes(depth: Tensor) -> Tensor:
    """Pixels without a measurement take the mean of their neighbours' that have one, three times. depth: (B, 1, H, W)."""
    for _ in range(_FILLS):
        measured = (depth != 0).to(depth.dtype)
        share = F.avg_pool2d(measured, kernel_size=3, stride=1, padding=1)  # of the 9; one alone is 1/9
        around = F.avg_pool2d(depth, kernel_size=3, stride=1, padding=1) / share.clamp(min=0.1)
        depth = torch.where(measured > 0, depth, around)
    return depth


def foreground(depth: Tensor) -> Tensor:
    """1 where a pixel was measured off the background, else 0. depth: (B, 1, H, W).

    The background is the plane through the means of the four corners, 2x2 pixels each; a corner without a measurement takes
    the mean of the others. Without any, there is no background: all that was measured is part.
    """
    edges = (slice(None, 2), slice(-2, None))
    corners = torch.stack([depth[:, 0, rows, columns].flatten(1) for rows in edges for columns in edges], dim=1)  # (B, 4, 4)
    measured = (corners != 0).to(depth.dtype).sum(dim=2)  # (B, 4)
    means = corners.sum(dim=2) / measured.clamp(min=1.0)
    known = (measured > 0).to(depth.dtype)
    of_all = means.sum(dim=1, keepdim=True) / known.sum(dim=1, keepdim=True).clamp(min=1.0)  # (B, 1)
    plane = torch.where(known > 0, means, of_all).view(-1, 1, 2, 2)
    background = F.interpolate(plane, depth.shape[2:], mode="bilinear", align_corners=True)
    return (((background - depth).abs() > _NEAREST_M) & (depth != 0)).to(depth.dtype)
