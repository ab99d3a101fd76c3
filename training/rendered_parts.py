"""Draws realistic parts and their defects, so that the demo and the tests need no customer's pictures.

The part is a milled cover with a turned bore, screws, a printed label and a row of fuses whose order matters. It is a
height field with reflectances (`_Surface`), laid out once; each picture adds machining marks of its own, at most one
defect, a lamp, a pose and sensor noise.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator, SeedSequence, default_rng
from numpy.typing import ArrayLike, NDArray

Field = NDArray[np.float32]
Stencil = NDArray[np.uint8]  # 0 or 255
Box = tuple[int, int, int, int]  # x0, y0, x1, y1
Text = tuple[str, int, int, float, int]  # text, x, y of its lower left, size, stroke

# The layout is in px of a 640 × 480 view. The canvas adds a margin for the pose to move in; stencils are drawn finer.
_VIEW_PX, _MARGIN_PX, _FINE = (640, 480), 32, 2
_CANVAS_PX = (_VIEW_PX[0] + 2 * _MARGIN_PX, _VIEW_PX[1] + 2 * _MARGIN_PX)
_PLATE_PX, _HOLDER_PX, _LABEL_PX = (60, 60, 580, 420), (306, 96, 526, 216), (306, 250, 504, 384)
_BORE_PX, _BORE_RADIUS_PX = (196, 240), 86
_SCREWS_PX, _DOWELS_PX = ((94, 96), (546, 96), (94, 384), (546, 384)), ((196, 118), (196, 362))
_FUSES_PX = tuple((x, 114, x + 44, 198) for x in (318, 368, 418, 468))
_FUSE_COLORS = ((0.50, 0.03, 0.03), (0.02, 0.13, 0.42), (0.66, 0.42, 0.02), (0.03, 0.28, 0.08))
_FUSE_TEXT = [(a, box[0] + 8, 166, 0.75, 4) for a, box in zip(("10", "15", "20", "30"), _FUSES_PX, strict=True)]
_ENGRAVING = [("KENSA", 398, 240, 0.6, 3), ("X1", 76, 246, 0.5, 3)]
_LABEL_TEXT = [
    ("PDU-4", 315, 278, 0.85, 5),
    ("PN 4711-08", 316, 301, 0.5, 3),
    ("24V 30A IP67", 316, 323, 0.42, 3),
    ("SN 2308 0417", 352, 377, 0.4, 3),
]
_CODE_PX, _BARS_PX = (432, 260, 496, 324), (318, 336, 494, 364)
_PRINTS_PX = ((312, 256, 424, 282), (312, 284, 424, 306), (312, 306, 428, 330), _CODE_PX, (312, 334, 498, 380))
_PAPER, _INK, _STEEL, _DARK_STEEL, _PLASTIC, _BELT = 0.60, 0.09, 0.13, 0.05, 0.018, 0.030  # reflectance, 0 to 1


@dataclass(frozen=True, slots=True, eq=False)
class RenderedPart:
    image: NDArray[np.uint8]  # (H, W, 3) RGB
    mask: NDArray[np.uint8]  # (H, W) 0 or 255
    defect: str | None


@dataclass(frozen=True, slots=True, eq=False)
class _Surface:
    """What the light falls on, canvas size."""

    height: Field  # (H, W) px above the belt
    albedo: Field  # (H, W, 3) RGB, linear, 0 to 1
    gloss: Field  # (H, W) strength of the mirror reflection
    groove: Field  # (H, W, 2) direction of the machining marks; its length is the strength of their sheen
    exposure: Field  # (H, W) share of the light that arrives, 0 to 1: shadows and corners


def draw(rng: Generator, defect: str | None = None, width: int = 640, height: int = 480) -> RenderedPart:
    """One part; generators seeded alike give the same part, lamp, pose and noise with and without a defect.

    Other sizes show the 640 × 480 view scaled to fit. Raises ValueError for an unknown defect.
    """
    if defect is not None and defect not in _INFLICT:
        raise ValueError(f"unknown defect {defect!r}: expected one of {', '.join(DEFECTS)}")
    scene, flaw, sensor = rng.spawn(3)
    good = _individual(_design(), scene)
    part = good if defect is None else _INFLICT[defect](good, flaw)
    view = _view(scene, width, height)
    lit = _shade(part, np.array([-0.50, -0.62, 1.0]) + scene.normal(0, 0.02, 3))
    seen = _project(lit, view, width, height) * _lamp(scene, width, height)
    mask = cv2.warpAffine(_difference(good, part), view, (width, height))
    return RenderedPart(_expose(seen, sensor), _where(mask >= 64), defect)


def draw_height(rng: Generator, defect: str | None = None, width: int = 640, height: int = 480) -> Field:
    """(height, width): how high the part stands that `draw` draws with a generator seeded alike, in px of 640 × 480."""
    scene, flaw, _ = rng.spawn(3)
    good = _individual(_design(), scene)
    part = good if defect is None else _INFLICT[defect](good, flaw)
    return np.asarray(cv2.warpAffine(part.height, _view(scene, width, height), (width, height)), np.float32)


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


# --- the design, the same for all parts ---


@lru_cache(maxsize=1)
def _design() -> _Surface:
    plate, holder, label = _rectangle(_PLATE_PX, 28), _rectangle(_HOLDER_PX, 8), _rectangle(_LABEL_PX, 5)
    bore, screws, dowels = _discs((_BORE_PX,), _BORE_RADIUS_PX), _discs(_SCREWS_PX, 15), _discs(_DOWELS_PX, 11)
    fuses = [_rectangle(box, 5) for box in _FUSES_PX]
    contacts = [_rectangle((x + 9, 122, x + 35, 127), 2) for x, *_ in _FUSES_PX]

    height = _step(plate, 12, 5) + _step(bore, -9, 3) + _step(_discs((_BORE_PX,), 26), 14, 3)
    height += _step(_discs((_BORE_PX,), 13), -30, 3) + _step(dowels, -20, 3)
    height += _step(_discs(_SCREWS_PX, 18), -4, 2) + _step(screws, 7, 8) + _step(_sockets(7), -9, 2)
    height += _step(holder, 8, 3) + _step(label, 0.8, 1) + _step(np.maximum.reduce(fuses), 7, 6)
    height -= 0.7 * _share(_written(_ENGRAVING)) + 1.5 * _share(np.maximum.reduce(contacts))

    albedo = np.full((*plate.shape, 3), _BELT, np.float32)
    paints: list[tuple[Stencil, ArrayLike]] = [(plate, _STEEL), (screws, _DARK_STEEL), (dowels, _DARK_STEEL)]
    paints += [(holder, _PLASTIC), (label, _PAPER), (_label_print(), _INK), *zip(fuses, _FUSE_COLORS, strict=True)]
    paints += [(_written(_FUSE_TEXT), 0.8), (np.maximum.reduce(contacts), 0.3)]
    for stencil, color in paints:
        albedo += (np.asarray(color, np.float32) - albedo) * _share(stencil)[..., None]

    bare = _shrink(_share(plate - np.maximum.reduce([holder, label, screws, dowels])))[..., None]
    y, x = np.ogrid[: _CANVAS_PX[1], : _CANVAS_PX[0]]
    around = np.dstack(np.broadcast_arrays(_BORE_PX[1] + _MARGIN_PX - y, x - _BORE_PX[0] - _MARGIN_PX))
    from_axis = _distance(*_BORE_PX)[..., None]
    groove = np.where(from_axis < _BORE_RADIUS_PX, around / np.maximum(from_axis, 1), (1.0, 0.0)) * bare
    gloss = 0.25 * _share(plate) + 0.2 * _share(np.maximum.reduce([screws, *fuses]))
    gloss -= 0.15 * _share(holder) + 0.2 * _share(label)
    height = _shrink(np.asarray(cv2.GaussianBlur(height, (0, 0), 1.6), np.float32))
    return _Surface(height, _shrink(albedo), _shrink(gloss), np.asarray(groove, np.float32), _unshaded(height))


def _stencil() -> Stencil:
    return np.zeros((_CANVAS_PX[1] * _FINE, _CANVAS_PX[0] * _FINE), np.uint8)


def _fine(*position_px: int) -> list[int]:
    return [(v + _MARGIN_PX) * _FINE for v in position_px]


def _rectangle(box_px: Box, corner_px: int) -> Stencil:
    (x0, y0, x1, y1), r = _fine(*box_px), corner_px * _FINE
    stencil = _stencil()
    stencil[y0 + r : y1 - r, x0 + r : x1 - r] = 255
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1))
    return np.asarray(cv2.dilate(stencil, brush), np.uint8)


def _discs(centers_px: tuple[tuple[int, int], ...], radius_px: int) -> Stencil:
    stencil = _stencil()
    for center in centers_px:
        cv2.circle(stencil, _fine(*center), radius_px * _FINE, 255, -1)
    return stencil


def _sockets(radius_px: int) -> Stencil:
    """The screws' hexagons, each turned by an angle of its own."""
    stencil, axes = _stencil(), (radius_px * _FINE, radius_px * _FINE)
    for x, y in _SCREWS_PX:
        corners = cv2.ellipse2Poly(_fine(x, y), axes, x * y, 0, 360, 60)
        cv2.fillPoly(stencil, [np.array(corners, np.int32)], 255)
    return stencil


