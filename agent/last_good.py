"""The last configuration a process could work with: a mistake in the file must not keep a line from starting again at night.

Only under systemd, which names a folder for it (StateDirectory=). On a desk the mistake is what one wants to see.
"""

import dataclasses
import hashlib
import logging
import os
from pathlib import Path

from agent.config import Line, load_line
from agent.drivers import ConfigError
from agent.whole_file import write_whole

log = logging.getLogger(__name__)


def load_or_last_good(file: Path, role: str) -> Line:
    """The line in `file`; where that is wrong, the one that this role last worked with, whose `trouble` says so.

    Raises ConfigError where there is none.
    """
    try:
        return load_line(file)
    except ConfigError as e:
        copy = _copy(role)
        if copy is None or not copy.is_file():
            raise
        try:
            line = load_line(copy, file.resolve().parent)
        except ConfigError:
            raise e from None
        trouble = f"{e}; the last good configuration is used instead ({copy}): correct the file, `kensa check` it, restart"
        log.error("%s", trouble)
        return dataclasses.replace(line, file=file.resolve(), trouble=trouble)


def remember(line: Line, role: str) -> None:
    """This line could be worked with; kept for a start at which its file is wrong. A disk that is full only costs that."""
    copy = _copy(role)
    if copy is None or line.trouble:
        return
    try:
        text = line.file.read_bytes()
        if hashlib.sha256(text).hexdigest() != line.sha256:
            return  # written anew since: nobody has worked with that yet
        if copy.is_file() and copy.read_bytes() == text:
            return
        write_whole(copy, text)
    except OSError as e:
        log.warning("the configuration could not be kept as the last good one: %s", e)


def _copy(role: str) -> Path | None:
    folder = os.environ.get("STATE_DIRECTORY")
    return Path(folder) / f"last-good-{role}.yaml" if folder else None
