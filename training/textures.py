"""Drawn textures for distillation: what a backbone must know of surfaces, edges and print, without anyone's photographs.

Kinds after Baradad et al., "Learning to See by Looking at Noise", NeurIPS 2021, arXiv 2106.05963 (dead leaves, 1/f noise,
shader-like functions), and surfaces of a factory: brushed metal, gratings, printed words and codes, rendered parts.
"""

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.rendered_parts import DEFECTS
from training.rendered_parts import draw as draw_part

Picture = NDArray[np.uint8]  # (H, W, 3) RGB
Field = NDArray[np.float32]
CANVAS_PX = 448
_LEAVES = 130
_GLYPHS = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789-./:+"
_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_PLAIN)


def draw_texture(rng: Generator) -> Picture:
    """One picture to take many crops from, (448, 448, 3), or (480, 640, 3) for a part; the same generator, the same picture.

    Half of the textures are two, one through the holes of the other, so that surfaces meet at edges of any shape.
    """
    if rng.random() < 0.08:
        return draw_part(rng, DEFECTS[rng.integers(len(DEFECTS))] if rng.random() < 0.5 else None).image
    below = _KINDS[rng.integers(len(_KINDS))](rng)
    if rng.random() < 0.5:
        return _shown(below)
    above, holes = _KINDS[rng.integers(len(_KINDS))](rng), _holes(rng)[..., None]
    return _shown(below * holes + above * (1 - holes))


# --- kinds: each gives (448, 448, 3) float32, about 0 to 1 ---


def _leaves(rng: Generator) -> Field:
    """Dead leaves: opaque shapes of power-law sizes over each other, each flat, shaded, or cut from another texture."""
    cloth = _fractal(rng)
    canvas = cloth.copy()
    smallest, largest = rng.uniform(5, 12), CANVAS_PX / rng.uniform(2.5, 6)
    radii = 1 / rng.uniform(1 / largest, 1 / smallest, _LEAVES)  # density r^-2: fewer crumbs than the r^-3 of nature
    kind = rng.integers(3)
    for radius in np.sort(radii)[::-1] if rng.random() < 0.5 else radii:
        _leaf(rng, canvas, cloth, float(radius), int(kind if rng.random() < 0.8 else rng.integers(3)))
    return canvas


def _leaf(rng: Generator, canvas: Field, cloth: Field, radius: float, kind: int) -> None:
    x, y = rng.uniform(0, CANVAS_PX, 2)
    reach = int(1.5 * radius) + 2
    x0, x1 = max(0, int(x) - reach), min(CANVAS_PX, int(x) + reach)
    y0, y1 = max(0, int(y) - reach), min(CANVAS_PX, int(y) + reach)
    stencil = np.zeros((y1 - y0, x1 - x0), np.uint8)
    center = (round(x) - x0, round(y) - y0)
    if kind == 0:
        axes = (max(1, round(radius)), max(1, round(radius * rng.uniform(0.3, 1))))
        cv2.ellipse(stencil, center, axes, rng.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA)
    else:
        corners = 4 if kind == 1 else int(rng.integers(3, 9))
        turn = np.sort(rng.uniform(0, 2 * np.pi, corners)) if kind == 2 else np.arange(4) * np.pi / 2 + rng.uniform(0, 1.6)
        distance = radius * (rng.uniform(0.4, 1.4, corners) if kind == 2 else np.ones(4))
        points = np.stack([center[0] + distance * np.cos(turn), center[1] + distance * np.sin(turn)], axis=1)
        cv2.fillPoly(stencil, [np.round(points).astype(np.int32)], 255, cv2.LINE_AA)
    share = (stencil.astype(np.float32) / 255)[..., None]
    fill: Field = np.broadcast_to(_color(rng), (*stencil.shape, 3))
    look = rng.random()
    if look < 0.35:
        fill = fill * 0.4 + 0.8 * (np.roll(cloth, int(rng.integers(CANVAS_PX)), axis=1)[y0:y1, x0:x1] - 0.2)
    elif look < 0.7:
        gy, gx = np.mgrid[0 : stencil.shape[0], 0 : stencil.shape[1]].astype(np.float32)
        slope = rng.normal(0, 0.25, 2) / max(radius, 1)
        fill = fill + (slope[0] * (gx - center[0]) + slope[1] * (gy - center[1]))[..., None]
    canvas[y0:y1, x0:x1] += (fill - canvas[y0:y1, x0:x1]) * share


