"""What people should know of the gate: kept until an inspection process has taken it, and never a storm."""

import logging
from collections import deque

from agent.link import Alarm

log = logging.getLogger(__name__)

_MOST_KEPT = 64
_QUIET_NS = 60_000_000_000


class Alarms:
    """Alarms of one ejector process; the same name at most once a minute. Beyond 64 kept the oldest are dropped, counted.

    boot: of the ejector process; makes the keys unique, by which a second copy of an alarm is known.
    """

    def __init__(self, boot: str) -> None:
        self.suppressed = 0
        self.dropped = 0
        self._boot = boot
        self._n = 0
        self._last_ns: dict[str, int] = {}
        self._kept: deque[Alarm] = deque()

    def add(self, name: str, detail: str, now_ns: int) -> None:
        """Into the log, and to the inspection process when there is one."""
        last_ns = self._last_ns.get(name)
        if last_ns is not None and now_ns - last_ns < _QUIET_NS:
            self.suppressed += 1
            return
        self._last_ns[name] = now_ns
        self._n += 1
        log.error("%s: %s", name, detail)
        self._kept.append(Alarm(f"{self._boot}/alarm/{self._n}", name, detail[:500]))
        if len(self._kept) > _MOST_KEPT:
            self._kept.popleft()
            self.dropped += 1

    def reset(self) -> None:
        """A person has looked: what comes again is told at once."""
        self._last_ns.clear()

    def next(self) -> Alarm | None:
        """The oldest that nobody has taken."""
        return self._kept[0] if self._kept else None

    def taken(self) -> None:
        self._kept.popleft()
