"""What commands have done to a station and a restart must know: that it is paused, and which commands it has obeyed."""

import logging
from datetime import datetime
from pathlib import Path

import msgspec

from agent.whole_file import write_whole

log = logging.getLogger(__name__)


class Standing(msgspec.Struct, frozen=True):
    """What a restart must not forget. paused: why; None: it is not. distrusted: by a self-test; a restart tests anew."""

    paused: str | None = None
    remembered: dict[str, datetime] = {}
    distrusted: bool = False


def read_standing(file: Path) -> Standing:
    """A file that cannot be read costs the memory of a pause: parts are inspected then, and a bad one is rejected."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Standing)
    except FileNotFoundError:
        return Standing()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as e:
        log.error("%s: %s; a pause from before the restart is forgotten", file, e)
        return Standing()


def keep_standing(file: Path, standing: Standing) -> None:
    """A disk that refuses it costs the memory of a restart, loudly, and never the command."""
    try:
        write_whole(file, msgspec.json.encode(standing))
    except OSError as e:
        log.error("%s: a restart will not know of this command: %s", file, e.strerror)