def _fractal(rng: Generator) -> Field:
    """1/f^a noise, colors correlated as in nature; sometimes folded into veins or cut into patches."""
    amplitude = _frequency() ** -rng.uniform(0.6, 2.2)
    spectrum = amplitude * np.exp(2j * np.pi * rng.random(amplitude.shape))
    noise = _evened(np.fft.irfft2(spectrum, (CANVAS_PX, CANVAS_PX)).astype(np.float32))
    fold = rng.random()
    if fold < 0.25:
        noise = _evened(np.abs(noise))
    elif fold < 0.5:
        noise = np.asarray(np.tanh(noise * rng.uniform(1, 8)), np.float32)
    other = np.roll(noise, rng.integers(0, CANVAS_PX, 2), axis=(0, 1))
    return _tinted(rng, noise, other)


def _grating(rng: Generator) -> Field:
    """Stripes, grids and rings, straight or warped, from a sine to hard bars."""
    y, x = _grid()
    turn, period = rng.uniform(0, np.pi), float(np.exp(rng.uniform(np.log(3), np.log(60))))
    if rng.random() < 0.5:
        bend = cv2.resize(rng.normal(0, 1, (6, 6)).astype(np.float32), (CANVAS_PX, CANVAS_PX), interpolation=cv2.INTER_CUBIC)
        x = x + bend * rng.uniform(2, 30)
    across = x * np.float32(np.cos(turn)) + y * np.float32(np.sin(turn))
    if rng.random() < 0.2:
        center = rng.uniform(0, CANVAS_PX, 2)
        across = np.hypot(x - center[0], y - center[1]).astype(np.float32)
    wave = np.sin(across * np.float32(2 * np.pi / period))
    if rng.random() < 0.4:
        along = y * np.float32(np.cos(turn)) - x * np.float32(np.sin(turn))
        second = np.sin(along * np.float32(2 * np.pi / (period * rng.uniform(0.5, 2))))
        wave = np.asarray(wave * second if rng.random() < 0.5 else np.maximum(wave, second), np.float32)
    hardness = rng.choice([0.5, 2, 20])
    return _tinted(rng, np.tanh(wave * np.float32(hardness)), wave * 0 + rng.normal(0, 0.02, wave.shape).astype(np.float32))


def _brushed(rng: Generator) -> Field:
    """Metal: noise smeared along one direction, under an uneven lamp, with a few scratches and pits."""
    noise = rng.standard_normal((CANVAS_PX, CANVAS_PX), np.float32)
    smeared = cv2.blur(noise, (int(rng.integers(9, 120)), int(rng.integers(1, 3))))
    noise = _evened(np.asarray(smeared, np.float32))
    turn = cv2.getRotationMatrix2D((CANVAS_PX / 2, CANVAS_PX / 2), rng.uniform(0, 180), 1)
    noise = np.asarray(cv2.warpAffine(noise, turn, (CANVAS_PX, CANVAS_PX), borderMode=cv2.BORDER_REFLECT), np.float32)
    lamp = cv2.resize(rng.normal(0, 1, (3, 3)).astype(np.float32), (CANVAS_PX, CANVAS_PX), interpolation=cv2.INTER_CUBIC)
    for _ in range(int(rng.integers(0, 12))):
        ends = rng.uniform(0, CANVAS_PX, (2, 2)).astype(int)
        cv2.line(noise, tuple(map(int, ends[0])), tuple(map(int, ends[1])), rng.normal(0, 4), int(rng.integers(1, 3)))
    for _ in range(int(rng.integers(0, 20))):
        at = rng.integers(0, CANVAS_PX, 2)
        cv2.circle(noise, (int(at[0]), int(at[1])), int(rng.integers(1, 8)), rng.normal(0, 4), -1)
    return np.asarray(_tinted(rng, noise, noise) * 0.7 + 0.25 * lamp[..., None] * rng.random() + 0.15, np.float32)


