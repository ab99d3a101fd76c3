"""Photographs on disk to good parts for training, good parts for calibration, and a test set nobody has seen."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from agent.bundle import sha256
from agent.inspection import Depth, Image
from agent.preprocess import (
    InputContract,
    RefusedImageError,
    prepare,
    prepare_depth,
    read_depth,
    read_image,
    to_8_bit,
    white_level,
)
from agent.tiles import Tiles
from training.drawings import read_mask
from training.layouts import layout_of
from training.layouts.listing import DataError as DataError
from training.layouts.listing import Listed, refuse
from training.photographs import Photograph as Photograph
from training.photographs import read_photographs
from training.progress import UNWATCHED, Progress

SIZE_MARGIN = 1.25  # the same camera with another crop or binning of the frame edge, not another camera
ASPECT_MARGIN = 1.10  # a part turned by 90 degrees or a stretched picture must be refused
_ODD_FACTOR = 4.0  # from the median size: further off is a thumbnail or a stray file (crops of one surface vary by 3)
_FEWEST_TO_LEARN_FROM = 2
_FEWEST_GOOD = 4  # two to learn from and two whose scores can differ
_CALIBRATION_SHARE, _CALIBRATION_PARTS = 0.2, 60


@dataclass(frozen=True, slots=True)
class GoodParts:
    """Good parts for a fit. duplicates: pairs (left out, kept) of equal files."""

    train: tuple[Photograph, ...]
    calibration: tuple[Photograph, ...]
    duplicates: tuple[tuple[Path, Path], ...]

    def data_sha256(self, depth: bool = False) -> str:
        """Of what was used and for what, independent of the order and the place of the files. depth: that was used, too.

        Raises DataError where a part has no depth that can be read.
        """
        used = [f"{role} {p.sha256}" for role, parts in self.by_role for p in parts]
        if depth:
            used += [f"depth of {p.sha256} {_depth_sha256(p)}" for _, parts in self.by_role for p in parts]
        return hashlib.sha256("\n".join(sorted(used)).encode()).hexdigest()

    @property
    def by_role(self) -> tuple[tuple[Literal["train", "calibration"], tuple[Photograph, ...]], ...]:
        return ("train", self.train), ("calibration", self.calibration)


def good_parts(root: Path, seed: int, progress: Progress = UNWATCHED) -> GoodParts:
    """The good parts below `root`, split for training and calibration. No picture of `test` is decoded.

    root: in one of training/layouts; parts that it holds out itself are used for calibration. Raises DataError.
    """
    layout = layout_of(root)
    held_out, free = layout.validation(), layout.train()
    read = read_listed([*held_out, *free], progress)
    return divided(root, read[: len(held_out)], read[len(held_out) :], layout.test_files(), seed)


def divided(
    root: Path, held_out: Sequence[Photograph], free: Sequence[Photograph], tests: Sequence[Path], seed: int
) -> GoodParts:
    """Good parts, of which the data set holds some out itself, split for training and calibration. Raises DataError.

    tests: pictures of the test set, which must not be among them.
    """
    kept: dict[str, Photograph] = {}
    duplicates = []
    for photograph in (*held_out, *free):
        first = kept.setdefault(photograph.sha256, photograph)
        if first is not photograph:
            duplicates.append((photograph.path, first.path))
    parts = tuple(kept.values())
    if len(parts) < _FEWEST_GOOD:
        raise DataError(f"{root}: {len(parts)} different good photographs, at least {_FEWEST_GOOD} are needed")
    _refuse_odd_sizes(parts)
    _refuse_leaks(parts, tests)
    by_hand = {photograph.path for photograph in held_out}
    train, calibration = _split([p for p in parts if p.path not in by_hand], [p for p in parts if p.path in by_hand], seed)
    if len(train) < _FEWEST_TO_LEARN_FROM:
        raise DataError(
            f"{root}: {len(train)} good photographs to learn from beside {len(calibration)} others held out for the threshold, "
            f"at least {_FEWEST_TO_LEARN_FROM} are needed: add good photographs to train/good"
        )
    return GoodParts(train, calibration, tuple(duplicates))


def read_listed(listed: Sequence[Listed], progress: Progress = UNWATCHED) -> list[Photograph]:
    """The pictures read, each with what its layout says of it. Raises DataError."""
    read = read_photographs([entry.path for entry in listed], progress)
    return [as_listed(p, entry) for p, entry in zip(read, listed, strict=True)]


def as_listed(photograph: Photograph, entry: Listed) -> Photograph:
    """With what its layout says of it."""
    return replace(photograph, defect=entry.defect, mask=entry.mask, depth=entry.depth, regions=entry.regions)


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
    refuse(bad)


def _refuse_leaks(parts: Sequence[Photograph], tests: Sequence[Path]) -> None:
    """Equal files in fit and test. Only test files as long as a good one are opened, and none is decoded."""
    known = {p.sha256: p.path for p in parts}
    lengths = {p.path.stat().st_size for p in parts}
    suspects = [t for t in tests if t.is_file() and t.stat().st_size in lengths]
    leaked = [(t, known.get(hashlib.sha256(t.read_bytes()).hexdigest())) for t in suspects]
    refuse([f"{t}: the same picture as {good}; a test picture must never be in the fit" for t, good in leaked if good])


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


def way_to_hold_out(needed: int, by_hand: int, total: int, place: str) -> str:
    """What to do so that `needed` of the good parts are held out for the threshold, by the shorter way.

    by_hand: how many the data set holds out itself. total: of all good parts. place: Layout.held_out_in.

    >>> way_to_hold_out(299, 0, 92, "validation/good")
    'put 299 more good photographs into validation/good: all there are held out, none of train/good'
    >>> way_to_hold_out(59, 0, 92, "validation/good")
    'add 26 good photographs to those there are'
    >>> way_to_hold_out(299, 0, 92, "")
    'add 1403 good photographs to those there are'
    """
    anywhere = 2 * needed if needed <= _CALIBRATION_PARTS else max(2 * needed, math.ceil(needed / _CALIBRATION_SHARE))
    if not place or anywhere - total <= needed - by_hand:
        return f"add {anywhere - total} good photographs to those there are"
    return f"put {needed - by_hand} more good photographs into {place}: all there are held out, none of train/good"


def input_contract(
    parts: Sequence[Photograph],
    size: int,
    fit: Literal["stretch", "pad", "crop"] = "stretch",
    depth: bool = False,
    tiles: tuple[int, int] | None = None,
) -> InputContract:
    """What the device may accept: the sizes seen, widened. size: of the graph's square input, px. depth: needed too.

    tiles: columns and rows into which the prepared image is cut, None for one.
    """
    grid = None if tiles is None else Tiles(*tiles, size=size, step=size - max(32, size // 256 * 32))
    widths, heights = [p.width for p in parts], [p.height for p in parts]
    aspects = [p.width / p.height for p in parts]
    return InputContract(
        width=grid.width if grid else size,
        height=grid.height if grid else size,
        tiles=grid,
        min_width=math.floor(min(widths) / SIZE_MARGIN),
        max_width=math.ceil(max(widths) * SIZE_MARGIN),
        min_height=math.floor(min(heights) / SIZE_MARGIN),
        max_height=math.ceil(max(heights) * SIZE_MARGIN),
        min_aspect=min(aspects) / ASPECT_MARGIN,
        max_aspect=max(aspects) * ASPECT_MARGIN,
        fit=fit,
        depth=depth,
        white_level=white_level(max(p.brightest for p in parts)),
    )


def load_original(photograph: Photograph, contract: InputContract) -> Image:
    """The photograph in 8 bit at its own size."""
    return to_8_bit(read_image(photograph.path), contract.white_level)


def load(photograph: Photograph, contract: InputContract) -> Image:
    """The photograph as the network sees it."""
    return prepare(load_original(photograph, contract), contract)


def load_original_depth(photograph: Photograph, contract: InputContract) -> Depth | None:
    """Its depth at its own size, None where the contract needs none. Raises DataError where there is none to be read."""
    if not contract.depth:
        return None
    return _read_depth(photograph)


def refuse_bad_depth(parts: Sequence[Photograph], contract: InputContract, progress: Progress) -> None:
    """Before hours of learning: raises DataError, which names each part whose depth is missing, broken or of another size."""
    bad = []
    for part in progress.track(parts, "depth") if contract.depth else ():
        try:
            load_depth(part, contract)
        except DataError as e:
            bad.append(str(e))
    refuse(bad)


def _read_depth(photograph: Photograph) -> Depth:
    try:
        return read_depth(_depth_of(photograph))
    except RefusedImageError as e:
        raise DataError(str(e)) from e


def _depth_sha256(photograph: Photograph) -> str:
    try:
        return sha256(_depth_of(photograph))
    except OSError as e:
        raise DataError(f"{photograph.depth}: {e.strerror or e}") from e


def _depth_of(photograph: Photograph) -> Path:
    if photograph.depth is None:
        raise DataError(f"{photograph.path}: no depth beside it, expected the MVTec 3D-AD layout (rgb/ and xyz/)")
    return photograph.depth


def load_depth(photograph: Photograph, contract: InputContract) -> Depth:
    """Its depth as the network sees it. Raises DataError."""
    try:
        return prepare_depth(_read_depth(photograph), (photograph.width, photograph.height), contract)
    except RefusedImageError as e:
        raise DataError(f"{photograph.depth}: {e}") from e


def unseen_parts(root: Path, progress: Progress = UNWATCHED) -> tuple[Photograph, ...]:
    """The test parts of the data set in `root`, good ones first, each with a mask that fits it or none. Raises DataError."""
    listed = layout_of(root).test()
    refuse_one_sided(root, listed)
    found, bad = tuple(read_listed(listed, progress)), []
    for part in progress.track([p for p in found if p.mask or p.regions], "masks"):
        try:
            read_mask(part)
        except DataError as e:
            bad.append(str(e))
    refuse(bad)
    return found


def refuse_one_sided(root: Path, tests: Sequence[Listed]) -> None:
    """Raises DataError for a test set without good parts, or without defects."""
    if all(entry.defect is None for entry in tests) or all(entry.defect for entry in tests):
        raise DataError(f"{root / 'test'}: expected photographs in good/ and in at least one folder of defects")
