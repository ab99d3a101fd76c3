"""What can be wrong with the photographs of a data set, fault by fault."""

import math
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.preprocess import IMAGE_SUFFIXES, Pixels, RefusedImageError, read_image, white_level
from training.data import ASPECT_MARGIN, DataError, Photograph, input_contract, refuse_one_sided
from training.drawings import read_mask
from training.layouts.listing import FOREIGN_SUFFIXES, Listed, told

_NEAR_GREY_LEVELS = 3.0  # saving again as JPEG moves no pixel of the thumbnail so far; another part of its kind moves some
_THUMBNAIL = (32, 32)
_ROWS = 256  # of pictures compared with all before them at once
_OUTLIER = 8.0  # median absolute deviations from the median brightness
_LEAST_DEVIATION = 1.0  # grey level: parts under steady light must not call each other outliers
_OTHER_LIGHT = 5.0  # grey levels beyond what the fit has
_FEW = 0.1  # of the good test parts: single ones are another finding
_MASK_VALUES = 32  # a drawing has few, a smooth edge some more, a JPEG's noise most
_MOST = 0.5  # of the picture; the largest of magnetic_tile's defects covers 0.48
_BLURRED = ": all but 0 is defect; one that was a JPEG, or has soft edges, marks more than was drawn"
_DRAWINGS = frozenset({"ground_truth", "gt", "xyz", "Masks"})  # folders of the layouts that hold no photographs


class Finding(msgspec.Struct, frozen=True):
    """One thing that is not as it should be. An error keeps the data set from being used; a warning does not.

    reasons: of the files, one each, where they differ; else none.
    """

    weight: Literal["error", "warning"]
    kind: str
    message: str
    files: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


class Seen(NamedTuple):
    """A readable picture. brightness: mean; thumbnail: 32x32; of the file's values, and of 255 once `as_the_fit_sees` them."""

    split: str
    photograph: Photograph
    format: str
    is_grey: bool
    brightness: float
    thumbnail: NDArray[np.float32]


def look(split: str, photograph: Photograph, pixels: Pixels) -> Seen:
    """What the findings ask of a picture."""
    bits = 8 * pixels.dtype.itemsize
    is_grey = bool((pixels == pixels[..., :1]).all())
    shrunk = cv2.resize(pixels.astype(np.float32), _THUMBNAIL, interpolation=cv2.INTER_AREA).mean(axis=2)
    thumbnail = np.asarray(shrunk, dtype=np.float32)
    name = f"{photograph.width}x{photograph.height} {bits} bit {'grey' if is_grey else 'color'}"
    return Seen(split, photograph, name, is_grey, float(thumbnail.mean()), thumbnail)


def as_the_fit_sees(seen: Sequence[Seen]) -> list[Seen]:
    """Pictures of 10 to 16 bit in grey levels of 255, by the white level that the fit takes for all of them."""
    of_fit = [s.photograph.brightest for s in seen if s.split != "test"] or [s.photograph.brightest for s in seen]
    scale = 255.0 / white_level(max(of_fit, default=0))
    return [_scaled(s, scale) if s.photograph.brightest else s for s in seen]


def _scaled(seen: Seen, scale: float) -> Seen:
    thumbnail = np.minimum(seen.thumbnail * np.float32(scale), np.float32(255.0))
    return seen._replace(brightness=float(thumbnail.mean()), thumbnail=thumbnail)


def _some(weight: Literal["error", "warning"], kind: str, message: str, paths: Sequence[Path]) -> list[Finding]:
    """One finding for all paths, none for none."""
    return [Finding(weight, kind, f"{len(paths)} {message}", tuple(map(told, paths)))] if paths else []


def _alike(weight: Literal["error", "warning"], kind: str, message: str, pairs: Sequence[tuple[Path, Path]]) -> list[Finding]:
    """One finding for all pairs (named, its likeness), none for none."""
    files = tuple(told(path) for path, _ in pairs)
    reasons = tuple(f"{told(path)}: like {told(other)}" for path, other in pairs)
    return [Finding(weight, kind, f"{len(pairs)} {message}", files, reasons)] if pairs else []


def unreadable(bad: Sequence[tuple[Path, str]]) -> list[Finding]:
    """bad: files that are no picture, each with the reason."""
    files, reasons = tuple(told(path) for path, _ in bad), tuple(reason for _, reason in bad)
    return [Finding("error", "unreadable", f"{len(bad)} cannot be read: repair or remove", files, reasons)] if bad else []


