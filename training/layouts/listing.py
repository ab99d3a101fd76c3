"""What every layout gives: pictures by name, with what has been drawn of their defects, and one way to refuse them."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.error import InputError
from agent.preprocess import IMAGE_SUFFIXES

EXPECTED = "expected train/good/ (MVTec layout) or a folder with photographs of good parts directly in it"
FOREIGN_SUFFIXES = frozenset({".heic", ".heif", ".avif", ".gif", ".jfif", ".jp2", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf"})
_BREAKING = frozenset({"Cc", "Zl", "Zp"})  # control characters and line breaks, among Unicode's categories
_FOLDERS = 6  # named in one message
_NAMED = 10  # culprits in one message; more are counted


class DataError(InputError):
    """Photographs that cannot be used; the message names the files and why."""


@dataclass(frozen=True, slots=True)
class Region:
    """One region of MVTec LOCO: the pixels of `path` with this value are one defect, found once saturated.

    saturation_threshold: px, or with `relative_saturation` the share of the region's area, that counts as all of it.
    """

    path: Path
    pixel_value: int
    defect: str
    saturation_threshold: float
    relative_saturation: bool


@dataclass(frozen=True, slots=True)
class Listed:
    """A picture as its layout lists it, not opened yet. defect: its class, None for a good part."""

    path: Path
    defect: str | None = None
    mask: Path | None = None
    depth: Path | None = None
    regions: tuple[Region, ...] = ()


def pictures(folder: Path, deep: bool = False) -> list[Path]:
    """Files that claim to be pictures, by name; hidden files are not looked at."""
    if not folder.is_dir():
        return []
    found = folder.rglob("*") if deep else folder.iterdir()
    return sorted(p for p in found if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))


def besides(folder: Path) -> str:
    """What lies in the folder and was meant to be a photograph, as the end of a message; empty where nothing does."""
    foreign = [p for p in folder.iterdir() if p.suffix.lower() in FOREIGN_SUFFIXES] if folder.is_dir() else []
    if foreign:
        return f"; found {len(foreign)} {foreign[0].suffix}, which is not read: save them as JPEG or PNG"
    deeper = pictures(folder, deep=True)
    return f"; found {len(deeper)} in its sub-folders, which are not looked into: move them up" if deeper else ""


def folders_with_pictures(root: Path) -> str:
    """Where the photographs lie that were not looked for, and what to do, as the end of a message."""
    found = Counter(told(p.parent.relative_to(root)) for p in pictures(root, deep=True))
    if not found:
        return besides(root)
    named = ", ".join(f"{folder}/ ({n})" for folder, n in found.most_common(_FOLDERS))
    more = f" and {len(found) - _FOLDERS} more folders" if len(found) > _FOLDERS else ""
    return (
        f"; found photographs in {named}{more}: name the folder of the good ones, "
        "or move those to train/good, others to test with to test/good and test/<defect>"
    )


def told(path: Path) -> str:
    """The path as one line that can be printed and kept; what is not UTF-8, breaks a line or controls a screen is spelled out."""
    text = str(path).encode(errors="backslashreplace").decode()
    return "".join(repr(c)[1:-1] if unicodedata.category(c) in _BREAKING else c for c in text)


def unfit_name(path: Path) -> str:
    """Why a table and a RUN cannot name the file or folder, with its name; empty where they can."""
    if told(path) == str(path):
        return ""
    is_utf_8 = all(unicodedata.category(c) != "Cs" for c in str(path))
    what = "has a line break or a control character" if is_utf_8 else "is not UTF-8 (unpacked from a zip of Windows?)"
    return f"{told(path)}: its name {what}: rename it"


def refuse(bad: Sequence[str], what: str = "photograph") -> None:
    """Raises one DataError for all reasons, if there are any."""
    if bad:
        more = f"\n  and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        listed = "".join(f"\n  {reason}" for reason in bad[:_NAMED])
        raise DataError(f"{len(bad)} {what}(s) cannot be used; repair or remove them:{listed}{more}")