def _written(texts: list[Text]) -> Stencil:
    stencil = _stencil()
    for text, x, y, size, stroke in texts:
        cv2.putText(stencil, text, _fine(x, y), cv2.FONT_HERSHEY_SIMPLEX, size * _FINE, 255, stroke, cv2.LINE_AA)
    return stencil


def _label_print() -> Stencil:
    """Text, something like a data matrix and something like a bar code."""
    stencil = _written(_LABEL_TEXT)
    bits = default_rng(16).integers(0, 2, (12, 12), np.uint8)
    bits[:, 0], bits[-1], bits[0], bits[1:, -1] = 1, 1, np.arange(1, 13) % 2, np.arange(11) % 2
    bars = np.repeat(np.arange(180, dtype=np.uint8) % 2, default_rng(39).integers(2, 6, 180))
    for (x0, y0, x1, y1), code in ((_fine(*_CODE_PX), bits), (_fine(*_BARS_PX), bars[None, :176])):
        size = (x1 - x0, y1 - y0)
        stencil[y0:y1, x0:x1] = cv2.resize(code * 255, size, interpolation=cv2.INTER_NEAREST)
    return stencil


def _where(condition: NDArray[np.bool_]) -> Stencil:
    return np.asarray(condition, np.uint8) * np.uint8(255)


