"""What is wrong with a part, done to its surface."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.rendering.stencils import CANVAS_PX, MARGIN_PX, Stencil, distance, region, share, where
from training.rendering.surface import FUSES_PX, PAPER, PRINTS_PX, Surface, design


@lru_cache(maxsize=1)
def _metal() -> NDArray[np.int64]:
    """Bare metal clear of its edges, (N, 2) as x, y of the layout."""
    metal = cv2.erode(np.linalg.norm(design().groove, axis=-1), np.ones((17, 17), np.uint8))
    return np.argwhere(metal > 0.9)[:, ::-1] - MARGIN_PX


def _scratch(part: Surface, rng: Generator) -> Surface:
    """A curved furrow with bright edges."""
    angle, length, bend = rng.uniform(0, 2 * np.pi), rng.uniform(70, 200), rng.normal(0, 0.15)
    along, t = np.array([np.cos(angle), np.sin(angle)]), np.linspace(-0.5, 0.5, 24)[:, None]
    line = rng.choice(_metal()) + MARGIN_PX + length * (t * along + bend * t**2 * along[::-1] * (-1, 1))
    furrow = np.zeros(part.height.shape, np.uint8)
    cv2.polylines(furrow, [np.asarray(line * 16, np.int32)], False, 255, int(rng.integers(2, 5)), cv2.LINE_AA, 4)
    depth = share(furrow) * (part.height > 2)
    torn = (0.4 - part.albedo) * (depth * rng.uniform(0.4, 0.9))[..., None]
    return replace(part, height=part.height - rng.uniform(1.0, 2.5) * depth, albedo=part.albedo + torn)


def _dent(part: Surface, rng: Generator) -> Surface:
    """An oval hollow that ends smoothly."""
    (x, y), radius = rng.choice(_metal()), rng.uniform(14, 30)
    hollow = np.maximum(1 - (distance(x, y, rng.uniform(0.8, 1.25)) / radius) ** 2, 0) ** 2 * (part.height > 2)
    return replace(part, height=part.height - radius * rng.uniform(0.25, 0.5) * hollow)


def _stain(part: Surface, rng: Generator) -> Surface:
    """Dried oil: brown, ragged, without the metal's sheen."""
    (x, y), radius = rng.choice(_metal()), rng.uniform(20, 48)
    ragged = cv2.resize(rng.standard_normal((34, 44), np.float32), CANVAS_PX, interpolation=cv2.INTER_CUBIC)
    inside = np.clip(2.5 * (1 + 0.3 * np.clip(ragged, -2, 2) - distance(x, y) / radius), 0, 1) * (part.height > 2)
    film = np.asarray(rng.uniform(0.6, 0.95) * inside, np.float32)[..., None]
    albedo = part.albedo * (1 - film * np.array([0.6, 0.8, 0.93], np.float32))
    return replace(part, albedo=albedo, groove=part.groove * (1 - 0.75 * film))


def _missing_print(part: Surface, rng: Generator) -> Surface:
    """A label without one or two of its prints."""
    albedo = part.albedo.copy()
    for box in rng.permutation(np.array(PRINTS_PX))[: rng.integers(1, 3)]:
        albedo[region(box)] = PAPER
    return replace(part, albedo=albedo)


def _wrong_order(part: Surface, rng: Generator) -> Surface:
    """Two fuses in each other's place."""
    first, second = (region(box) for box in rng.permutation(np.array(FUSES_PX))[:2])
    albedo = part.albedo.copy()
    albedo[first], albedo[second] = part.albedo[second], part.albedo[first]
    return replace(part, albedo=albedo)


INFLICT: dict[str, Callable[[Surface, Generator], Surface]] = {
    "scratch": _scratch,
    "dent": _dent,
    "stain": _stain,
    "missing_print": _missing_print,
    "wrong_order": _wrong_order,
}
DEFECTS: tuple[str, ...] = tuple(INFLICT)


def difference(good: Surface, part: Surface) -> Stencil:
    """Where the defect changed the surface."""
    height, color = cv2.absdiff(good.height, part.height), cv2.absdiff(good.albedo, part.albedo)
    most = np.maximum.reduce([height, *cv2.split(color)])
    return where(most > 1e-3)
