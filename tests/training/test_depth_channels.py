"""Depth as AST reads it: holes, background, foreground, and what no scene may break."""

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation
from torch import Tensor

from training.depth_channels import depth_channels, fill_holes, foreground

PX, GRID = 64, (4, 4)
BLOCK = (..., slice(24, 44), slice(20, 36))  # rows, columns
BLOCK_M = 0.05  # over the plane


def plane() -> Tensor:
    """(1, PX, PX) in metres: a belt that is not level."""
    across, along = torch.meshgrid(torch.arange(PX) / (PX - 1), torch.arange(PX) / (PX - 1), indexing="ij")
    return (0.5 + 0.03 * across + 0.02 * along)[None]


def scene() -> Tensor:
    """A block on the belt."""
    depth = plane()
    depth[BLOCK] -= BLOCK_M
    return depth


def block() -> Tensor:
    """(1, PX, PX), True where it lies."""
    mask = torch.zeros(1, PX, PX, dtype=torch.bool)
    mask[BLOCK] = True
    return mask


def test_a_hole_of_six_pixels_is_filled_from_its_edge_in_three_rounds() -> None:
    depth = torch.full((1, 1, 12, 12), 0.5)
    depth[..., 3:9, 3:9] = 0.0

    filled = fill_holes(depth)

    assert torch.allclose(filled, torch.tensor(0.5), atol=1e-6)  # float32 means of equal values


def test_a_hole_of_seven_pixels_keeps_its_middle() -> None:
    depth = torch.full((1, 1, 13, 13), 0.5)
    depth[..., 3:10, 3:10] = 0.0

    filled = fill_holes(depth)

    assert (filled == 0).sum() == 1
    assert filled[0, 0, 6, 6] == 0


def test_a_missing_pixel_takes_the_mean_of_its_measured_neighbours() -> None:
    depth = torch.tensor([[0.1, 0.2, 0.0], [0.4, 0.0, 0.6], [0.7, 0.8, 0.9]])[None, None]

    filled = fill_holes(depth)

    assert filled[0, 0, 1, 1].item() == pytest.approx((0.1 + 0.2 + 0.4 + 0.6 + 0.7 + 0.8 + 0.9) / 7, abs=1e-6)  # float32
    assert filled[0, 0, 0, 2].item() == pytest.approx((0.2 + 0.6) / 2, abs=1e-6)
    assert torch.equal(filled[depth > 0], depth[depth > 0])


def test_the_foreground_is_what_stands_off_the_plane_of_the_corners() -> None:
    on_part = foreground(scene()[:, None])

    assert torch.equal(on_part[:, 0] > 0, block())


def test_what_is_within_7_mm_of_the_background_or_not_measured_is_no_foreground() -> None:
    depth = torch.full((1, 1, PX, PX), 0.5)
    depth[..., 30, 10:20] -= 6.9e-3
    depth[..., 30, 20:30] += 7.1e-3
    depth[..., 30, 30:40] = 0.0

    on_part = foreground(depth)

    assert on_part[0, 0, 30, 20:30].all()
    assert on_part.sum() == 10


@pytest.mark.parametrize("rows", [slice(0, 2), slice(-2, None)], ids=["top left", "bottom left"])
def test_a_corner_without_measurement_takes_the_mean_of_the_others(rows: slice) -> None:
    depth = torch.full((1, 1, PX, PX), 0.5)
    depth[BLOCK] -= BLOCK_M
    depth[..., rows, :2] = 0.0

    on_part = foreground(depth)

    assert torch.equal(on_part[:, 0] > 0, block())


def test_one_measured_pixel_of_a_corner_is_enough() -> None:
    depth = scene()[:, None]
    depth[0, 0, :2, :2] = torch.tensor([[0.0, 0.0], [0.0, 0.5]])

    on_part = foreground(depth)

    assert torch.equal(on_part[:, 0] > 0, block())


def test_the_channels_are_the_height_over_the_parts_mean_in_centimetres() -> None:
    depth = torch.full((1, PX, PX), 0.5)
    depth[0, 24:34, 20:36] -= 0.02
    depth[0, 34:44, 20:36] -= 0.04

    channels, _ = depth_channels(depth, (PX // 8, PX // 8))  # as fine as the depth itself

    surface = torch.nn.functional.pixel_shuffle(channels, 8)[0, 0]
    assert channels.shape == (1, 64, 8, 8)
    assert torch.allclose(surface[24:34, 20:36], torch.tensor(1.0), atol=1e-4)  # float32, of 0.5 m in cm
    assert torch.allclose(surface[34:44, 20:36], torch.tensor(-1.0), atol=1e-4)
    assert surface[~block()[0]].abs().max() == 0


def test_another_distance_of_the_camera_leaves_the_channels_as_they_are() -> None:
    level = torch.full((1, PX, PX), 0.5)
    level[BLOCK] -= BLOCK_M

    near, far = (depth_channels(depth, GRID)[0] for depth in (level, level + 0.3))

    assert torch.allclose(near, far, atol=1e-4)  # float32, of 0.8 m in cm


def test_the_mask_is_dilated_as_by_scipy_and_stays_soft() -> None:
    _, mask = depth_channels(scene(), (PX // 8, PX // 8))

    dilated = binary_dilation(block()[0].numpy(), np.ones((8, 8))).reshape(8, 8, 8, 8)  # rows, within, columns, within
    expected = dilated[:, 3:5, :, 3:5].mean(axis=(1, 3))  # bilinear, eight times smaller: the middle four
    assert np.array_equal(mask[0, 0].numpy(), expected)
    assert 0 < mask[mask > 0].min() < 1


@pytest.mark.parametrize("metres", [0.0, 0.5], ids=["nothing measured", "an empty belt"])
def test_a_scene_without_a_part_is_judged_everywhere(metres: float) -> None:
    channels, mask = depth_channels(torch.full((1, PX, PX), metres), GRID)

    assert torch.equal(channels, torch.zeros(1, 64, *GRID))
    assert torch.equal(mask, torch.ones(1, 1, *GRID))


def test_every_corner_missing_makes_all_that_was_measured_part() -> None:
    depth = torch.zeros(1, 1, PX, PX)
    depth[BLOCK] = 0.5

    on_part = foreground(depth)

    assert torch.equal(on_part[:, 0] > 0, block())


def test_each_image_is_prepared_by_itself() -> None:
    scenes = torch.cat([scene(), torch.zeros(1, PX, PX), plane() + 0.1 * torch.rand(1, PX, PX)])

    together = depth_channels(scenes, GRID)

    alone = [depth_channels(one[None], GRID) for one in scenes]
    assert torch.allclose(together[0], torch.cat([channels for channels, _ in alone]), atol=1e-5)  # sums in another order
    assert torch.equal(together[1], torch.cat([mask for _, mask in alone]))
