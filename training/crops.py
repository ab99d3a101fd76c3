"""Augmented crops of photographs and drawn textures for distillation; each batch follows from the seed and its number alone."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.random import Generator, SeedSequence, default_rng
from numpy.typing import NDArray

from agent.preprocess import IMAGE_SUFFIXES, RefusedImageError, read_image, to_8_bit, white_level
from training.layouts.listing import DataError
from training.photographs import read_photographs
from training.progress import UNWATCHED, Progress
from training.textures import Picture, draw_texture

PROCEDURAL = "procedural"  # the value of --images that asks for drawn textures
_WINDOW = 48  # drawn textures in use at once; one is replaced at each step
_SHORT_SIDE_PX = 288  # to which photographs are shrunk in memory
_KEPT = 1200  # photographs kept decoded: about 400 MB


class Source(Protocol):
    """Pictures to take crops from. name: for the card. sha256: of what they are."""

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    def pick(self, rng: Generator, step: int) -> Picture: ...


class Drawn:
    """An endless series of textures, of which each step sees a window."""

    name = PROCEDURAL

    def __init__(self, seed: int) -> None:
        self.sha256 = hashlib.sha256(f"{PROCEDURAL} {seed}".encode()).hexdigest()
        self._texture = lru_cache(maxsize=_WINDOW)(lambda n: draw_texture(default_rng(SeedSequence(seed, spawn_key=(1, n)))))

    def pick(self, rng: Generator, step: int) -> Picture:
        return self._texture(step + int(rng.integers(_WINDOW)))


class Photographs:
    """All pictures below a folder. Raises DataError where there are none, or one cannot be read."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        found = folder.rglob("*")
        self._files = sorted(p for p in found if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
        if not self._files:
            raise DataError(f"{folder}: no photographs, expected a folder with some, or `{PROCEDURAL}`")
        self.name = f"{len(self._files)} photographs of {folder.resolve().name}"
        read = read_photographs(self._files, progress)  # now, not after days of learning
        self.sha256 = hashlib.sha256("\n".join(sorted(p.sha256 for p in read)).encode()).hexdigest()
        white = white_level(max(p.brightest for p in read))
        self._read = lru_cache(maxsize=_KEPT)(lambda file: _read(file, white))

    def pick(self, rng: Generator, step: int) -> Picture:
        del step
        return self._read(self._files[rng.integers(len(self._files))])


def open_source(images: str, seed: int, progress: Progress = UNWATCHED) -> Source:
    """`procedural` or a folder. Raises DataError."""
    return Drawn(seed) if images == PROCEDURAL else Photographs(Path(images), progress)


def batch(sources: Sequence[Source], seed: int, step: int, count: int, size_px: int) -> NDArray[np.uint8]:
    """(count, size, size, 3): as many of each source by chance."""
    rng = default_rng(SeedSequence(seed, spawn_key=(0, step)))
    return np.stack([augment(sources[int(rng.integers(len(sources)))].pick(rng, step), rng, size_px) for _ in range(count)])


def augment(picture: Picture, rng: Generator, size_px: int) -> Picture:
    """A crop of any scale and place, turned and mirrored, its light, color, sharpness and noise changed."""
    crop = _crop(picture, rng, size_px)
    crop = np.rot90(crop, int(rng.integers(4)) if rng.random() < 0.3 else 0)
    mirrored = crop[:, :: 1 if rng.random() < 0.5 else -1]
    seen = np.asarray(mirrored, np.float32) / np.float32(255)
    if rng.random() < 0.7:
        seen = _relit(seen, rng)
    if rng.random() < 0.25:
        seen = np.repeat(seen.mean(axis=2, keepdims=True), 3, axis=2)
    if rng.random() < 0.25:
        seen = np.asarray(cv2.GaussianBlur(np.ascontiguousarray(seen), (0, 0), float(rng.uniform(0.3, 1.6))), np.float32)
    if rng.random() < 0.35:
        seen = seen + rng.standard_normal(seen.shape, np.float32) * np.float32(rng.uniform(0.003, 0.05))
    return np.asarray(np.clip(seen * 255 + 0.5, 0, 255), np.uint8)


def _crop(picture: Picture, rng: Generator, size_px: int) -> Picture:
    height, width = picture.shape[:2]
    side = size_px * np.exp(rng.uniform(np.log(0.6), np.log(2.2)))
    stretch = np.exp(rng.normal(0, 0.1))
    h, w = min(height, round(side * stretch)), min(width, round(side / stretch))
    y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    how = cv2.INTER_AREA if h * w > size_px * size_px else cv2.INTER_LINEAR
    resized = cv2.resize(picture[y : y + h, x : x + w], (size_px, size_px), interpolation=how)
    return np.asarray(resized, np.uint8)


def _relit(seen: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    contrast, brightness, saturation = np.exp(rng.normal(0, 0.3)), rng.normal(0, 0.12), np.exp(rng.normal(0, 0.4))
    grey = seen.mean(axis=2, keepdims=True)
    seen = (grey + (seen - grey) * saturation) * np.exp(rng.normal(0, 0.08, 3))
    return np.asarray((seen - 0.5) * contrast + 0.5 + brightness, np.float32)


def _read(file: Path, white: int) -> Picture:
    try:
        picture = to_8_bit(read_image(file), white)
    except RefusedImageError as e:
        raise DataError(str(e)) from e
    scale = _SHORT_SIDE_PX / min(picture.shape[:2])
    if scale >= 1:
        return picture
    shrunk = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(shrunk, np.uint8)