def overlooked(root: Path, known: Collection[Path]) -> list[Finding]:
    """Pictures below the data set that no fit and no evaluation will ever see. known: those that they will."""
    below = [p for p in sorted(root.rglob("*")) if _DRAWINGS.isdisjoint(p.relative_to(root).parts) and p not in known]
    files = [p for p in below if not any(part.startswith(".") for part in p.relative_to(root).parts) and p.is_file()]
    misplaced = [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES]
    foreign = [p for p in files if p.suffix.lower() in FOREIGN_SUFFIXES]
    return [
        *_some("warning", "misplaced", "picture(s) in folders that are not looked into: put them beside the others", misplaced),
        *_some("warning", "foreign-format", "picture(s) of a format that is not read: save them as JPEG or PNG", foreign),
    ]


def turned(seen: Sequence[Seen]) -> list[Finding]:
    """Upright pictures among lying ones: each is brought into the same square, so that the parts in them have other shapes."""
    good = [s.photograph for s in seen if s.photograph.defect is None]
    upright = [p.path for p in good if p.width * ASPECT_MARGIN < p.height]
    lying = [p.path for p in good if p.height * ASPECT_MARGIN < p.width]
    if not upright or not lying:
        return []
    message = f"upright good part(s) beside {len(lying)} lying ones", f"lying good part(s) beside {len(upright)} upright ones"
    fewer = min(upright, lying, key=len)
    return _some("warning", "turned", f"{message[fewer is lying]}: turn the pictures alike, or fit with --fit pad", fewer)


def one_sided(root: Path, tests: Sequence[Listed]) -> list[Finding]:
    """A test set that nothing can be measured on; a fit does not look at it."""
    try:
        if tests:
            refuse_one_sided(root, tests)
    except DataError as e:
        return [Finding("warning", "one-sided", f"{e}: `kensa evaluate` will refuse it")]
    return []


def odd_sizes(seen: Sequence[Seen]) -> list[Finding]:
    """Test pictures that the device would refuse as another camera's: off the good parts' sizes by more than its margin."""
    good = [s.photograph for s in seen if s.split != "test"]
    if not good:
        return []
    contract, odd = input_contract(good, 32), []
    for s in seen:
        try:
            contract.check(s.photograph.width, s.photograph.height)
        except RefusedImageError:
            odd.append(s.photograph.path)
    return _some("warning", "odd-size", "of a size that the model will refuse, other than the good parts'", odd)


def grey_and_color(seen: Sequence[Seen]) -> list[Finding]:
    """Color is a difference to a model: where most are one kind, the others are named."""
    grey = [s.photograph.path for s in seen if s.is_grey]
    color = [s.photograph.path for s in seen if not s.is_grey]
    message = f"without color, the others have it ({len(color)})", f"in color, the others have none ({len(grey)})"
    if not grey or not color:
        return []
    return _some("warning", "grey-and-color", message[len(grey) > len(color)], min(grey, color, key=len))


def other_light(seen: Sequence[Seen]) -> list[Finding]:
    """Good parts in other light than the others: the lamp was off, or the exposure was another."""
    good = [s for s in seen if s.photograph.defect is None]
    if not good:
        return []
    levels = np.array([s.brightness for s in good])
    distance = np.abs(levels - np.median(levels))
    limit = _OUTLIER * max(float(np.median(distance)), _LEAST_DEVIATION)
    message = f"good part(s) further than {limit:.0f} grey levels from the usual brightness {np.median(levels):.0f} of 255"
    return _some("warning", "brightness", message, [s.photograph.path for s, d in zip(good, distance, strict=True) if d > limit])


def light_not_learned(seen: Sequence[Seen]) -> list[Finding]:
    """Many good test parts in light that no part of the fit was in: a model that never saw it rejects them."""
    learned = [s.brightness for s in seen if s.split != "test"]
    tests = [s for s in seen if s.split == "test" and s.photograph.defect is None]
    if not learned:
        return []
    low, high = min(learned), max(learned)
    outside = [s.photograph.path for s in tests if not low - _OTHER_LIGHT <= s.brightness <= high + _OTHER_LIGHT]
    if len(outside) <= _FEW * len(tests):
        return []
    where = f"darker or brighter than all that the fit has (mean {low:.0f} to {high:.0f} of 255)"
    advice = "give it parts in every light of the line"
    return _some("warning", "light-not-learned", f"of {len(tests)} good test parts are {where}: {advice}", outside)


