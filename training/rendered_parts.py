"""Draws realistic parts and their defects, so that the demo and the tests need no customer's pictures.

A part is a height field with reflectances, laid out once (training/rendering/surface.py); each picture adds machining marks of
its own, at most one defect, a lamp, a pose and sensor noise.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator, SeedSequence, default_rng
from numpy.typing import NDArray

from training.rendering.camera import expose, lamp, pose, project, shade
from training.rendering.defects import DEFECTS as DEFECTS
from training.rendering.defects import INFLICT, difference
from training.rendering.stencils import Field, where
from training.rendering.surface import design, individual


@dataclass(frozen=True, slots=True, eq=False)
class RenderedPart:
    image: NDArray[np.uint8]  # (H, W, 3) RGB
    mask: NDArray[np.uint8]  # (H, W) 0 or 255
    defect: str | None


def draw(rng: Generator, defect: str | None = None, width: int = 640, height: int = 480) -> RenderedPart:
    """One part; generators seeded alike give the same part, lamp, pose and noise with and without a defect.

    Other sizes show the 640 × 480 view scaled to fit. Raises ValueError for an unknown defect.
    """
    if defect is not None and defect not in INFLICT:
        raise ValueError(f"unknown defect {defect!r}: expected one of {', '.join(DEFECTS)}")
    scene, flaw, sensor = rng.spawn(3)
    good = individual(design(), scene)
    part = good if defect is None else INFLICT[defect](good, flaw)
    view = pose(scene, width, height)
    lit = shade(part, np.array([-0.50, -0.62, 1.0]) + scene.normal(0, 0.02, 3))
    seen = project(lit, view, width, height) * lamp(scene, width, height)
    mask = cv2.warpAffine(difference(good, part), view, (width, height))
    return RenderedPart(expose(seen, sensor), where(mask >= 64), defect)


def draw_height(rng: Generator, defect: str | None = None, width: int = 640, height: int = 480) -> Field:
    """(height, width): how high the part stands that `draw` draws with a generator seeded alike, in px of 640 × 480."""
    scene, flaw, _ = rng.spawn(3)
    good = individual(design(), scene)
    part = good if defect is None else INFLICT[defect](good, flaw)
    return np.asarray(cv2.warpAffine(part.height, pose(scene, width, height), (width, height)), np.float32)


def write_dataset(
    folder: Path, seed: int, train_good: int, test_good: int, defects_each: int, width: int = 640, height: int = 480
) -> None:
    """Parts in MVTec AD layout; part k of a kind is the same however many are drawn."""
    kinds = [("train", None, train_good), ("test", None, test_good), *(("test", d, defects_each) for d in DEFECTS)]
    for kind, (split, defect, count) in enumerate(kinds):
        for k in range(count):
            part = draw(default_rng(SeedSequence(seed, spawn_key=(kind, k))), defect, width, height)
            write_png(folder / split / (defect or "good") / f"{k:03d}.png", part.image[..., ::-1])
            if defect is not None:
                write_png(folder / "ground_truth" / defect / f"{k:03d}_mask.png", part.mask)


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """image: gray or BGR."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image):
        raise OSError(f"{path}: picture not written")
