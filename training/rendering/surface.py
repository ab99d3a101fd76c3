"""The part that is drawn: its design, the same for all, and the marks that each one has of its own.

A milled cover with a turned bore, screws, a printed label and a row of fuses whose order matters.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import ArrayLike

from training.rendering.stencils import (
    CANVAS_PX,
    FINE,
    MARGIN_PX,
    Field,
    Stencil,
    blank,
    discs,
    distance,
    fine,
    rectangle,
    region,
    share,
    shrink,
    step,
    where,
    written,
)

_PLATE_PX, _HOLDER_PX, _LABEL_PX = (60, 60, 580, 420), (306, 96, 526, 216), (306, 250, 504, 384)
_BORE_PX, _BORE_RADIUS_PX = (196, 240), 86
_SCREWS_PX, _DOWELS_PX = ((94, 96), (546, 96), (94, 384), (546, 384)), ((196, 118), (196, 362))
FUSES_PX = tuple((x, 114, x + 44, 198) for x in (318, 368, 418, 468))
_FUSE_COLORS = ((0.50, 0.03, 0.03), (0.02, 0.13, 0.42), (0.66, 0.42, 0.02), (0.03, 0.28, 0.08))
_FUSE_TEXT = [(a, box[0] + 8, 166, 0.75, 4) for a, box in zip(("10", "15", "20", "30"), FUSES_PX, strict=True)]
_ENGRAVING = [("KENSA", 398, 240, 0.6, 3), ("X1", 76, 246, 0.5, 3)]
_LABEL_TEXT = [
    ("PDU-4", 315, 278, 0.85, 5),
    ("PN 4711-08", 316, 301, 0.5, 3),
    ("24V 30A IP67", 316, 323, 0.42, 3),
    ("SN 2308 0417", 352, 377, 0.4, 3),
]
_CODE_PX, _BARS_PX = (432, 260, 496, 324), (318, 336, 494, 364)
PRINTS_PX = ((312, 256, 424, 282), (312, 284, 424, 306), (312, 306, 428, 330), _CODE_PX, (312, 334, 498, 380))
PAPER, _INK, _STEEL, _DARK_STEEL, _PLASTIC, _BELT = 0.60, 0.09, 0.13, 0.05, 0.018, 0.030  # reflectance, 0 to 1


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """What the light falls on, canvas size."""

    height: Field  # (H, W) px above the belt
    albedo: Field  # (H, W, 3) RGB, linear, 0 to 1
    gloss: Field  # (H, W) strength of the mirror reflection
    groove: Field  # (H, W, 2) direction of the machining marks; its length is the strength of their sheen
    exposure: Field  # (H, W) share of the light that arrives, 0 to 1: shadows and corners


@lru_cache(maxsize=1)
def design() -> Surface:
    """The part without any marks of its own."""
    plate, holder, label = rectangle(_PLATE_PX, 28), rectangle(_HOLDER_PX, 8), rectangle(_LABEL_PX, 5)
    bore, screws, dowels = discs((_BORE_PX,), _BORE_RADIUS_PX), discs(_SCREWS_PX, 15), discs(_DOWELS_PX, 11)
    fuses = [rectangle(box, 5) for box in FUSES_PX]
    contacts = [rectangle((x + 9, 122, x + 35, 127), 2) for x, *_ in FUSES_PX]

    height = step(plate, 12, 5) + step(bore, -9, 3) + step(discs((_BORE_PX,), 26), 14, 3)
    height += step(discs((_BORE_PX,), 13), -30, 3) + step(dowels, -20, 3)
    height += step(discs(_SCREWS_PX, 18), -4, 2) + step(screws, 7, 8) + step(_sockets(7), -9, 2)
    height += step(holder, 8, 3) + step(label, 0.8, 1) + step(np.maximum.reduce(fuses), 7, 6)
    height -= 0.7 * share(written(_ENGRAVING)) + 1.5 * share(np.maximum.reduce(contacts))

    albedo = np.full((*plate.shape, 3), _BELT, np.float32)
    paints: list[tuple[Stencil, ArrayLike]] = [(plate, _STEEL), (screws, _DARK_STEEL), (dowels, _DARK_STEEL)]
    paints += [(holder, _PLASTIC), (label, PAPER), (_label_print(), _INK), *zip(fuses, _FUSE_COLORS, strict=True)]
    paints += [(written(_FUSE_TEXT), 0.8), (np.maximum.reduce(contacts), 0.3)]
    for stencil, color in paints:
        albedo += (np.asarray(color, np.float32) - albedo) * share(stencil)[..., None]

    bare = shrink(share(plate - np.maximum.reduce([holder, label, screws, dowels])))[..., None]
    y, x = np.ogrid[: CANVAS_PX[1], : CANVAS_PX[0]]
    around = np.dstack(np.broadcast_arrays(_BORE_PX[1] + MARGIN_PX - y, x - _BORE_PX[0] - MARGIN_PX))
    from_axis = distance(*_BORE_PX)[..., None]
    groove = np.where(from_axis < _BORE_RADIUS_PX, around / np.maximum(from_axis, 1), (1.0, 0.0)) * bare
    gloss = 0.25 * share(plate) + 0.2 * share(np.maximum.reduce([screws, *fuses]))
    gloss -= 0.15 * share(holder) + 0.2 * share(label)
    height = shrink(np.asarray(cv2.GaussianBlur(height, (0, 0), 1.6), np.float32))
    return Surface(height, shrink(albedo), shrink(gloss), np.asarray(groove, np.float32), _unshaded(height))


def _sockets(radius_px: int) -> Stencil:
    """The screws' hexagons, each turned by an angle of its own."""
    stencil, axes = blank(), (radius_px * FINE, radius_px * FINE)
    for x, y in _SCREWS_PX:
        corners = cv2.ellipse2Poly(fine(x, y), axes, x * y, 0, 360, 60)
        cv2.fillPoly(stencil, [np.array(corners, np.int32)], 255)
    return stencil