def _share(stencil: Stencil) -> Field:
    return stencil.astype(np.float32) / np.float32(255)


def _step(stencil: Stencil, rise_px: float, edge_px: float) -> Field:
    """A plateau, or a pit where rise is negative, with a round edge; px."""
    slope = np.minimum(cv2.distanceTransform(stencil, cv2.DIST_L2, 5) / (edge_px * _FINE), 1)
    return np.asarray(rise_px * slope * (2 - slope), np.float32)


def _shrink(fine: Field) -> Field:
    return np.asarray(cv2.resize(fine, _CANVAS_PX, interpolation=cv2.INTER_AREA), np.float32)


def _distance(x_px: float, y_px: float, stretch: float = 1.0) -> Field:
    """Distance from a point of the layout, (H, W) px of the canvas."""
    y, x = np.ogrid[: _CANVAS_PX[1], : _CANVAS_PX[0]]
    squared = (x - x_px - _MARGIN_PX) ** 2 + (stretch * (y - y_px - _MARGIN_PX)) ** 2
    return np.asarray(np.sqrt(squared), np.float32)


def _unshaded(height: Field) -> Field:
    """What walls towards the lamp (upper left) and narrow corners leave of the light, 0 to 1."""
    wall = np.full_like(height, -99)
    for reach in range(1, 17):
        lean = np.array([[1, 0, 0.62 * reach], [0, 1, 0.78 * reach]])
        wall = np.maximum(wall, cv2.warpAffine(height, lean, _CANVAS_PX) - 1.3 * reach)
    shadow = cv2.GaussianBlur(np.clip((wall - height) / 2, 0, 1), (0, 0), 1.2)
    corner = np.clip((cv2.GaussianBlur(height, (0, 0), 5) - height) / 14, 0, 0.6)
    return np.asarray((1 - 0.7 * shadow) * (1 - corner), np.float32)


# --- one part's own marks ---


@lru_cache(maxsize=1)
def _stock() -> tuple[Field, Field, Field]:
    """Brushing, belt and mottle to cut from, twice as wide and high as the canvas; unit variance."""
    rng, (w, h) = default_rng(7), (2 * _CANVAS_PX[0], 2 * _CANVAS_PX[1])
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
    x, y = rng.integers(0, _CANVAS_PX)
    return stock[y : y + _CANVAS_PX[1], x : x + _CANVAS_PX[0]]


@lru_cache(maxsize=1)
def _grounds() -> tuple[Field, Field]:
    """Where the part is brushed and where the belt is seen, (H, W), 0 to 1."""
    brushed = _design().groove[..., 0] * (_distance(*_BORE_PX) >= _BORE_RADIUS_PX)
    return brushed, _share(_where(_shrink(_share(_rectangle(_PLATE_PX, 28))) == 0))


