"""Which events a connection publishes next: what happens now before what waited, and that not faster than it is collected."""

import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.events.event import lost_alert
from agent.events.outbox import Outbox
from agent.events.rows import Row

_REPLAYS = 16  # requests waiting; a collector that asks for more asks again
_ON_THE_WAY = 500  # a broker keeps few events for each subscriber (mosquitto 1000) and drops what is new, live ones too
_NOTHING_TAKEN_S = 1.5  # longer than a collector that takes something stays silent
_SILENT_S = 15.0  # then the collector is away, and what waited is not kept from all the others


@dataclass(frozen=True, slots=True)
class Told:
    """An event to be published. historical: newer ones may have been told before it."""

    row: Row
    historical: bool


class Pace:
    """How many events may be on their way to the collector before late ones have to wait.

    The collector tells which event it took last; all that was sent before it has arrived too, or never will.
    """

    def __init__(self, now_s: float) -> None:
        self._on_the_way: deque[int] = deque(maxlen=2 * _ON_THE_WAY)
        self._heard_s = now_s

    def room(self, now_s: float) -> int:
        """For late events."""
        return _ON_THE_WAY if now_s - self._heard_s > _SILENT_S else max(0, _ON_THE_WAY - len(self._on_the_way))

    def sent(self, seqs: Iterable[int]) -> None:
        self._on_the_way.extend(seqs)

    def taken(self, seq: int, now_s: float) -> None:
        """By the collector, the last one so far."""
        self._heard_s = now_s
        if seq in self._on_the_way:
            while self._on_the_way.popleft() != seq:
                pass

    def asked(self, now_s: float) -> None:
        """For events that the collector misses. When it has taken nothing for a while, nothing is on its way."""
        if now_s - self._heard_s > _NOTHING_TAKEN_S:
            self._on_the_way.clear()
        self._heard_s = now_s


class Feed:
    """The events of one connection, each once, oldest first in each of three kinds.

    Live ones, those without a disk included, come first. What a collector has asked to hear again, and what waited when the
    connection was made, gets the room that is left, and never more than half of it all: the line's present is not late
    because of its past. has_collector: somebody acknowledges, and sets the pace of what is late; while it is waited for,
    is_held_back. For one thread.
    """

    def __init__(self, outbox: Outbox, has_collector: bool = False) -> None:
        self._outbox = outbox
        self._pace = Pace(time.monotonic()) if has_collector else None
        self._live = self._backlog_last = outbox.newest()
        self._backlog = 0
        self._memory = 0
        self._replays: deque[tuple[int, int]] = deque(maxlen=_REPLAYS)
        self.is_held_back = False

    def replay(self, first: int, last: int) -> None:
        """These numbers once more, as far as they are kept; delivered or not."""
        self._replays.append((first - 1, last))
        if self._pace:
            self._pace.asked(time.monotonic())

    def wanted(self, stream: str, first: int, last: int) -> None:
        """A collector misses these numbers of a stream; of another one than those here nothing is known."""
        if stream == self._outbox.memory_stream:
            self._memory = min(self._memory, first - 1)
        elif stream == self._outbox.stream:
            self.replay(first, last)
            self._explain(first)

    def _explain(self, first: int) -> None:
        """What was asked for from this number on and is gone is told of in an alert, in the same one as long as that is kept: a
        collector that comes late, or has lost its file, would wait for it for ever, and the station for its acknowledgement."""
        if (lost := self._outbox.not_kept(first)) is None:
            return
        if (told := self._outbox.number_of(lost.key)) is None:
            self._outbox.alert(lost.key, lost_alert(lost))
        else:
            self._replays.append((told - 1, told))

    def taken(self, seq: int) -> None:
        """By the collector, the last one so far."""
        if self._pace:
            self._pace.taken(seq, time.monotonic())

    def next(self, room: int, historical_room: int) -> Sequence[Told]:
        """At most `room` events, of them at most `historical_room` late ones."""
        live = list(self._outbox.waiting(self._live, room))
        self._live = live[-1].seq if live else self._live
        diskless = self._outbox.in_memory(self._memory, room - len(live))
        self._memory = diskless[-1].seq if diskless else self._memory
        now = [Told(row, historical=False) for row in (*live, *diskless)]
        room -= len(now)
        late_room = min(room, historical_room)
        paced_room = min(late_room, self._pace.room(time.monotonic())) if self._pace else late_room
        self.is_held_back = paced_room < late_room
        late = self._late(paced_room)
        if self._pace:
            self._pace.sent(row.seq for row in (*live, *late))
        return [*now, *(Told(row, historical=True) for row in late)]

    def _late(self, room: int) -> list[Row]:
        if room <= 0:
            return []
        rows: list[Row] = []
        while self._replays and len(rows) < room:
            after, last = self._replays.popleft()
            again = self._outbox.kept(after, room - len(rows), last)
            rows += again
            if again and again[-1].seq < last:
                self._replays.appendleft((again[-1].seq, last))
        if (room := room - len(rows)) > 0:
            waiting = self._outbox.waiting(self._backlog, room, self._backlog_last)
            self._backlog = waiting[-1].seq if waiting else self._backlog  # none: told all, or not read now
            rows += waiting
        return rows
