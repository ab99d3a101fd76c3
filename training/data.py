"""Photographs on disk to good parts for training, good parts for calibration, and a test set nobody has seen."""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agent.inspection import Image
from agent.preprocess import IMAGE_SUFFIXES, InputContract, RefusedImageError, prepare, read_image, to_8_bit

SIZE_MARGIN = 1.25  # the same camera with another crop or binning of the frame edge, not another camera
ASPECT_MARGIN = 1.10  # a part turned by 90 degrees or a stretched picture must be refused
_ODD_FACTOR = 4.0  # from the median size: further off is a thumbnail or a stray file (crops of one surface vary by 3)
_SMALLEST_PX = 16
_FEWEST_GOOD = 4  # two to learn from and two whose scores can differ
_CALIBRATION_SHARE, _CALIBRATION_PARTS = 0.2, 60
_FULL_SCALES = (1023, 4095, 16383, 65535)  # cameras of 10, 12, 14 and 16 bit
_LISTED = 10


class DataError(Exception):
    """Photographs that cannot be used; the message names the files and why."""


@dataclass(frozen=True, slots=True)
class Photograph:
    """One picture that has been read once and found whole.

    brightest: largest value of a 16-bit picture, 0 for 8 bit. defect: its class, None for a good part.
    mask: where the defect is, None when nobody has drawn it (a good part needs none).
    """

    path: Path
    sha256: str
    width: int
    height: int
    brightest: int
    defect: str | None = None
    mask: Path | None = None


@dataclass(frozen=True, slots=True)
class GoodParts:
    """Good parts for a fit. duplicates: pairs (left out, kept) of equal files."""

    train: tuple[Photograph, ...]
    calibration: tuple[Photograph, ...]
    duplicates: tuple[tuple[Path, Path], ...]

    @property
    def data_sha256(self) -> str:
        """Of what was used and for what, independent of the order and the place of the files."""
        used = [f"train {p.sha256}" for p in self.train] + [f"calibration {p.sha256}" for p in self.calibration]
        return hashlib.sha256("\n".join(sorted(used)).encode()).hexdigest()


def good_parts(root: Path, seed: int) -> GoodParts:
    """The good parts below `root`, split for training and calibration. No picture of `test` is decoded.

    root: MVTec layout (train/good, optional validation/good) or a plain folder of good pictures. Raises DataError.
    """
    training, validation = _good_folders(root)
    read = read_photographs([*_pictures(validation), *_pictures(training)])
    kept: dict[str, Photograph] = {}
    duplicates = []
    for photograph in read:
        first = kept.setdefault(photograph.sha256, photograph)
        if first is not photograph:
            duplicates.append((photograph.path, first.path))
    parts = tuple(kept.values())
    if len(parts) < _FEWEST_GOOD:
        raise DataError(f"{root}: {len(parts)} different good photographs, at least {_FEWEST_GOOD} are needed")
    _refuse_odd_sizes(parts)
    _refuse_leaks(parts, _pictures(root / "test", deep=True))
    held_out = [p for p in parts if validation is not None and validation in p.path.parents]
    train, calibration = _split([p for p in parts if p not in held_out], held_out, seed)
    return GoodParts(train, calibration, tuple(duplicates))


