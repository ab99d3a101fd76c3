"""Which recipe runs, on the disk: a restart, a kill and a power cut must not bring back the one before."""

import logging
import threading
from contextlib import suppress
from pathlib import Path

import msgspec

from agent.config import Line
from agent.whole_file import sync, write_whole

log = logging.getLogger(__name__)

_FILE = "recipe.json"


class _Running(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    recipe: int


def recipe_of(line: Line) -> tuple[int, str]:
    """The number of the recipe to start with, and why it may be another one than ran before; empty where it is that one."""
    if not line.recipes:
        return 0, ""
    first, file = min(line.recipes), line.state / _FILE
    try:
        kept = msgspec.json.decode(file.read_bytes(), type=_Running).recipe
    except FileNotFoundError:
        return first, ""
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as e:
        why = f"which recipe ran before cannot be read ({file}: {e})"
        return first, f"{why}; recipe {first} is set now: choose one, then reset the gate"
    if kept not in line.recipes:
        return first, f"recipe {kept} ran and is not in {line.file} any more; recipe {first} is set now: choose one, then reset"
    return kept, ""


class RecipeBook:
    """One small file, replaced as a whole and synced in a thread of its own: the gate waits for no disk."""

    def __init__(self, state: Path) -> None:
        self._file = state / _FILE
        self._writing: threading.Thread | None = None  # until it has been told what came of it
        self._number = 0
        self._why_not = ""

    def keep(self, number: int) -> str | None:
        """To be asked until it is known: empty once the number is on the disk; why it is not, the one before is then; else None.

        One is written after the other.
        """
        if self._writing is not None:
            if self._writing.is_alive():
                return None
            self._writing = None
            if self._number == number:
                return self._why_not
        self._number, self._why_not = number, f"{self._file}: not written"
        self._writing = threading.Thread(target=self._write, args=(number,), name="recipe", daemon=True)
        self._writing.start()
        return None

    def _write(self, number: int) -> None:
        try:
            write_whole(self._file, msgspec.json.encode(_Running(number)))
        except OSError as e:
            log.error("%s: recipe %d could not be kept: %s", self._file, number, e)
            self._why_not = f"{self._file}: {e.strerror or e}"
            return
        with suppress(OSError):  # a file system without it; the name itself has changed
            sync(self._file.parent)
        self._why_not = ""