def _label_print() -> Stencil:
    """Text, something like a data matrix and something like a bar code."""
    stencil = written(_LABEL_TEXT)
    bits = default_rng(16).integers(0, 2, (12, 12), np.uint8)
    bits[:, 0], bits[-1], bits[0], bits[1:, -1] = 1, 1, np.arange(1, 13) % 2, np.arange(11) % 2
    bars = np.repeat(np.arange(180, dtype=np.uint8) % 2, default_rng(39).integers(2, 6, 180))
    for (x0, y0, x1, y1), code in ((fine(*_CODE_PX), bits), (fine(*_BARS_PX), bars[None, :176])):
        size = (x1 - x0, y1 - y0)
        stencil[y0:y1, x0:x1] = cv2.resize(code * 255, size, interpolation=cv2.INTER_NEAREST)
    return stencil


def _unshaded(height: Field) -> Field:
    """What walls towards the lamp (upper left) and narrow corners leave of the light, 0 to 1."""
    wall = np.full_like(height, -99)
    for reach in range(1, 17):
        lean = np.array([[1, 0, 0.62 * reach], [0, 1, 0.78 * reach]])
        wall = np.maximum(wall, cv2.warpAffine(height, lean, CANVAS_PX) - 1.3 * reach)
    shadow = cv2.GaussianBlur(np.clip((wall - height) / 2, 0, 1), (0, 0), 1.2)
    corner = np.clip((cv2.GaussianBlur(height, (0, 0), 5) - height) / 14, 0, 0.6)
    return np.asarray((1 - 0.7 * shadow) * (1 - corner), np.float32)


@lru_cache(maxsize=1)
def _stock() -> tuple[Field, Field, Field]:
    """Brushing, belt and mottle to cut from, twice as wide and high as the canvas; unit variance."""
    rng, (w, h) = default_rng(7), (2 * CANVAS_PX[0], 2 * CANVAS_PX[1])
    noise, fine, coarse = (rng.standard_normal(shape, np.float32) for shape in ((h, w), (h, w), (h // 24, w // 24)))
    y, x = np.ogrid[:h, :w]
    weave = np.sin((x + y) * 0.8) * np.sin((x - y) * 0.8)
    brushing = cv2.blur(noise, (151, 1)) + 0.5 * cv2.blur(fine, (41, 1))
    fields = (
        brushing,
        weave + cv2.GaussianBlur(fine, (0, 0), 1.2),
        cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC),
    )
    brushing, belt, mottle = (np.asarray(field / field.std(), np.float32) for field in fields)
    return brushing, belt, mottle


def _cut(stock: Field, rng: Generator) -> Field:
    x, y = rng.integers(0, CANVAS_PX)
    return stock[y : y + CANVAS_PX[1], x : x + CANVAS_PX[0]]


@lru_cache(maxsize=1)
def _grounds() -> tuple[Field, Field]:
    """Where the part is brushed and where the belt is seen, (H, W), 0 to 1."""
    brushed = design().groove[..., 0] * (distance(*_BORE_PX) >= _BORE_RADIUS_PX)
    return brushed, share(where(shrink(share(rectangle(_PLATE_PX, 28))) == 0))


def individual(design: Surface, rng: Generator) -> Surface:
    """One part: brushed, turned and printed a little otherwise than any other, on its own piece of belt."""
    (brushing, belt, mottle), (brushed, ground) = _stock(), _grounds()
    height = design.height + 0.09 * brushed * _cut(brushing, rng) + 0.25 * ground * _cut(belt, rng)
    bore = region((_BORE_PX[0] - 80, _BORE_PX[1] - 80, _BORE_PX[0] + 81, _BORE_PX[1] + 81))
    turning = np.sin(np.arange(160) * 0.7) + rng.standard_normal(160)
    from_axis = distance(*_BORE_PX)[bore]
    height[bore] += 0.08 * np.interp(2 * from_axis, np.arange(160), turning) * (from_axis < 80)
    albedo = design.albedo * (1 + 0.07 * brushed * _cut(mottle, rng))[..., None]
    for box in FUSES_PX:
        albedo[region(box)] *= rng.normal(1, 0.04)
    return replace(design, height=height, albedo=albedo)
