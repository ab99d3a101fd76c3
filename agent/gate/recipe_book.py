"""Which recipe runs, on the disk: a restart, a kill and a power cut must not bring back the one before."""

import logging
import threading
from contextlib import suppress
from pathlib import Path

import msgspec

from agent.config import Line
from agent.whole_file import sync, write_whole

log = logging.getLogger(__name__)

RECIPE_FILE = "recipe.json"


class _Running(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    recipe: int


class RecipeUnreadableError(Exception):
    """The file is there and cannot be read."""


def recipe_of(line: Line, book: "RecipeBook") -> tuple[int, str]:
    """The number of the recipe to start with, and why it may be another one than ran before; empty where it is that one."""
    if not line.recipes:
        return 0, ""
    first = min(line.recipes)
    try:
        kept = book.read()
    except RecipeUnreadableError as e:
        return first, f"which recipe ran before cannot be read ({e}); recipe {first} is set now: choose one, then reset the gate"
    if kept is None:
        return first, ""
    if kept not in line.recipes:
        return first, f"recipe {kept} ran and is not in {line.file} any more; recipe {first} is set now: choose one, then reset"
    return kept, ""


class RecipeBook:
    """One small file, replaced as a whole and synced in a thread of its own: the gate waits for no disk."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._outcome: str | None = None

    def read(self) -> int | None:
        """The number kept last; None where none ever was. Raises RecipeUnreadableError."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=_Running).recipe
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as e:
            raise RecipeUnreadableError(f"{self._file}: {e}") from e

    def keep(self, number: int) -> None:
        """Begins to write; `outcome` says when it is done. One at a time."""
        self._outcome = None
        threading.Thread(target=self._write, args=(number,), name="recipe", daemon=True).start()

    @property
    def outcome(self) -> str | None:
        """Empty once the number is on the disk; why it is not, the one before is then; None while it is being written."""
        return self._outcome

    def _write(self, number: int) -> None:
        try:
            write_whole(self._file, msgspec.json.encode(_Running(number)))
        except OSError as e:
            log.error("%s: recipe %d could not be kept: %s", self._file, number, e)
            self._outcome = f"{self._file}: {e.strerror or e}"
            return
        with suppress(OSError):  # a file system without it; the name itself has changed
            sync(self._file.parent)
        self._outcome = ""
