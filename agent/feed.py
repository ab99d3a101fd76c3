"""Which events a connection publishes next: what happens now before what waited."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from agent.event_store import Row
from agent.outbox import Outbox

_REPLAYS = 16  # requests waiting; a collector that asks for more asks again


@dataclass(frozen=True, slots=True)
class Told:
    """An event to be published. historical: newer ones may have been told before it."""

    row: Row
    historical: bool


class Feed:
    """The events of one connection, each once, oldest first in each of three kinds.

    Live ones, those without a disk included, come first. What waited when the connection was made, and what a collector
    has asked to hear again, gets the room that is left, and never more than half of it all: the line's present is not late
    because of its past. For one thread.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._live = self._backlog_last = outbox.newest()
        self._backlog = 0
        self._memory = 0
        self._replays: deque[tuple[int, int]] = deque(maxlen=_REPLAYS)

    def replay(self, first: int, last: int) -> None:
        """These numbers once more, as far as they are kept; delivered or not."""
        self._replays.append((first - 1, last))

    def next(self, room: int, historical_room: int) -> Sequence[Told]:
        """At most `room` events, of them at most `historical_room` late ones."""
        live = list(self._outbox.waiting(self._live, room))
        self._live = live[-1].seq if live else self._live
        diskless = self._outbox.in_memory(self._memory, room - len(live))
        self._memory = diskless[-1].seq if diskless else self._memory
        now = [Told(row, historical=False) for row in (*live, *diskless)]
        return [*now, *self._late(min(room - len(now), historical_room))]

    def _late(self, room: int) -> list[Told]:
        if room <= 0:
            return []
        rows = list(self._outbox.waiting(self._backlog, room, self._backlog_last))
        self._backlog = rows[-1].seq if rows else self._backlog_last
        while self._replays and len(rows) < room:
            after, last = self._replays.popleft()
            again = self._outbox.kept(after, room - len(rows), last)
            rows += again
            if again and again[-1].seq < last:
                self._replays.appendleft((again[-1].seq, last))
        return [Told(row, historical=True) for row in rows]