def _individual(design: _Surface, rng: Generator) -> _Surface:
    (brushing, belt, mottle), (brushed, ground) = _stock(), _grounds()
    height = design.height + 0.09 * brushed * _cut(brushing, rng) + 0.25 * ground * _cut(belt, rng)
    bore = _region((_BORE_PX[0] - 80, _BORE_PX[1] - 80, _BORE_PX[0] + 81, _BORE_PX[1] + 81))
    turning = np.sin(np.arange(160) * 0.7) + rng.standard_normal(160)
    from_axis = _distance(*_BORE_PX)[bore]
    height[bore] += 0.08 * np.interp(2 * from_axis, np.arange(160), turning) * (from_axis < 80)
    albedo = design.albedo * (1 + 0.07 * brushed * _cut(mottle, rng))[..., None]
    for box in _FUSES_PX:
        albedo[_region(box)] *= rng.normal(1, 0.04)
    return replace(design, height=height, albedo=albedo)


def _region(box_px: Box) -> tuple[slice, slice]:
    """Rows and columns of the canvas."""
    x0, y0, x1, y1 = (v + _MARGIN_PX for v in box_px)
    return slice(y0, y1), slice(x0, x1)


# --- defects ---


@lru_cache(maxsize=1)
def _metal() -> NDArray[np.int64]:
    """Bare metal clear of its edges, (N, 2) as x, y of the layout."""
    metal = cv2.erode(np.linalg.norm(_design().groove, axis=-1), np.ones((17, 17), np.uint8))
    return np.argwhere(metal > 0.9)[:, ::-1] - _MARGIN_PX


def _scratch(part: _Surface, rng: Generator) -> _Surface:
    """A curved furrow with bright edges."""
    angle, length, bend = rng.uniform(0, 2 * np.pi), rng.uniform(70, 200), rng.normal(0, 0.15)
    along, t = np.array([np.cos(angle), np.sin(angle)]), np.linspace(-0.5, 0.5, 24)[:, None]
    line = rng.choice(_metal()) + _MARGIN_PX + length * (t * along + bend * t**2 * along[::-1] * (-1, 1))
    furrow = np.zeros(part.height.shape, np.uint8)
    cv2.polylines(furrow, [np.asarray(line * 16, np.int32)], False, 255, int(rng.integers(2, 5)), cv2.LINE_AA, 4)
    depth = _share(furrow) * (part.height > 2)
    torn = (0.4 - part.albedo) * (depth * rng.uniform(0.4, 0.9))[..., None]
    return replace(part, height=part.height - rng.uniform(1.0, 2.5) * depth, albedo=part.albedo + torn)


def _dent(part: _Surface, rng: Generator) -> _Surface:
    """An oval hollow that ends smoothly."""
    (x, y), radius = rng.choice(_metal()), rng.uniform(14, 30)
    hollow = np.maximum(1 - (_distance(x, y, rng.uniform(0.8, 1.25)) / radius) ** 2, 0) ** 2 * (part.height > 2)
    return replace(part, height=part.height - radius * rng.uniform(0.25, 0.5) * hollow)


def _stain(part: _Surface, rng: Generator) -> _Surface:
    """Dried oil: brown, ragged, without the metal's sheen."""
    (x, y), radius = rng.choice(_metal()), rng.uniform(20, 48)
    ragged = cv2.resize(rng.standard_normal((34, 44), np.float32), _CANVAS_PX, interpolation=cv2.INTER_CUBIC)
    inside = np.clip(2.5 * (1 + 0.3 * np.clip(ragged, -2, 2) - _distance(x, y) / radius), 0, 1) * (part.height > 2)
    film = np.asarray(rng.uniform(0.6, 0.95) * inside, np.float32)[..., None]
    albedo = part.albedo * (1 - film * np.array([0.6, 0.8, 0.93], np.float32))
    return replace(part, albedo=albedo, groove=part.groove * (1 - 0.75 * film))


def _missing_print(part: _Surface, rng: Generator) -> _Surface:
    """A label without one or two of its prints."""
    albedo = part.albedo.copy()
    for box in rng.permutation(np.array(_PRINTS_PX))[: rng.integers(1, 3)]:
        albedo[_region(box)] = _PAPER
    return replace(part, albedo=albedo)


