"""The table that `kensa collect` shows: each station in one line."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from agent.collect.onlooker import Onlooker

_HOME = "\x1b[H\x1b[J"  # the table stays in its place on a terminal
_HEAD = ("station", "state", "passed", "rejected", "number", "last, UTC", "last reject")


@dataclass(slots=True)
class _Station:
    state: str = "-"
    passed: int = 0
    rejected: int = 0
    number: int = 0
    last: str = "-"
    last_reject: str = "-"

    def cells(self) -> tuple[str, ...]:
        return (self.state, str(self.passed), str(self.rejected), str(self.number), self.last, self.last_reject)


class LiveTable(Onlooker):
    """Counts since it was made. out: where it is written to, again and again."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._stations: dict[str, _Station] = {}
        self._shown = ""

    def state(self, topic: str, told: Mapping[str, Any]) -> None:
        """What a station said of itself. topic: its prefix."""
        reason = told.get("reason")
        self._of(topic).state = f"{told.get('state', '-')}{f': {reason}' if reason else ''}"

    def event(self, topic: str, event: Mapping[str, Any]) -> None:
        """One that was not there yet."""
        station, data = self._of(topic), event["data"]
        station.number, station.last = max(station.number, int(event["seq"])), _clock_time(event)
        if data.get("outcome") == "pass":
            station.passed += 1
        elif data.get("outcome") == "reject":
            station.rejected += 1
            station.last_reject = f"{_clock_time(event)} {data.get('cause')} {data.get('detail') or ''}".rstrip()

    def text(self) -> str:
        """
        >>> import sys
        >>> table = LiveTable(sys.stdout)
        >>> table.state("plant/press-3", {"state": "online"})
        >>> data = {"outcome": "reject", "cause": "late"}
        >>> table.event("plant/press-3", {"seq": 7, "time": "2026-11-21T09:30:00.5Z", "data": data})
        >>> print(table.text())
        station        state   passed  rejected  number  last, UTC  last reject
        plant/press-3  online  0       1         7       09:30:00   09:30:00 late
        """
        rows = [_HEAD, *((topic, *station.cells()) for topic, station in sorted(self._stations.items()))]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)

    def look(self, now_s: float) -> None:
        """Writes the table where it has changed."""
        if (text := self.text()) != self._shown:
            self._out.write(f"{_HOME if self._out.isatty() else ''}{text}\n")
            self._out.flush()
            self._shown = text

    def close(self) -> None:
        """What came last is shown too."""
        self.look(0.0)

    def _of(self, topic: str) -> _Station:
        return self._stations.setdefault(topic, _Station())


def _clock_time(event: Mapping[str, Any]) -> str:
    """Hours, minutes and seconds of an RFC 3339 time."""
    return str(event["time"])[11:19]
