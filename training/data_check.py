"""What is wrong with a folder of photographs, and what it can support, said before anyone spends hours on a fit."""

import argparse
import sys
from collections import Counter
from pathlib import Path

import msgspec

from agent.calibration import parts_needed, supported_rate
from agent.preprocess import RefusedImageError, read_depth
from training.data import DataError, as_listed, divided, way_to_hold_out
from training.data_faults import (
    Finding,
    Seen,
    as_the_fit_sees,
    equal,
    grey_and_color,
    light_not_learned,
    look,
    nearly_equal,
    odd_sizes,
    one_sided,
    other_light,
    overlooked,
    turned,
    unfit_masks,
    unreadable,
)
from training.evaluation import write_file
from training.layouts import layout_of
from training.layouts.listing import Listed
from training.photographs import read_photograph
from training.progress import UNWATCHED, Progress, progress_on

_EPILOG = """example:
  kensa data check data/tire
  kensa data check data/visa/candle --json candle.json

DIR is a plain folder of good parts or has the layout of MVTec AD, MVTec LOCO, MVTec 3D-AD or VisA (name the category).
Near-duplicates differ nowhere by 3 of 255 grey levels when shrunk to 32x32: copies saved again, or frames of a part that
stood still. The exit status is 2 where an error is listed, 0 where nothing keeps what is there from being fitted and evaluated
as it lies; good parts or defects that the test set has none of yet are a warning.
"""

_WISHED_RATE = 0.01
_NAMED = 5


class Check(msgspec.Struct, frozen=True):
    """What was found. counts: of pictures, by split and class. formats: of readable pictures, such as `96x80 8 bit color`.

    held_out: good parts for the threshold; held_out_by_hand: those of them that the data set holds out itself.
    held_out_in: where it does; empty for a layout that has no place for them.
    false_reject_rate: the smallest they support at 95 % confidence, None without.
    """

    layout: str
    counts: dict[str, dict[str, int]]
    formats: dict[str, int]
    findings: tuple[Finding, ...]
    train: int
    held_out: int
    held_out_by_hand: int
    held_out_in: str
    false_reject_rate: float | None
    usable: bool


def check(root: Path, seed: int = 0, progress: Progress = UNWATCHED) -> Check:
    """Every picture of the data set in `root`, opened once. Raises DataError only where good parts cannot be listed."""
    layout = layout_of(root)
    splits = {"train": layout.train(), "validation": layout.validation(), "test": []}
    test_files: list[Path] = []
    refused: list[Finding] = []
    try:
        if test_files := layout.test_files():
            splits["test"] = layout.test()
    except DataError as e:
        refused = [Finding("error", "test-refused", str(e))]
    seen, bad = _open(splits, progress)
    known = {entry.path for listed in splits.values() for entry in listed}
    findings = refused + unreadable(bad) + overlooked(root, known.union(test_files if refused else ()))
    findings += odd_sizes(seen) + turned(seen) + grey_and_color(seen) + other_light(seen) + light_not_learned(seen)
    findings += equal(seen) + nearly_equal(seen) + unfit_masks(seen)
    by_split = {name: [s.photograph for s in seen if s.split == name] for name in splits}
    try:
        parts = divided(root, by_split["validation"], by_split["train"], test_files, seed)
        train, held_out = len(parts.train), len(parts.calibration)
        by_hand = len({p.path for p in parts.calibration} & {p.path for p in by_split["validation"]})
    except DataError as e:
        train = held_out = by_hand = 0
        findings.append(Finding("error", "refused", str(e)))
    findings += one_sided(root, splits["test"])
    return Check(
        layout=layout.name,
        counts={name: dict(Counter(p.defect or "good" for p in listed)) for name, listed in splits.items() if listed},
        formats=dict(Counter(s.format for s in seen).most_common()),
        findings=tuple(sorted(findings, key=lambda f: f.weight)),
        train=train,
        held_out=held_out,
        held_out_by_hand=by_hand,
        held_out_in=layout.held_out_in,
        false_reject_rate=supported_rate(held_out) if held_out else None,
        usable=not any(f.weight == "error" for f in findings),
    )


def _open(splits: dict[str, list[Listed]], progress: Progress) -> tuple[list[Seen], list[tuple[Path, str]]]:
    """The readable pictures, and the files that are not, each with the reason. A part whose depth is not is readable."""
    seen, bad = [], []
    listed = [(split, entry) for split, entries in splits.items() for entry in entries]
    for split, entry in progress.track(listed, "photographs"):
        try:
            photograph, pixels = read_photograph(entry.path)
            seen.append(look(split, as_listed(photograph, entry), pixels))
            size = pixels.shape[:2]
        except RefusedImageError as e:
            bad.append((entry.path, str(e)))
            size = None
        if entry.depth is not None:
            try:
                found = read_depth(entry.depth).shape
                if size is not None and found != size:
                    bad.append((entry.depth, f"{entry.depth}: depth is {found[1]}x{found[0]} px, its image {size[1]}x{size[0]}"))
            except RefusedImageError as e:
                bad.append((entry.depth, str(e)))
    return as_the_fit_sees(seen), bad


def explain(found: Check) -> str:
    """All of it, for the person who must decide."""
    lines = [f"layout {found.layout}"]
    for split, kinds in found.counts.items():
        lines.append(f"  {split:11s}{sum(kinds.values()):6d}   " + ", ".join(f"{kind} {n}" for kind, n in kinds.items()))
    formats = [f"{name} ({n})" for name, n in found.formats.items()]
    more = f" and {len(formats) - _NAMED} more" if len(formats) > _NAMED else ""
    if formats:
        lines.append(
            "pictures " + ("all " + next(iter(found.formats)) if len(formats) == 1 else ", ".join(formats[:_NAMED]) + more)
        )
    for finding in found.findings:
        lines.append(f"{finding.weight}: {finding.message}")
        lines += [f"  {file}" for file in (finding.reasons or finding.files)[:_NAMED]]
        lines += [f"  and {len(finding.files) - _NAMED} more"] if len(finding.files) > _NAMED else []
    if found.false_reject_rate is not None:
        lines.append(f"{found.train} good parts to learn from, {found.held_out} held out for the threshold")
        needed = parts_needed(_WISHED_RATE)
        lines.append(
            f"these can vouch for at most {100 * found.false_reject_rate:.3g} % of good parts rejected (95 % confidence)"
            + (f"; 1 % needs {needed}, {needed - found.held_out} more" if found.held_out < needed else "")
        )
        if found.held_out < needed:
            way = way_to_hold_out(needed, found.held_out_by_hand, found.train + found.held_out, found.held_out_in)
            lines.append(f"to have them, {way}")
    warnings = sum(finding.weight == "warning" for finding in found.findings)
    verdict = "usable" if found.usable else "not usable: see the errors above"
    return "\n".join([*lines, f"verdict: {verdict}" + (f", {warnings} warning(s)" if warnings else "")])


def data_command(arguments: list[str]) -> int:
    """`kensa data check`: 0 usable, 2 not usable. Raises DataError."""
    options = _parser().parse_args(arguments)
    found = check(options.folder, progress=progress_on(sys.stderr))
    if options.json is not None:
        write_file(options.json, msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
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
