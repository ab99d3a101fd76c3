"""What lies beside the outbox's file and is written seldom: whose events they are, and how far they were numbered.

A hint only: it tells a file that was put back from a backup, or copied to another station, from one that was merely opened again.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Label:
    """newest: the highest number given out in the stream. told_as: station and topic of the events, empty where nobody said."""

    stream: str
    newest: int
    told_as: str = ""


def read_label(file: Path) -> Label | None:
    """Of the outbox in `file`; None where there is none that can be read."""
    try:
        stream, newest, *told_as = _place(file).read_text().split(maxsplit=2)
        return Label(stream, int(newest), *told_as)
    except (OSError, ValueError):
        return None


def write_label(file: Path, label: Label) -> None:
    """Whole or as it was, after a kill; not synced, for each sync wears the disk. One that does not take it takes no commits
    either."""
    part = _place(file).with_suffix(".mark-part")
    with contextlib.suppress(OSError):
        part.write_text(f"{label.stream} {label.newest} {label.told_as}".rstrip())
        part.replace(_place(file))


def _place(file: Path) -> Path:
    return file.with_suffix(".mark")
