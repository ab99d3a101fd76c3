"""What is said to a station over one connection after the other: commands, a collector's words, another station's birth."""

import logging
import time

import msgspec

from agent.broker.command_desk import CommandDesk
from agent.broker.error import TakenOverError
from agent.broker.feed import Feed
from agent.broker.heard import Heard
from agent.broker.messages import Acknowledgement, Replay
from agent.clock import utc
from agent.events.outbox import Outbox

log = logging.getLogger(__name__)

LISTENS_TO = ("birth", "cmd/+", "ack", "replay")


class _Birth(msgspec.Struct, frozen=True):
    """Topic `birth`, as far as it tells one station from another."""

    stream: str


class Listener:
    """For the publisher's thread. collector: whose acknowledgements count. misunderstood: messages to `birth`, `ack` and `replay`
    that could not be read."""

    def __init__(self, outbox: Outbox, desk: CommandDesk, collector: str | None) -> None:
        self.desk = desk
        self.misunderstood = 0
        self._outbox = outbox
        self._collector = collector
        self._connections = 0
        self._born: set[str] = set()

    def connected(self) -> None:
        self._connections += 1
        self.born()

    def born(self) -> None:
        """This station's birth is said now, or was just said, with the stream that the outbox has."""
        self._born.add(self._outbox.stream)

    def hear(self, heard: Heard, feed: Feed) -> None:
        """feed: of the connection over which it came. Raises TakenOverError."""
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
        (mosquitto 2.0.11 does not). What was kept there before our first birth may be of the device that this one replaces."""
        if birth.stream not in self._born and not (is_retained and self._connections == 1):
            raise TakenOverError("another station was born under this one's name")

    def _acknowledged(self, ack: Acknowledgement, feed: Feed) -> None:
        if ack.collector != self._collector:
            return
        if ack.stream == self._outbox.memory_stream:
            self._outbox.acknowledged_in_memory(ack.seq)
        elif ack.stream == self._outbox.stream:
            self._outbox.acknowledged(ack.seq)
            feed.taken(ack.taken)
