"""What is said to a station over one connection after the other: commands, a collector's words, another station's birth."""

import logging
import time

import msgspec

from agent.broker.command_desk import CommandDesk
from agent.broker.feed import Feed
from agent.broker.heard import Heard
from agent.broker.messages import Acknowledgement, Replay
from agent.clock import utc, utc_now
from agent.events.outbox import Outbox

log = logging.getLogger(__name__)

LISTENS_TO = ("birth", "cmd/+", "ack", "replay")


_SHARED = (
    "another station, or this one before its disk was put back, numbers events in this stream too ({}): they go on in a new one, "
    "and what was not acknowledged is told again. Where a disk was copied, give one of the stations another name"
)


class _Birth(msgspec.Struct, frozen=True):
    """Topic `birth`, as far as it tells one station from another, and one birth from a later one."""

    stream: str
    boot_id: str = ""
    time: str = ""


class Listener:
    """For the publisher's thread. collector: whose acknowledgements count. boot_id: of the machine, as this station's birth says
    it. has_rival: another station was born under this one's name, heard over this connection. misunderstood: messages to `birth`,
    `ack` and `replay` that could not be read."""

    def __init__(self, outbox: Outbox, desk: CommandDesk, collector: str | None, boot_id: str = "") -> None:
        self.desk = desk
        self.has_rival = False
        self.misunderstood = 0
        self._outbox = outbox
        self._collector = collector
        self._boot_id = boot_id
        self._connections = 0
        self._first_time = ""
        self._born: set[str] = set()
        self._before: set[_Birth] = set()

    def connected(self) -> None:
        self._connections += 1
        self.has_rival = False
        self._first_time = self._first_time or utc_now()
        self.born()

    def born(self) -> None:
        """This station's birth is said now, or was just said, with the stream that the outbox has."""
        self._born.add(self._outbox.stream)

    def hear(self, heard: Heard, feed: Feed) -> None:
        """feed: of the connection over which it came."""
        try:
            match heard.topic:
                case "birth":
                    self._look_for_another(msgspec.json.decode(heard.payload, type=_Birth), heard.retained)
                case "ack":
                    self._acknowledged(msgspec.json.decode(heard.payload, type=Acknowledgement), feed)
                case "replay":
                    wanted = msgspec.json.decode(heard.payload, type=Replay)
                    if not heard.retained:
                        feed.wanted(wanted.stream, max(1, wanted.first), wanted.last)
                case _:
                    self.desk.hear(heard, feed, self._outbox.stream, utc(), time.monotonic())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            self.misunderstood += 1
            log.warning("%s: not understood (%d so far): %s", heard.topic, self.misunderstood, e)

    def _look_for_another(self, birth: _Birth, is_retained: bool) -> None:
        """Another one's birth under our name, later than our first: not each broker says that a connection was taken over
        (mosquitto 2.0.11 does not). What was kept there before our first birth may be of the device that this one replaces, or
        our own of another boot of the machine, and a broker that was killed may come back with it, or with an older one."""
        if birth.stream in self._born and birth.boot_id == self._boot_id:
            return
        if is_retained and self._connections == 1:
            self._before.add(birth)
        if birth in self._before or "" < birth.time < self._first_time:
            return
        if birth.stream == self._outbox.stream:
            how = f"its machine's boot is {birth.boot_id or 'not said'}, ours {self._boot_id}"
            self._outbox.disown(birth.stream, _SHARED.format(how))
        self.has_rival = True

    def _acknowledged(self, ack: Acknowledgement, feed: Feed) -> None:
        if ack.collector != self._collector:
            return
        if ack.stream == self._outbox.memory_stream:
            self._outbox.acknowledged_in_memory(ack.seq)
        elif ack.stream == self._outbox.stream:
            if ack.id and self._outbox.is_anothers(ack.taken, ack.id):
                self._outbox.disown(ack.stream, _SHARED.format(f"the collector has {ack.id} as number {ack.taken}"))
                return
            self._outbox.acknowledged(ack.seq, ack.stream)
            feed.taken(ack.taken)