def equal(seen: Sequence[Seen]) -> list[Finding]:
    """Byte-equal files: inside a split they count once, between the fit and the test set they make every figure a lie."""
    first: dict[str, Seen] = {}
    twice: list[tuple[Path, Path]] = []
    leaked: list[tuple[Path, Path]] = []
    for s in seen:
        kept = first.setdefault(s.photograph.sha256, s)
        if kept is not s:
            pair = s.photograph.path, kept.photograph.path
            (leaked if (kept.split == "test") != (s.split == "test") else twice).append(pair)
    return [
        *_alike("error", "leak", "test picture(s) equal to a good part of the fit: remove them from one of both", leaked),
        *_alike("warning", "duplicate", "byte-equal to another picture; counted once in a fit", twice),
    ]


def nearly_equal(seen: Sequence[Seen]) -> list[Finding]:
    """Pictures of other bytes and nearly the same content; each is told once, by its first likeness."""
    thumbnails = np.array([s.thumbnail.ravel() for s in seen], dtype=np.float32).reshape(-1, math.prod(_THUMBNAIL))
    near: list[tuple[Path, Path]] = []
    leaked: list[tuple[Path, Path]] = []
    for k, maybe in enumerate(_not_far(thumbnails)):
        difference = np.abs(thumbnails[maybe] - thumbnails[k]).max(axis=1)
        alike = [i for i in maybe[difference < _NEAR_GREY_LEVELS].tolist() if _differ(seen[i], seen[k])]
        if alike:
            across = [i for i in alike if (seen[i].split == "test") != (seen[k].split == "test")]
            pair = seen[k].photograph.path, seen[(across or alike)[0]].photograph.path
            (leaked if across else near).append(pair)
    return [
        *_alike("warning", "near-leak", "test picture(s) nearly equal to one of the fit: the same part twice?", leaked),
        *_alike("warning", "near-duplicate", "nearly equal to another picture of its split: the same part twice?", near),
    ]


def _not_far(thumbnails: NDArray[np.float32]) -> Iterator[NDArray[np.intp]]:
    """For each of (N, P), those before it among which the nearly equal ones are: of 20 000 pictures, in half a minute.

    Where no pixel differs by more, the Euclidean distance is at most sqrt(P) times that, and a matrix product gives all of them.
    """
    centered = thumbnails - thumbnails.mean(axis=0) if len(thumbnails) else thumbnails
    squares = (centered**2).sum(axis=1)
    furthest = 1.01 * thumbnails.shape[1] * _NEAR_GREY_LEVELS**2  # 1 % for rounding
    for first in range(0, len(thumbnails), _ROWS):
        rows = slice(first, first + _ROWS)
        squared = squares[rows, None] + squares[None, : first + _ROWS] - 2 * centered[rows] @ centered[: first + _ROWS].T
        for k, distances in enumerate(squared, first):
            yield np.flatnonzero(distances[:k] < furthest)


def _differ(a: Seen, b: Seen) -> bool:
    return a.photograph.sha256 != b.photograph.sha256


def unfit_masks(seen: Sequence[Seen]) -> list[Finding]:
    """Defects that the pixel figures will leave out, and masks that fit no photograph."""
    missing, empty, wrong, blurred, most = [], [], [], [], []
    for p in (s.photograph for s in seen if s.photograph.defect):
        try:
            if p.mask is None and not p.regions:
                missing.append(p.path)
            elif (mask := read_mask(p)) is None:
                empty.append(p.path)
            elif p.mask is not None and mask.mean() > _MOST:
                most.append(p.mask)
            elif p.mask is not None and len(np.unique(read_image(p.mask))) > _MASK_VALUES:
                blurred.append(p.mask)
        except DataError:
            wrong.append(p.path)
    return [
        *_some("error", "mask-unusable", "defect(s) whose mask cannot be read or is of another size", wrong),
        *_some("warning", "mask-blurred", f"mask(s) of many grey levels{_BLURRED}", blurred),
        *_some("warning", "mask-inverted", "mask(s) that mark more than half of the picture: inverted? (white is defect)", most),
        *_some("warning", "mask-missing", "defect(s) without a mask, left out of the pixel figures", missing),
        *_some("warning", "mask-empty", "defect(s) with an empty mask, left out of the pixel figures", empty),
    ]
