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
    """A disk that does not take it does not take commits either."""
    with contextlib.suppress(OSError):
        _place(file).write_text(f"{label.stream} {label.newest} {label.told_as}".rstrip())


def _place(file: Path) -> Path:
    return file.with_suffix(".mark")
