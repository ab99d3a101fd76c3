"""What people should know of the gate: kept until an inspection process has it in its outbox, and never a storm."""

import logging

from agent.link import Alarm

log = logging.getLogger(__name__)

_MOST_KEPT = 64
_QUIET_NS = 60_000_000_000


class Alarms:
    """Alarms of one ejector process; the same name at most once a minute. Beyond 64 kept the oldest are dropped, counted.

    boot: of the ejector process; makes the keys unique, by which a second copy of an alarm is known.
    """

    def __init__(self, boot: str) -> None:
        self.dropped = 0
        self._boot = boot
        self._n = 0
        self._last_ns: dict[str, int] = {}
        self._kept: dict[str, Alarm] = {}  # by key, oldest first
        self._told: set[str] = set()

    def add(self, name: str, detail: str, now_ns: int) -> bool:
        """Into the log, and to the inspection process when there is one; False where it was told within the minute."""
        last_ns = self._last_ns.get(name)
        if last_ns is not None and now_ns - last_ns < _QUIET_NS:
            return False
        self._last_ns[name] = now_ns
        self._n += 1
        log.error("%s: %s", name, detail)
        alarm = Alarm(f"{self._boot}/alarm/{self._n}", name, detail[:500])
        self._kept[alarm.key] = alarm
        if len(self._kept) > _MOST_KEPT:
            oldest = next(iter(self._kept))
            self.dropped += oldest not in self._told
            self.heeded((oldest,))
        return True

    def reset(self) -> None:
        """A person has looked: what comes again is told at once."""
        self._last_ns.clear()

    def next(self) -> Alarm | None:
        """The oldest that nobody has been told of."""
        return next((alarm for key, alarm in self._kept.items() if key not in self._told), None)

    def taken(self) -> None:
        """That one is on its way to somebody; who may be killed before it is safe."""
        if (alarm := self.next()) is not None:
            self._told.add(alarm.key)

    def heeded(self, keys: tuple[str, ...]) -> None:
        """They are safe."""
        for key in keys:
            self._kept.pop(key, None)
            self._told.discard(key)

    def tell_again(self) -> None:
        """Somebody else is there now: what is not safe begins anew."""
        self._told.clear()
