"""Depth for the drawn parts, as a camera above the belt measures it, and defects that only depth shows.

The picture of such a part is that of a good one, bit by bit: its surface is bent too gently for the lamp.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator, SeedSequence, default_rng
from numpy.typing import NDArray

from agent.inspection import Depth
from training.rendered_parts import DEFECTS, RenderedPart, draw, draw_height, write_png

DEPTH_DEFECTS = ("bulge", "sunken")
_BELT_M, _PER_PX_M = 0.500, 0.001  # camera to belt; a px of the part's height
_NOISE_M, _HOLES = 0.0001, 0.004  # deviation of a measurement, share of pixels without one
_STEEP_PX = 5.0  # rise per px beyond which nothing comes back
_DEEPEST_PX, _RADIUS_PX = (3.0, 5.0), (30.0, 45.0)  # of a bend, in px of a 640 x 480 view
_PLACES = (150.0, 130.0, 480.0, 350.0)  # x0, y0, x1, y1 of its middle: on the plate
_VISIBLE_PX = 0.5
_OF_DEPTH = 7  # far from what `draw` spawns


def draw_with_depth(seed: SeedSequence, defect: str | None, width: int = 640, height: int = 480) -> tuple[RenderedPart, Depth]:
    """One part and its depth (height, width) float32 metres, 0 where nothing was measured. defect: of DEFECTS or DEPTH_DEFECTS.

    Raises ValueError for another defect.
    """
    seen = None if defect in DEPTH_DEFECTS else defect
    part = draw(_generator(seed), seen, width, height)
    rise = draw_height(_generator(seed), seen, width, height)
    random = _generator(seed, _OF_DEPTH)
    bend = np.zeros_like(rise)
    if defect in DEPTH_DEFECTS:
        bend = _bend(random, width, height) * (1 if defect == "bulge" else -1)
        part = RenderedPart(part.image, np.where(np.abs(bend) > _VISIBLE_PX, 255, 0).astype(np.uint8), defect)
    return part, _measured(rise + bend, random)


def write_depth_dataset(
    folder: Path, seed: int, train_good: int, test_good: int, defects_each: int, width: int = 640, height: int = 480
) -> None:
    """Parts in MVTec 3D-AD layout: rgb/, xyz/ and, of defects, gt/; part k of a kind is the same however many are drawn."""
    defective = [("test", defect, defects_each) for defect in (*DEFECTS, *DEPTH_DEFECTS)]
    kinds = [("train", None, train_good), ("test", None, test_good), *defective]
    for kind, (split, defect, count) in enumerate(kinds):
        of_kind = folder / split / (defect or "good")
        for k in range(count):
            part, depth = draw_with_depth(SeedSequence(seed, spawn_key=(kind, k)), defect, width, height)
            write_png(of_kind / "rgb" / f"{k:03d}.png", part.image[..., ::-1])
            _write_xyz(of_kind / "xyz" / f"{k:03d}.tiff", depth)
            if defect is not None:
                write_png(of_kind / "gt" / f"{k:03d}.png", part.mask)


def _generator(seed: SeedSequence, *key: int) -> Generator:
    """Always the same: a sequence remembers what it has spawned, its entropy does not."""
    return default_rng(SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, *key)))


def _bend(random: Generator, width: int, height: int) -> NDArray[np.float32]:
    """(height, width) px: a round dome, as high as a few px and much wider."""
    scale = min(width / 640, height / 480)
    x0, y0, x1, y1 = _PLACES
    x, y = random.uniform(x0, x1) * width / 640, random.uniform(y0, y1) * height / 480
    radius = random.uniform(*_RADIUS_PX) * scale
    rows, columns = np.mgrid[:height, :width]
    squared = ((columns - x) ** 2 + (rows - y) ** 2) / radius**2
    dome: NDArray[np.float32] = (random.uniform(*_DEEPEST_PX) * np.exp(-2 * squared)).astype(np.float32)
    return dome


def _measured(rise_px: NDArray[np.float32], random: Generator) -> Depth:
    """Metres from the camera, with noise, and holes at steep edges and by chance."""
    slope = np.hypot(cv2.Sobel(rise_px, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(rise_px, cv2.CV_32F, 0, 1, scale=1 / 8))
    depth = _BELT_M - _PER_PX_M * rise_px + random.normal(0, _NOISE_M, rise_px.shape)
    is_hole = (slope > _STEEP_PX) | (random.random(rise_px.shape) < _HOLES)
    return np.where(is_hole, 0, depth).astype(np.float32)


def _write_xyz(path: Path, depth: Depth) -> None:
    """x and y in metres as a scanner gives them, z the depth."""
    rows, columns = np.mgrid[: depth.shape[0], : depth.shape[1]].astype(np.float32)
    x, y = (columns - depth.shape[1] / 2) * _PER_PX_M, (rows - depth.shape[0] / 2) * _PER_PX_M
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), np.dstack([depth, y, x])):  # OpenCV turns the order round
        raise OSError(f"{path}: depth not written")
