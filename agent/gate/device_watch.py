"""PURE  What is wrong with the gate's devices for longer than a moment: told of once, however long, and said while it lasts."""

from collections.abc import Mapping

from agent.gate.alarms import Alarms

_LASTING_NS = 1_000_000_000  # a device may be away for so long before people are told
_AT_ONCE = "trigger-stuck"  # it has lasted when it is found


class DeviceWatch:
    """words: of all that lasts, for people, as they were when the last of it began or ended: they may change all the time."""

    def __init__(self, alarms: Alarms) -> None:
        self.words = ""
        self._alarms = alarms
        self._since_ns: dict[str, int] = {}
        self._lasting: set[str] = set()
        self._told: set[str] = set()

    def look(self, problems: Mapping[str, str], now_ns: int) -> None:
        """problems: name to words of all that is so now."""
        self._since_ns = {name: self._since_ns.get(name, now_ns) for name in problems}
        lasting = {name for name, ns in self._since_ns.items() if now_ns - ns >= _LASTING_NS or name == _AT_ONCE}
        if lasting != self._lasting:
            self._lasting, self.words = lasting, "; ".join(f"{name}: {problems[name]}" for name in sorted(lasting))
        self._told &= lasting
        for name in sorted(lasting - self._told):
            if self._alarms.add(name if name == _AT_ONCE else f"device-{name}", problems[name], now_ns):
                self._told.add(name)
