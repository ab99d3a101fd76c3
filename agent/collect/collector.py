"""The reference collector. What it has acknowledged is on its disk, each event once, whatever was killed when.

It takes a message off the broker only once its event is committed, so a kill at any point brings the message again; copies
are told by their id, gaps by their number, and a gap that does not close by itself is asked for again.
"""

import logging
import sqlite3
import time
from collections.abc import Sequence
from threading import Event as Stop
from typing import Any

import msgspec
import paho.mqtt.client as paho

from agent.broker.error import BrokerLostError
from agent.broker.messages import Seq
from agent.collect.connection import Connection
from agent.collect.inquiry import Inquiry
from agent.collect.ledger import Ledger
from agent.collect.onlooker import Onlooker
from agent.events.event import parse
from agent.sections import Mqtt

log = logging.getLogger(__name__)

_GROUP = 500
_GATHER_S = 0.05
_TELL_S = 1.0  # watermarks and gaps
_TELL_SOON_S, _MANY = 0.1, 100  # watermarks after so many messages: stations go on then (agent/broker/feed.py)
_AGAIN_S = 1.0


class _Newest(msgspec.Struct):
    """What counts in `birth` and `metrics`."""

    stream: str
    newest_seq: Seq


class _Data(msgspec.Struct):
    """What of an event's data has a column of its own."""

    outcome: str | None = None
    cause: str | None = None


class _Kept(msgspec.Struct):
    """What an event must have to be kept."""

    source: str
    id: str
    stream: str
    seq: Seq
    time: str
    data: _Data
    correctedtime: str | None = None


class Collector:
    """One connection after another to the broker, one ledger.

    config: broker, this collector's name and, as `topic`, the part that the topics of all stations have in common.
    """

    def __init__(self, config: Mqtt, ledger: Ledger, onlookers: Sequence[Onlooker] = ()) -> None:
        self._config = config
        self._ledger = ledger
        self._onlookers = onlookers
        self._told: dict[tuple[str, str], tuple[int, int, str]] = {}
        self._taken: dict[str, tuple[int, str]] = {}  # by stream, number and id of the event that came last
        self._first: dict[str, tuple[int, str]] = {}  # told instead, once: by it a station sees that its stream is another's too
        self._inquiry = Inquiry()
        self.misunderstood = 0

    def run(self, stop: Stop) -> None:
        """Collects until told to stop; a lost broker is looked for again and again, a full disk written to again and again."""
        while not stop.is_set():
            try:
                with Connection(self._config) as connection:
                    self._told = {}
                    self._collect(connection, stop)
            except BrokerLostError as e:
                log.warning("broker %s:%d: %s", self._config.host, self._config.port, e)
            except sqlite3.DatabaseError as e:
                self._ledger.roll_back()  # none of it was acknowledged, so it comes again
                log.error("%s cannot be written: %s; make room: events wait at the broker and the stations", self._ledger.file, e)
            stop.wait(_AGAIN_S)

    def _collect(self, connection: Connection, stop: Stop) -> None:
        told_s = asked_s = 0.0
        untold = 0
        while not stop.is_set():
            connection.check()
            group = connection.next_group(_GROUP, _GATHER_S)
            fresh = [found for message in group if (found := self._take(message))]
            self._ledger.commit()
            for message in group:
                connection.ack(message)
            for topic, event in fresh:
                for onlooker in self._onlookers:
                    onlooker.event(topic, event)
            untold, now_s = untold + len(group), time.monotonic()
            if now_s - told_s > (_TELL_SOON_S if untold >= _MANY else _TELL_S):
                self._tell_watermarks(connection)
                told_s, untold = now_s, 0
            if now_s - asked_s > _TELL_S:
                self._ask_for_gaps(connection, now_s)
                for onlooker in self._onlookers:
                    onlooker.look(now_s)
                asked_s = now_s

    def _take(self, message: paho.MQTTMessage) -> tuple[str, dict[str, Any]] | None:
        """Puts it into the ledger. An event that was not there yet, with its station's prefix; None for all others.

        Whatever was published must not end the collector: it would come again, and again.
        """
        prefix, _, leaf = message.topic.rpartition("/")
        try:
            if leaf in ("birth", "metrics"):
                told = msgspec.json.decode(message.payload, type=_Newest)
                self._ledger.newest(prefix, told.stream, told.newest_seq)
                if leaf == "birth":
                    self._first[told.stream] = self._last(told.stream)
                    self._told.pop((prefix, told.stream), None)  # it may have forgotten what it was told
                    self._inquiry.anew(told.stream)
            elif leaf == "state":
                state = msgspec.json.decode(message.payload, type=dict[str, Any])
                for onlooker in self._onlookers:
                    onlooker.state(prefix, state)
            elif leaf == "alert" or prefix.endswith("/result"):
                event = parse(bytes(message.payload))
                kept, topic = msgspec.convert(event, _Kept), prefix.removesuffix("/result")
                is_new = self._ledger.keep(topic, event)
                self._taken[kept.stream] = kept.seq, kept.id
                if is_new and (first := self._ledger.id_of(kept.stream, kept.seq)) != kept.id:
                    self._first[kept.stream] = kept.seq, first
                return (topic, event) if is_new else None
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as e:
            self.misunderstood += 1
            log.warning("%s: not understood (%d so far): %r", message.topic, self.misunderstood, e)
        return None

    def _tell_watermarks(self, connection: Connection) -> None:
        """Where something has changed: all up to where, and what came last."""
        for (topic, stream), seq in self._ledger.watermarks().items():
            taken, id = self._first.pop(stream, self._last(stream))
            if self._told.get((topic, stream)) != (seq, taken, id):
                ack = {"collector": self._config.collector, "stream": stream, "seq": seq, "taken": taken, "id": id}
                connection.say(f"{topic}/ack", ack)
                self._told[topic, stream] = seq, taken, id

    def _last(self, stream: str) -> tuple[int, str]:
        if stream not in self._taken:
            self._taken[stream] = self._ledger.highest(stream)
        return self._taken[stream]

    def _ask_for_gaps(self, connection: Connection, now_s: float) -> None:
        gaps = self._ledger.gaps()
        self._ledger.commit()
        for gap in self._inquiry.due(gaps, now_s):
            log.info("stream %s: %d to %d are missing, asked for", gap.stream, gap.first, gap.last)
            connection.say(f"{gap.topic}/replay", {"stream": gap.stream, "from": gap.first, "to": gap.last})
