"""What is wrong with a folder of photographs, and what it can support, said before anyone spends hours on a fit."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.calibration import parts_needed, supported_rate
from agent.preprocess import Pixels, RefusedImageError, read_image
from training.data import DataError, Photograph, good_parts, input_contract, read_mask, read_photographs, unseen_parts
from training.evaluation import write_file
from training.layouts import layout_of
from training.layouts.listing import Listed

_EPILOG = """example:
  kensa data check data/tire
  kensa data check data/visa/candle --json candle.json

DIR is a plain folder of good parts or has the layout of MVTec AD, MVTec LOCO, MVTec 3D-AD or VisA (name the category).
Near-duplicates differ nowhere by 3 of 255 grey levels when shrunk to 32x32: copies saved again, or frames of a part that
stood still. The exit status is 0 where `kensa fit` will take the photographs, 2 where it will not.
"""

_WISHED_RATE = 0.01
_NEAR_GREY_LEVELS = 3.0  # saving again as JPEG moves no pixel of the thumbnail so far; another part of its kind moves some
_THUMBNAIL = (32, 32)
_OUTLIER = 8.0  # median absolute deviations from the median brightness
_LEAST_DEVIATION = 1.0  # grey level: parts under steady light must not call each other outliers
_NAMED = 5


class Finding(msgspec.Struct, frozen=True):
    """One thing that is not as it should be. An error keeps the data set from being used; a warning does not."""

    weight: Literal["error", "warning"]
    kind: str
    message: str
    files: tuple[str, ...] = ()


class Check(msgspec.Struct, frozen=True):
    """What was found. counts: of pictures, by split and class. formats: of readable pictures, such as `96x80 8 bit color`.

    held_out: good parts for the threshold; false_reject_rate: the smallest they support at 95 % confidence, None without.
    """

    layout: str
    counts: dict[str, dict[str, int]]
    formats: dict[str, int]
    findings: tuple[Finding, ...]
    train: int
    held_out: int
    false_reject_rate: float | None
    usable: bool


class _Seen(NamedTuple):
    """A readable picture. brightness: mean, of 255 in 8 bit and of the full 16 bit scaled so; thumbnail: 32x32, likewise."""

    split: str
    photograph: Photograph
    format: str
    is_grey: bool
    brightness: float
    thumbnail: NDArray[np.float32]


def check(root: Path, seed: int = 0) -> Check:
    """Every picture of the data set in `root`, opened once. Raises DataError only where its layout is not known or whole."""
    layout = layout_of(root)
    splits = {"train": layout.train(), "validation": layout.validation()}
    splits["test"] = layout.test() if layout.test_files() else []
    seen, findings = _open(splits)
    findings += _size_findings(seen) + _color_findings(seen) + _brightness_findings(seen)
    findings += _equal_findings(seen) + _near_findings(seen) + _mask_findings(seen)
    try:
        parts = good_parts(root, seed)
        train, held_out = len(parts.train), len(parts.calibration)
        if splits["test"]:
            unseen_parts(root)
    except DataError as e:
        train = held_out = 0
        findings.append(Finding("error", "refused", str(e)))
    return Check(
        layout=layout.name,
        counts={name: dict(Counter(p.defect or "good" for p in listed)) for name, listed in splits.items() if listed},
        formats=dict(Counter(s.format for s in seen).most_common()),
        findings=tuple(sorted(findings, key=lambda f: f.weight)),
        train=train,
        held_out=held_out,
        false_reject_rate=supported_rate(held_out) if held_out else None,
        usable=not any(f.weight == "error" for f in findings),
    )


def _open(splits: dict[str, list[Listed]]) -> tuple[list[_Seen], list[Finding]]:
    """The readable pictures, and a finding for those that are not."""
    seen, bad = [], []
    for split, listed in splits.items():
        for entry in listed:
            try:
                (photograph,) = read_photographs([entry.path])
                pixels = read_image(entry.path)
            except (DataError, RefusedImageError):
                bad.append(entry.path)
                continue
            photograph = replace(photograph, defect=entry.defect, mask=entry.mask, depth=entry.depth, regions=entry.regions)
            seen.append(_look(split, photograph, pixels))
    return seen, _some("error", "unreadable", "cannot be read as a picture of at least 16 px: repair or remove", bad)


def _look(split: str, photograph: Photograph, pixels: Pixels) -> _Seen:
    bits = 8 * pixels.dtype.itemsize
    is_grey = bool((pixels == pixels[..., :1]).all())
    shrunk = cv2.resize(pixels.astype(np.float32), _THUMBNAIL, interpolation=cv2.INTER_AREA).mean(axis=2)
    thumbnail = np.asarray(shrunk * (255.0 / (2**bits - 1)), dtype=np.float32)
    name = f"{photograph.width}x{photograph.height} {bits} bit {'grey' if is_grey else 'color'}"
    return _Seen(split, photograph, name, is_grey, float(thumbnail.mean()), thumbnail)


def _some(weight: Literal["error", "warning"], kind: str, message: str, paths: Sequence[Path]) -> list[Finding]:
    """One finding for all paths, none for none."""
    return [Finding(weight, kind, f"{len(paths)} {message}", tuple(map(str, paths)))] if paths else []


def _size_findings(seen: Sequence[_Seen]) -> list[Finding]:
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


def _color_findings(seen: Sequence[_Seen]) -> list[Finding]:
    """Color is a difference to a model: where most are one kind, the others are named."""
    grey = [s.photograph.path for s in seen if s.is_grey]
    color = [s.photograph.path for s in seen if not s.is_grey]
    message = f"without color, the others have it ({len(color)})", f"in color, the others have none ({len(grey)})"
    if not grey or not color:
        return []
    return _some("warning", "grey-and-color", message[len(grey) > len(color)], min(grey, color, key=len))


def _brightness_findings(seen: Sequence[_Seen]) -> list[Finding]:
    """Good parts in other light than the others: the lamp was off, or the exposure was another."""
    good = [s for s in seen if s.photograph.defect is None]
    if not good:
        return []
    levels = np.array([s.brightness for s in good])
    distance = np.abs(levels - np.median(levels))
    limit = _OUTLIER * max(float(np.median(distance)), _LEAST_DEVIATION)
    message = f"good part(s) further than {limit:.0f} grey levels from the usual brightness {np.median(levels):.0f} of 255"
    return _some("warning", "brightness", message, [s.photograph.path for s, d in zip(good, distance, strict=True) if d > limit])


def _equal_findings(seen: Sequence[_Seen]) -> list[Finding]:
    """Byte-equal files: inside a split they count once, between the fit and the test set they make every figure a lie."""
    first: dict[str, _Seen] = {}
    twice: list[Path] = []
    leaked: list[Path] = []
    for s in seen:
        kept = first.setdefault(s.photograph.sha256, s)
        if kept is not s:
            (leaked if (kept.split == "test") != (s.split == "test") else twice).append(s.photograph.path)
    return [
        *_some("error", "leak", "test picture(s) equal to a good part of the fit: remove them from one of both", leaked),
        *_some("warning", "duplicate", "byte-equal to another picture of its split; counted once in a fit", twice),
    ]


def _near_findings(seen: Sequence[_Seen]) -> list[Finding]:
    """Pictures of other bytes and nearly the same content; each is told once, by its first likeness."""
    thumbnails = np.array([s.thumbnail.ravel() for s in seen], dtype=np.float32).reshape(len(seen), -1)
    near: list[Path] = []
    leaked: list[Path] = []
    for k in range(1, len(seen)):
        # (k,): largest difference to each picture before
        difference = np.abs(thumbnails[:k] - thumbnails[k]).max(axis=1)
        alike = [i for i in np.flatnonzero(difference < _NEAR_GREY_LEVELS).tolist() if _differ(seen[i], seen[k])]
        if alike:
            crosses = any((seen[i].split == "test") != (seen[k].split == "test") for i in alike)
            (leaked if crosses else near).append(seen[k].photograph.path)
    return [
        *_some("warning", "near-leak", "test picture(s) nearly equal to one of the fit: the same part twice?", leaked),
        *_some("warning", "near-duplicate", "nearly equal to another picture of its split: the same part twice?", near),
    ]


def _differ(a: _Seen, b: _Seen) -> bool:
    return a.photograph.sha256 != b.photograph.sha256


def _mask_findings(seen: Sequence[_Seen]) -> list[Finding]:
    """Defects that the pixel figures will leave out, and masks that fit no photograph."""
    missing, empty, wrong = [], [], []
    for p in (s.photograph for s in seen if s.photograph.defect):
        try:
            if p.mask is None and not p.regions:
                missing.append(p.path)
            elif read_mask(p) is None:
                empty.append(p.path)
        except DataError:
            wrong.append(p.path)
    return [
        *_some("error", "mask-unusable", "defect(s) whose mask cannot be read or is of another size", wrong),
        *_some("warning", "mask-missing", "defect(s) without a mask, left out of the pixel figures", missing),
        *_some("warning", "mask-empty", "defect(s) with an empty mask, left out of the pixel figures", empty),
    ]


def explain(found: Check) -> str:
    """All of it, for the person who must decide."""
    lines = [f"layout {found.layout}"]
    for split, kinds in found.counts.items():
        lines.append(f"  {split:11s}{sum(kinds.values()):6d}   " + ", ".join(f"{kind} {n}" for kind, n in kinds.items()))
    formats = [f"{name} ({n})" for name, n in found.formats.items()]
    more = f" and {len(formats) - _NAMED} more" if len(formats) > _NAMED else ""
    lines.append("pictures " + ("all " + next(iter(found.formats)) if len(formats) == 1 else ", ".join(formats[:_NAMED]) + more))
    for finding in found.findings:
        lines.append(f"{finding.weight}: {finding.message}")
        lines += [f"  {file}" for file in finding.files[:_NAMED]]
        lines += [f"  and {len(finding.files) - _NAMED} more"] if len(finding.files) > _NAMED else []
    if found.false_reject_rate is not None:
        lines.append(f"{found.train} good parts to learn from, {found.held_out} held out for the threshold")
        needed = parts_needed(_WISHED_RATE)
        lines.append(
            f"these can vouch for at most {100 * found.false_reject_rate:.3g} % of good parts rejected (95 % confidence)"
            + (f"; 1 % needs {needed}, {needed - found.held_out} more" if found.held_out < needed else "")
        )
    warnings = sum(finding.weight == "warning" for finding in found.findings)
    verdict = "usable" if found.usable else "not usable: see the errors above"
    return "\n".join([*lines, f"verdict: {verdict}" + (f", {warnings} warning(s)" if warnings else "")])


def data_command(arguments: list[str]) -> int:
    """`kensa data check`: 0 usable, 2 not usable or a mistake that the message names."""
    options = _parser().parse_args(arguments)
    try:
        found = check(options.folder)
        if options.json is not None:
            write_file(options.json, msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    except DataError as e:
        print(f"kensa data check: {e}", file=sys.stderr)
        return 2
    print(explain(found))
    return 0 if found.usable else 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kensa data",
        description="Says what is wrong with a data set and what it can support.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=("check",), help="the one thing to do so far")
    parser.add_argument("folder", type=Path, metavar="DIR", help="a data set")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the findings, for machines")
    return parser
