"""A broken SQLite file: moved out of the way with all that belongs to it, for whoever wants to know how it broke."""

import contextlib
from pathlib import Path

_KEPT = 3  # a disk that breaks one after the other must not fill with them
_PARTS = ("", "-wal", "-shm")


def set_aside(file: Path) -> Path:
    """Gives its new place, FILE.broken-N, where none was before. Only the newest few stay. Raises OSError."""
    before = _numbers(file)
    away = _place(file, max(before, default=-1) + 1)
    for part in _PARTS:
        with contextlib.suppress(FileNotFoundError):
            file.with_name(file.name + part).rename(away.with_name(away.name + part))
    for number in before[: -_KEPT + 1]:
        for part in _PARTS:
            old = _place(file, number)
            with contextlib.suppress(OSError):  # what cannot be deleted must not keep the new file from being made
                old.with_name(old.name + part).unlink()
    return away


def _numbers(file: Path) -> list[int]:
    """Of those that lie there, the oldest first."""
    names = (other.name.removeprefix(f"{file.name}.broken-") for other in file.parent.glob(f"{file.name}.broken-*"))
    return sorted({int(number) for name in names if (number := name.partition("-")[0]).isdecimal()})


def _place(file: Path, number: int) -> Path:
    return file.with_name(f"{file.name}.broken-{number}")
