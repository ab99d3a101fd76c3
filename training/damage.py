"""Good parts with painted damage, by which to judge what no defect need exist for yet: levels of a method, lower precision."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from agent.inspection import Depth, Image

Mask = NDArray[np.bool_]
_ROOM = 0.12  # share of each side that stays free of damage's middle
_VISIBLE = 12  # grey levels by which a damaged pixel differs at least


@dataclass(frozen=True, slots=True)
class Damaged:
    """A part with damage: image (H, W, 3) uint8, and mask (H, W), True where it was changed."""

    image: Image
    mask: Mask


def damage(image: Image, kind: str, seed: Sequence[int], inside: Mask) -> Damaged:
    """The image with one damage of a kind (KINDS), from faint to plain by chance; the same seed, the same damage.

    inside: (H, W), True where the part is inspected; damage elsewhere would show nothing.
    """
    random = default_rng(seed)
    shape = np.where(inside, _SHAPES[kind](inside, random), 0)
    strength = float(random.uniform(0.35, 1.0))
    painted = _FILLS[kind](image, random)
    mixed = np.rint(image + (painted - image.astype(np.float32)) * (strength * shape.astype(np.float32) / 255)[..., None])
    damaged = np.clip(mixed, 0, 255).astype(np.uint8)
    return Damaged(damaged, np.abs(damaged.astype(int) - image).max(axis=2) >= _VISIBLE)


def dented(depth: Depth, mask: Mask) -> Depth:
    """(H, W) metres, 4 mm farther away where the mask is and something was measured."""
    return np.where(mask & (depth > 0), depth + np.float32(0.004), depth)


def _spot(inside: Mask, random: Generator) -> Image:
    (height, width), shape = inside.shape, np.zeros(inside.shape, np.uint8)
    axes = [max(2, round(side * random.uniform(0.015, 0.06))) for side in (width, height)]
    cv2.ellipse(shape, _place(inside, random), axes, random.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA)
    return shape


def _line(inside: Mask, random: Generator) -> Image:
    (height, width), shape = inside.shape, np.zeros(inside.shape, np.uint8)
    start, turn = np.array(_place(inside, random)), random.uniform(0, 2 * np.pi)
    steps = random.uniform(0.03, 0.07, 5) * min(height, width)
    turns = turn + np.cumsum(random.normal(0, 0.4, 5))
    points = start + np.cumsum(np.stack([steps * np.cos(turns), steps * np.sin(turns)], axis=1), axis=0)
    thickness = max(1, round(min(height, width) / 256 * random.uniform(1, 3)))
    cv2.polylines(shape, [np.vstack([start, points]).astype(np.int32)], False, 255, thickness, cv2.LINE_AA)
    return shape


def _patch(inside: Mask, random: Generator) -> Image:
    (height, width), shape = inside.shape, np.zeros(inside.shape, np.uint8)
    x, y = _place(inside, random)
    half = [max(3, round(side * random.uniform(0.02, 0.08))) for side in (width, height)]
    cv2.rectangle(shape, (x - half[0], y - half[1]), (x + half[0], y + half[1]), 255, -1)
    return shape


def _place(inside: Mask, random: Generator) -> tuple[int, int]:
    height, width = inside.shape
    x, y = map(int, random.uniform(_ROOM, 1 - _ROOM, 2) * (width, height))
    if not inside[y, x]:
        y, x = random.choice(np.argwhere(inside)).tolist()
    return x, y


def _flat(image: Image, random: Generator) -> NDArray[np.float32]:
    """One grey, dark or bright."""
    grey = random.uniform(0, 60) if random.random() < 0.5 else random.uniform(195, 255)
    return np.full(image.shape, grey, np.float32)


def _colored(image: Image, random: Generator) -> NDArray[np.float32]:
    return np.broadcast_to(random.uniform(0, 255, 3).astype(np.float32), image.shape)


def _moved(image: Image, random: Generator) -> NDArray[np.float32]:
    """Another place of the same part."""
    height, width = image.shape[:2]
    by = (int(height * random.uniform(0.15, 0.4)), int(width * random.uniform(0.15, 0.4)))
    return np.roll(image, by, axis=(0, 1)).astype(np.float32)


def _rough(image: Image, random: Generator) -> NDArray[np.float32]:
    noise = random.normal(0, 60, image.shape[:2])[..., None]
    return np.asarray(image + noise, dtype=np.float32)


_SHAPES = {"spot": _spot, "scratch": _line, "stain": _spot, "misplaced": _patch, "rough": _patch}
_FILLS = {"spot": _flat, "scratch": _flat, "stain": _colored, "misplaced": _moved, "rough": _rough}
KINDS = tuple(_SHAPES)
