"""Which alarms are raised now; each raising is told once and followed by one clearing, over restarts too."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from agent.patient_thread import PatientThread
from agent.whole_file import write_whole

log = logging.getLogger(__name__)

FILE = "alarms.json"


class AlarmWatch:
    """alert: tells people, with a name, `raised` or `cleared`, and words. file: by which a restart knows what it has to clear."""

    def __init__(self, alert: Callable[[str, str, str], None], file: Path) -> None:
        self._alert = alert
        self._file = file
        self.raised = _read(file)
        self._keeper = PatientThread("alarms", self._write, most=1, patience_s=0.0)  # its disk may hang

    def look(self, found: Mapping[str, str]) -> None:
        """Name to words of all that is so now."""
        begun, over = found.keys() - self.raised.keys(), self.raised.keys() - found.keys()
        for name in begun:
            self._alert(name, "raised", found[name])
        for name in over:
            self._alert(name, "cleared", self.raised[name])
        self.raised = dict(found)
        if begun or over:
            self._keeper.hand_over(self.raised)

    def close(self) -> None:
        self._keeper.close()

    def _write(self, raised: dict[str, str]) -> None:
        try:
            write_whole(self._file, msgspec.json.encode(raised))
        except OSError as e:
            log.error("%s: a restart will not know which alarms it has to clear: %s", self._file, e.strerror)


def _read(file: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as e:
        log.error("%s: %s; alarms from before the restart are not cleared", file, e)
        return {}
