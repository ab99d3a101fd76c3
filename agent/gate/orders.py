"""What a person has ordered at the gate or still has to do there; a restart must not forget it."""

import logging
import threading
from pathlib import Path

import msgspec

from agent.gate.line_stop import Reason
from agent.whole_file import sync

log = logging.getLogger(__name__)

_PATIENCE_S = 0.05  # a pulse as late as that may still take its part off


class Orders(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """maintenance: outputs are inert, people may have their hands in the machine. held: why the line must stand, with details."""

    maintenance: bool = False
    held: dict[Reason, str] = {}


UNREADABLE = Orders(maintenance=True, held={Reason.UNREADABLE: "what was ordered before the restart cannot be read"})


class OrderBook:
    """One small file, replaced as a whole. A disk that hangs or refuses it costs the memory of a restart, loudly, and never the
    line; who writes tries again."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._is_written = False
        self._writing: threading.Thread | None = None

    def read(self) -> Orders:
        """A file that cannot be read is taken for the worst: maintenance and a halt."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Orders)
        except FileNotFoundError:
            return Orders()
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as e:
            log.error("%s: %s; outputs stay inert until maintenance is ended and the gate reset", self._file, e)
            return UNREADABLE

    def write(self, orders: Orders) -> bool:
        """Whether a restart will know of it; after a power cut too once the disk has it, for which nobody waits here."""
        if self._writing is not None and self._writing.is_alive():
            return False  # the disk hangs
        self._is_written = False
        self._writing = threading.Thread(target=self._write, args=(orders,), name="orders", daemon=True)
        self._writing.start()
        self._writing.join(_PATIENCE_S)
        return self._is_written

    def _write(self, orders: Orders) -> None:
        fresh = self._file.with_suffix(".new")
        try:
            fresh.write_bytes(msgspec.json.encode(orders))
            fresh.replace(self._file)
        except OSError as e:
            log.error("%s: a restart will not know of this: %s (%s)", self._file, orders, e.strerror)
            return
        self._is_written = True
        threading.Thread(target=self._settle, name="orders", daemon=True).start()

    def _settle(self) -> None:
        try:
            sync(self._file)
            sync(self._file.parent)
        except OSError as e:
            log.error("%s: a restart after a power cut may not know what was ordered last: %s", self._file, e.strerror)
