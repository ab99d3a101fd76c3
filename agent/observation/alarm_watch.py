"""Which alarms are raised now; each raising is told once and followed by one clearing."""

from collections.abc import Callable, Mapping


class AlarmWatch:
    """alert: tells people, with a name, `raised` or `cleared`, and words."""

    def __init__(self, alert: Callable[[str, str, str], None]) -> None:
        self._alert = alert
        self.raised: dict[str, str] = {}

    def look(self, found: Mapping[str, str]) -> None:
        """Name to words of all that is so now."""
        for name in found.keys() - self.raised.keys():
            self._alert(name, "raised", found[name])
        for name in self.raised.keys() - found.keys():
            self._alert(name, "cleared", self.raised[name])
        self.raised = dict(found)
