"""A broken SQLite file: out of the way with all that belongs to it, and kept for people.

FILE.unsaved says by its name that nobody has saved yet what it holds; a kill leaves it there, and the next start goes on with it.
Once that is done it is FILE.broken-N.
"""

import contextlib
from pathlib import Path

from agent.whole_file import sync

_KEPT = 3  # a disk that breaks one after the other must not fill with them
_PARTS = ("-shm", "-wal", "")  # the file itself last: as long as it is in its place, so is all


def take_away(file: Path) -> None:
    """It is FILE.unsaved now. Where there is one already this file was to take its content, and holds less. Raises OSError."""
    if unsaved(file) is None:
        _move(file, _unsaved(file))
    else:
        set_aside(file)


def unsaved(file: Path) -> Path | None:
    """What was taken away and has not been saved yet. Ask before the file is opened. Raises OSError."""
    away = _unsaved(file)
    if not away.exists() and any(_part(away, part).exists() for part in _PARTS):
        _move(file, away)  # a kill came in between
    return away if away.exists() else None


def is_saved(file: Path) -> Path:
    """What was taken away is of interest to people only; gives its new place. Raises OSError."""
    return _set_aside(_unsaved(file), file)


def set_aside(file: Path) -> Path:
    """Gives its new place, FILE.broken-N, where none was before. Only the newest few stay. Raises OSError."""
    return _set_aside(file, file)


def next_place(file: Path) -> Path:
    """Of the next one that is set aside."""
    return _place(file, max(_numbers(file), default=-1) + 1)


def _set_aside(source: Path, file: Path) -> Path:
    before, away = _numbers(file), next_place(file)
    _move(source, away)
    for number in before[: -_KEPT + 1]:
        for part in _PARTS:
            with contextlib.suppress(OSError):  # what cannot be deleted must not keep the new file from being made
                _part(_place(file, number), part).unlink()
    return away


def _move(file: Path, away: Path) -> None:
    for part in _PARTS:
        with contextlib.suppress(FileNotFoundError):
            _part(file, part).rename(_part(away, part))
    with contextlib.suppress(OSError):
        sync(file.parent)


def _numbers(file: Path) -> list[int]:
    """Of those that lie there, the oldest first."""
    names = (other.name.removeprefix(f"{file.name}.broken-") for other in file.parent.glob(f"{file.name}.broken-*"))
    return sorted({int(number) for name in names if (number := name.partition("-")[0]).isdecimal()})


def _place(file: Path, number: int) -> Path:
    return file.with_name(f"{file.name}.broken-{number}")


def _unsaved(file: Path) -> Path:
    return file.with_name(f"{file.name}.unsaved")


def _part(file: Path, part: str) -> Path:
    return file.with_name(file.name + part)