def _good_folders(root: Path) -> tuple[Path, Path | None]:
    """The folders of good pictures for training and, where there is one, for validation."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder, expected photographs of good parts")
    layout = "expected train/good/ (MVTec layout) or a folder with photographs of good parts directly in it"
    if (root / "train").is_dir():
        if not _pictures(root / "train" / "good"):
            raise DataError(f"{root}: no good photographs in train/good; {layout}")
        validation = root / "validation" / "good"
        return root / "train" / "good", validation if validation.is_dir() else None
    if _pictures(root):
        return root, None
    if any(root.iterdir()):
        raise DataError(f"{root}: unknown layout, no train/ and no photographs; {layout}")
    raise DataError(f"{root}: the folder is empty; {layout}")


def _pictures(folder: Path | None, deep: bool = False) -> list[Path]:
    """Files that claim to be pictures, by name; hidden files are not looked at."""
    if folder is None or not folder.is_dir():
        return []
    found = folder.rglob("*") if deep else folder.iterdir()
    return sorted(p for p in found if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))


def read_photographs(paths: Iterable[Path]) -> list[Photograph]:
    """Each picture read once, one at a time. Raises one DataError that names every bad file."""
    photographs, bad = [], []
    for path in paths:
        try:
            image = read_image(path)
            height, width = image.shape[:2]
            if min(width, height) < _SMALLEST_PX:
                raise RefusedImageError(f"{path}: {width}x{height} px, expected at least {_SMALLEST_PX} px")
            brightest = int(image.max()) if image.dtype == np.uint16 else 0
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            photographs.append(Photograph(path, digest, width, height, brightest))
        except RefusedImageError as e:
            bad.append(str(e))
    _refuse(bad)
    return photographs


def _refuse(bad: Sequence[str]) -> None:
    if bad:
        more = f"\n  and {len(bad) - _LISTED} more" if len(bad) > _LISTED else ""
        listed = "".join(f"\n  {reason}" for reason in bad[:_LISTED])
        raise DataError(f"{len(bad)} photograph(s) cannot be used; repair or remove them:{listed}{more}")


def _refuse_odd_sizes(parts: Sequence[Photograph]) -> None:
    """One stray picture must not widen what the device will accept."""
    usual_width, usual_height = np.median([p.width for p in parts]), np.median([p.height for p in parts])
    usual_aspect = float(np.median([p.width / p.height for p in parts]))
    bad = []
    for p in parts:
        ratios = (p.width / usual_width, p.height / usual_height, p.width / p.height / usual_aspect)
        if max(abs(math.log(r)) for r in ratios) > math.log(_ODD_FACTOR):
            bad.append(
                f"{p.path}: {p.width}x{p.height} px, the others are about {usual_width:.0f}x{usual_height:.0f} "
                f"(aspect {usual_aspect:.2f}): a thumbnail or another camera?"
            )
    _refuse(bad)


def _refuse_leaks(parts: Sequence[Photograph], tests: Sequence[Path]) -> None:
    """Equal files in fit and test. Only test files as long as a good one are opened, and none is decoded."""
    known = {p.sha256: p.path for p in parts}
    lengths = {p.path.stat().st_size for p in parts}
    suspects = [t for t in tests if t.is_file() and t.stat().st_size in lengths]
    leaked = [(t, known.get(hashlib.sha256(t.read_bytes()).hexdigest())) for t in suspects]
    _refuse([f"{t}: the same picture as {good}; a test picture must never be in the fit" for t, good in leaked if good])


def _split(
    free: list[Photograph], held_out: list[Photograph], seed: int
) -> tuple[tuple[Photograph, ...], tuple[Photograph, ...]]:
    """Train and calibration: those held out by hand, topped up by seeded chance, at most half of all."""
    total = len(free) + len(held_out)
    wished = min(max(math.ceil(_CALIBRATION_SHARE * total), _CALIBRATION_PARTS), total // 2)
    order = np.random.default_rng(seed).permutation(len(free))
    drawn = set(order[: max(0, wished - len(held_out))].tolist())
    calibration = held_out + [p for k, p in enumerate(free) if k in drawn]
    return tuple(p for k, p in enumerate(free) if k not in drawn), tuple(calibration)


def input_contract(parts: Sequence[Photograph], size: int, fit: Literal["stretch", "pad", "crop"] = "stretch") -> InputContract:
    """What the device may accept: the sizes seen, widened. size: of the network's square input, px."""
    widths, heights = [p.width for p in parts], [p.height for p in parts]
    aspects = [p.width / p.height for p in parts]
    brightest = max(p.brightest for p in parts)
    return InputContract(
        width=size,
        height=size,
        min_width=math.floor(min(widths) / SIZE_MARGIN),
        max_width=math.ceil(max(widths) * SIZE_MARGIN),
        min_height=math.floor(min(heights) / SIZE_MARGIN),
        max_height=math.ceil(max(heights) * SIZE_MARGIN),
        min_aspect=min(aspects) / ASPECT_MARGIN,
        max_aspect=max(aspects) * ASPECT_MARGIN,
        fit=fit,
        white_level=next(level for level in _FULL_SCALES if level >= brightest),
    )


def load_original(photograph: Photograph, contract: InputContract) -> Image:
    """The photograph in 8 bit at its own size."""
    return to_8_bit(read_image(photograph.path), contract.white_level)


def load(photograph: Photograph, contract: InputContract) -> Image:
    """The photograph as the network sees it."""
    return prepare(load_original(photograph, contract), contract)


def unseen_parts(root: Path) -> tuple[Photograph, ...]:
    """The test parts below `root`/test, good ones first. Raises DataError."""
    folder = root / "test"
    if not folder.is_dir():
        raise DataError(f"{root}: no test/ folder, expected test/good/ and test/<defect>/ (MVTec layout)")
    classes = sorted((p for p in folder.iterdir() if p.is_dir()), key=lambda p: (p.name != "good", p.name))
    found = []
    for kind in classes:
        defect = None if kind.name == "good" else kind.name
        for p in read_photographs(_pictures(kind)):
            found.append(replace(p, defect=defect, mask=_mask_of(root, p.path) if defect else None))
    if not any(p.defect is None for p in found) or not any(p.defect for p in found):
        raise DataError(f"{folder}: expected photographs in good/ and in at least one folder of defects")
    return tuple(found)


def _mask_of(root: Path, path: Path) -> Path | None:
    folder = root / "ground_truth" / path.parent.name
    return next((m for m in (folder / f"{path.stem}_mask.png", folder / f"{path.stem}.png") if m.is_file()), None)


def read_mask(photograph: Photograph) -> NDArray[np.bool_] | None:
    """(height, width), True on the defect; all False for a good part, None where nobody has drawn it."""
    if photograph.defect is None:
        return np.zeros((photograph.height, photograph.width), dtype=np.bool_)
    if photograph.mask is None:
        return None
    try:
        mask = read_image(photograph.mask).any(axis=2)
    except RefusedImageError as e:
        raise DataError(str(e)) from e
    if mask.shape != (photograph.height, photograph.width):
        raise DataError(
            f"{photograph.mask}: {mask.shape[1]}x{mask.shape[0]} px, its photograph {photograph.path} is "
            f"{photograph.width}x{photograph.height}"
        )
    return mask if mask.any() else None