def _wrong_order(part: _Surface, rng: Generator) -> _Surface:
    """Two fuses in each other's place."""
    first, second = (_region(box) for box in rng.permutation(np.array(_FUSES_PX))[:2])
    albedo = part.albedo.copy()
    albedo[first], albedo[second] = part.albedo[second], part.albedo[first]
    return replace(part, albedo=albedo)


_INFLICT: dict[str, Callable[[_Surface, Generator], _Surface]] = {
    "scratch": _scratch,
    "dent": _dent,
    "stain": _stain,
    "missing_print": _missing_print,
    "wrong_order": _wrong_order,
}
DEFECTS: tuple[str, ...] = tuple(_INFLICT)


def _difference(good: _Surface, part: _Surface) -> Stencil:
    """Where the defect changed the surface."""
    height, color = cv2.absdiff(good.height, part.height), cv2.absdiff(good.albedo, part.albedo)
    most = np.maximum.reduce([height, *cv2.split(color)])
    return _where(most > 1e-3)


# --- light and camera ---


def _shade(part: _Surface, towards_lamp: NDArray[np.float64]) -> Field:
    """Light sent up to the camera, (H, W, 3) linear RGB: Lambert, Blinn, and Kajiya and Kay along machining marks."""
    light = towards_lamp / np.linalg.norm(towards_lamp)
    half = light + np.array([0, 0, 1])
    (lx, ly, lz), (hx, hy, hz) = map(float, light), map(float, half / np.linalg.norm(half))
    slope_x, slope_y = (cv2.Sobel(part.height, cv2.CV_32F, *axis, scale=1 / 8) for axis in ((1, 0), (0, 1)))
    steep = cv2.sqrt(1 + slope_x**2 + slope_y**2)
    facing = np.maximum(lz - lx * slope_x - ly * slope_y, 0) / steep
    mirror = cv2.pow(np.maximum(hz - hx * slope_x - hy * slope_y, 0) / steep, 32)
    groove_x, groove_y = part.groove[..., 0], part.groove[..., 1]
    along = groove_x * (hx + slope_x * hz) + groove_y * (hy + slope_y * hz)
    sheen = (groove_x**2 + groove_y**2) * cv2.pow(np.maximum(1 - along**2, 0), 10) * facing
    diffuse, shine = part.exposure * (0.2 + 0.9 * facing), part.exposure * (0.5 * sheen + part.gloss * mirror)
    return np.asarray(part.albedo * diffuse[..., None] + shine[..., None], np.float32)


def _view(rng: Generator, width: int, height: int) -> NDArray[np.float64]:
    """(2, 3) affine map from canvas to picture: up to 2 px, mostly under 1 and never over 2 degrees off."""
    scale = min(width / _VIEW_PX[0], height / _VIEW_PX[1])
    center = _CANVAS_PX[0] / 2, _CANVAS_PX[1] / 2
    view = np.asarray(cv2.getRotationMatrix2D(center, float(np.clip(rng.normal(0, 0.35), -2, 2)), scale), np.float64)
    view[:, 2] += np.array([width, height]) / 2 - center + rng.uniform(-2, 2, 2) * scale
    return view


def _project(lit: Field, view: NDArray[np.float64], width: int, height: int) -> Field:
    """(height, width, 3) linear RGB through a lens that blurs slightly, and no finer than the picture can show."""
    blur_px = max(0.6, 0.45 / float(np.hypot(view[0, 0], view[0, 1])))
    seen = cv2.warpAffine(cv2.GaussianBlur(lit, (0, 0), blur_px), view, (width, height), borderMode=cv2.BORDER_REFLECT)
    return np.asarray(seen, np.float32)


def _lamp(rng: Generator, width: int, height: int) -> Field:
    """How the light falls off over the picture, (height, width, 1): brightness, slant, vignetting."""
    y, x = np.linspace(-1, 1, height)[:, None, None], np.linspace(-1, 1, width)[:, None]
    slant_x, slant_y = rng.normal((-0.12, -0.09), 0.025)
    lamp = rng.normal(1, 0.03) * (1 + slant_x * x + slant_y * y) * (1 - 0.17 * (x**2 + y**2))
    return np.asarray(lamp, np.float32)


def _expose(seen: Field, rng: Generator) -> NDArray[np.uint8]:
    """uint8 RGB with noise. The square root is the display's gamma and makes shot noise even (Anscombe)."""
    shown = 255 * np.sqrt(seen) + 2.2 * rng.standard_normal(seen.shape, np.float32)
    return np.asarray(np.clip(shown, 0, 255), np.uint8)
