"""The golden photographs of a RUN: few of good parts, and some of them with a painted defect, for parity and self-test."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from agent.inspection import Depth, Image

GOLDEN = "golden"  # in the RUN
_GOOD, _DAMAGED = 4, 2


def golden_of(run: Path) -> tuple[Path, ...]:
    """At their own size, good ones first."""
    found = sorted((run / GOLDEN).glob("*.png"))
    return tuple(sorted(found, key=lambda p: not p.name.startswith("good")))


def write_golden(run: Path, originals: Sequence[Image], depths: Sequence[Depth | None], seed: int) -> None:
    """The first photographs as they are, and two of them with a painted defect, each with its depth beside it if it has any.

    originals: 8 bit, own size.
    """
    random = np.random.default_rng(seed)
    for k, image in enumerate(originals[:_GOOD]):
        _write_png(run / GOLDEN / f"good_{k}.png", image)
    for k, (image, paint) in enumerate(zip(originals[:_DAMAGED], (paint_blob, paint_scratch), strict=False)):
        _write_png(run / GOLDEN / f"damaged_{k}.png", paint(image, random))
    for k, depth in enumerate(depths[:_GOOD]):
        for name in (f"good_{k}.tiff", f"damaged_{k}.tiff")[: 2 if k < _DAMAGED else 1]:
            if depth is not None:
                _write(run / GOLDEN / name, depth)


def paint_blob(image: Image, random: np.random.Generator) -> Image:
    """The image with a spot near its middle, dark on bright ground and bright on dark."""
    height, width = image.shape[:2]
    center = (int(width * random.uniform(0.35, 0.65)), int(height * random.uniform(0.35, 0.65)))
    axes = (max(3, int(width * random.uniform(0.05, 0.09))), max(3, int(height * random.uniform(0.04, 0.07))))
    damaged = image.copy()
    cv2.ellipse(damaged, center, axes, random.uniform(0, 180), 0, 360, _contrast(image, center), -1, cv2.LINE_AA)
    return damaged


def paint_scratch(image: Image, random: np.random.Generator) -> Image:
    """The image with a crooked line across its middle."""
    height, width = image.shape[:2]
    x = np.linspace(0.25, 0.75, 8) + random.uniform(-0.03, 0.03, 8)
    y = np.linspace(random.uniform(0.25, 0.75), random.uniform(0.25, 0.75), 8) + random.uniform(-0.03, 0.03, 8)
    points = np.stack([x * width, y * height], axis=1).astype(np.int32)
    damaged = image.copy()
    color = _contrast(image, (width // 2, height // 2))
    cv2.polylines(damaged, [points], False, color, max(2, min(width, height) // 60), cv2.LINE_AA)
    return damaged


def _contrast(image: Image, at: tuple[int, int]) -> tuple[int, int, int]:
    return (20, 20, 20) if image[at[1], at[0]].mean() > 127 else (235, 235, 235)


def _write_png(path: Path, image: Image) -> None:
    _write(path, np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), dtype=np.uint8))


def _write(path: Path, picture: Image | Depth) -> None:
    path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())