def _print(rng: Generator) -> Field:
    """Words, bar codes, matrix codes, frames and dots on paper of one color."""
    canvas = np.full((CANVAS_PX, CANVAS_PX, 3), 255 * _color(rng), np.uint8)  # OpenCV smooths edges in 8 bit only
    for _ in range(int(rng.integers(15, 45))):
        ink = tuple(map(float, 255 * _color(rng)))
        x, y = map(int, rng.integers(-20, CANVAS_PX, 2))
        kind = rng.random()
        if kind < 0.55:
            word = "".join(rng.choice(list(_GLYPHS), int(rng.integers(1, 12))))
            size, stroke = float(rng.uniform(0.4, 3)), int(rng.integers(1, 5))
            cv2.putText(canvas, word, (x, y), _FONTS[rng.integers(len(_FONTS))], size, ink, stroke, cv2.LINE_AA)
        elif kind < 0.8:
            cells = rng.integers(4, 24, 2) if rng.random() < 0.5 else (1, rng.integers(10, 50))
            code = rng.integers(0, 2, cells).astype(np.uint8)
            width, height = map(int, rng.integers(20, 120, 2))
            marks = cv2.resize(code, (width, height), interpolation=cv2.INTER_NEAREST).astype(bool)
            place = canvas[max(y, 0) : y + height, max(x, 0) : x + width]
            place[marks[: place.shape[0], : place.shape[1]]] = ink
        elif kind < 0.9:
            cv2.rectangle(
                canvas, (x, y), (x + int(rng.integers(10, 200)), y + int(rng.integers(10, 200))), ink, int(rng.integers(1, 6))
            )
        else:
            step, radius = int(rng.integers(6, 24)), int(rng.integers(1, 5))
            for k in range(int(rng.integers(3, 9)) * 4):
                cv2.circle(canvas, (x + step * (k % 8), y + step * (k // 8)), radius, ink, -1, cv2.LINE_AA)
    turn = cv2.getRotationMatrix2D((CANVAS_PX / 2, CANVAS_PX / 2), rng.choice([0, 90, 180, 270]) + rng.normal(0, 8), 1.1)
    turned = cv2.warpAffine(canvas, turn, (CANVAS_PX, CANVAS_PX), borderMode=cv2.BORDER_REFLECT)
    return np.asarray(turned, np.float32) / np.float32(255)


def _shader(rng: Generator) -> Field:
    """A small random network of sines over the coordinates: smooth folds, loops and spots at many scales."""
    half = CANVAS_PX // 2
    y, x = (axis[::2, ::2].ravel() / half - 1 for axis in _grid())
    layer = np.stack([x, y, np.hypot(x, y), np.ones_like(x)])  # (4, N)
    width = 12
    for scale in (rng.uniform(2, 12), rng.uniform(0.6, 1.6), rng.uniform(0.6, 1.4)):
        mixing = rng.normal(0, scale, (width, len(layer))).astype(np.float32) / np.sqrt(len(layer)).astype(np.float32)
        layer = np.sin(mixing @ layer + rng.uniform(0, 2 * np.pi, (width, 1)).astype(np.float32))
    colors = (rng.normal(0, 0.5, (3, width)).astype(np.float32) / np.sqrt(width).astype(np.float32)) @ layer
    picture = (colors.T.reshape(half, half, 3) * rng.uniform(0.6, 2) + _color(rng)).astype(np.float32)
    return np.asarray(cv2.resize(picture, (CANVAS_PX, CANVAS_PX), interpolation=cv2.INTER_LINEAR), np.float32)


_KINDS: tuple[Callable[[Generator], Field], ...] = (_leaves, _leaves, _fractal, _grating, _brushed, _print, _shader)


# --- what they share ---


def _holes(rng: Generator) -> Field:
    """(448, 448) 0 to 1: blobs with hard edges, of one scale."""
    cells = int(rng.integers(3, 24))
    blobs = cv2.resize(rng.normal(0, 1, (cells, cells)).astype(np.float32), (CANVAS_PX, CANVAS_PX), interpolation=cv2.INTER_CUBIC)
    clipped: Field = np.clip(np.asarray(blobs, np.float32) * 12 + np.float32(rng.normal(0, 6)), 0, 1)
    return clipped


def _color(rng: Generator) -> Field:
    """(3,) a color, mostly close to grey, as surfaces of a factory are."""
    grey = rng.random()
    return np.clip(grey + rng.normal(0, rng.choice([0.02, 0.08, 0.25]), 3), 0, 1).astype(np.float32)


def _tinted(rng: Generator, noise: Field, other: Field) -> Field:
    """(H, W, 3) of two noises of unit strength: between two colors, the second noise adding some of a third."""
    middle, first, second = _color(rng), _color(rng), _color(rng)
    contrast = np.float32(rng.uniform(0.2, 0.6))
    tint = noise[..., None] * (first - middle) + np.float32(0.5) * other[..., None] * (second - middle)
    return middle + contrast * tint + np.float32(rng.uniform(0.02, 0.15)) * noise[..., None]


def _evened(noise: Field) -> Field:
    """With mean 0 and deviation 1."""
    return np.asarray((noise - noise.mean()) / max(float(noise.std()), 1e-6), np.float32)


def _shown(picture: Field) -> Picture:
    return np.clip(picture * 255, 0, 255).astype(np.uint8)


@lru_cache(maxsize=1)
def _grid() -> tuple[Field, Field]:
    y, x = np.mgrid[0:CANVAS_PX, 0:CANVAS_PX].astype(np.float32)
    return y, x


@lru_cache(maxsize=1)
def _frequency() -> Field:
    """(448, 225) distance from the spectrum's origin, the origin itself at 1."""
    fy, fx = np.fft.fftfreq(CANVAS_PX)[:, None] * CANVAS_PX, np.fft.rfftfreq(CANVAS_PX) * CANVAS_PX
    return np.asarray(np.maximum(np.hypot(fy, fx), 1), np.float32)
