"""Pictures on disk, each read once and found whole, before anything is learned from them or judged by them."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.preprocess import Pixels, RefusedImageError, read_image
from training.layouts.listing import Region, refuse, unfit_name
from training.progress import UNWATCHED, Progress

_SMALLEST_PX = 16


@dataclass(frozen=True, slots=True)
class Photograph:
    """One picture that has been read once and found whole.

    brightest: largest value of a 16-bit picture, 0 for 8 bit. defect: its class, None for a good part.
    mask: where the defect is, None when nobody has drawn it (a good part needs none). depth: the file of its points
    (MVTec 3D-AD). regions: of the defect, where the data set tells them apart (MVTec LOCO); they take the mask's place.
    """

    path: Path
    sha256: str
    width: int
    height: int
    brightest: int
    defect: str | None = None
    mask: Path | None = None
    depth: Path | None = None
    regions: tuple[Region, ...] = ()


def read_photographs(paths: Collection[Path], progress: Progress = UNWATCHED) -> list[Photograph]:
    """Each picture read once, one at a time. Raises one DataError that names every bad file."""
    photographs, bad = [], []
    for path in progress.track(paths, "photographs"):
        try:
            photographs.append(read_photograph(path)[0])
        except RefusedImageError as e:
            bad.append(str(e))
    refuse(bad)
    return photographs


def read_photograph(path: Path) -> tuple[Photograph, Pixels]:
    """The picture and what was read of it. Raises RefusedImageError."""
    if reason := unfit_name(path):
        raise RefusedImageError(reason)
    image = read_image(path)
    height, width = image.shape[:2]
    if min(width, height) < _SMALLEST_PX:
        raise RefusedImageError(f"{path}: {width}x{height} px, expected at least {_SMALLEST_PX} px")
    brightest = int(image.max()) if image.dtype == np.uint16 else 0
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Photograph(path, digest, width, height, brightest), image
