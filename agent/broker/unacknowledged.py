"""PURE  The events of one connection that the broker has not answered for; instants in seconds of the monotonic clock."""

from dataclasses import dataclass
from enum import Enum

from agent.events.rows import Row


class Fate(Enum):
    """What becomes of an event: the broker has it; it is not allowed now and may be later; it never will be."""

    TAKEN = "taken"
    NOT_ALLOWED = "not allowed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the broker said to one event. reason: its own words, empty for one that is TAKEN."""

    row: Row
    fate: Fate
    reason: str = ""


class Unacknowledged:
    """Oldest first. Brokers answer in order (MQTT 5.0, 4.6): one that leaves an event out will not come back to it on this
    connection. patience_s: longest time without an answer, and for an event that was left out."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._row_of: dict[int, Row] = {}
        self._progress_s = 0.0
        self._passed_over_s: float | None = None

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def rows(self) -> list[Row]:
        return list(self._row_of.values())

    def sent(self, mid: int, row: Row, now_s: float) -> None:
        """mid: by which paho names the message."""
        if not self._row_of:
            self._progress_s = now_s
        self._row_of[mid] = row

    def answered(self, mid: int, now_s: float) -> Row | None:
        """The event that was meant; None where it was another message."""
        self._progress_s = now_s
        if mid not in self._row_of:
            return None
        if mid == next(iter(self._row_of)):
            self._passed_over_s = None
        elif self._passed_over_s is None:
            self._passed_over_s = now_s
        return self._row_of.pop(mid)

    def trouble(self, now_s: float) -> str:
        """Why nothing is to be expected of this connection any more; empty while something is."""
        if self._row_of and now_s - self._progress_s > self._patience_s:
            return f"no acknowledgement for {self._patience_s:.0f} s"
        if self._passed_over_s is not None and now_s - self._passed_over_s > self._patience_s:
            return f"event {self.rows[0].seq} was passed over: later ones are acknowledged, it is not"
        return ""
