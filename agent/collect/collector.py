"""The reference collector. What it has acknowledged is on its disk, each event once, whatever was killed when.

It takes a message off the broker only once its event is committed, so a kill at any point brings the message again; copies
are told by their id, gaps by their number, and a gap that does not close by itself is asked for again.
"""

import contextlib
import json
import logging
import queue
import time
from collections.abc import Mapping, Sequence
from threading import Event as Stop
from typing import Any, Protocol

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.broker.error import BrokerLostError
from agent.broker.login import password_of, tls_context
from agent.collect.inquiry import Inquiry
from agent.collect.ledger import Ledger
from agent.events.event import parse
from agent.sections import Mqtt

log = logging.getLogger(__name__)

_SESSION_S = 7 * 86400
_GROUP = 500
_GATHER_S = 0.05
_TELL_S = 1.0  # watermarks and gaps
_TELL_SOON_S, _MANY = 0.1, 100  # watermarks after so many messages: stations go on then (agent/broker/feed.py)
_RECONNECT_S = 1.0


class Onlooker(Protocol):
    """What is done with the events besides keeping them. topic: a station's prefix."""

    def state(self, topic: str, told: Mapping[str, Any]) -> None:
        """A station has said how it is."""

    def event(self, topic: str, event: Mapping[str, Any]) -> None:
        """One that was not there yet."""

    def look(self, now_s: float) -> None:
        """Once a second, after a commit."""


class Collector:
    """One connection after another to the broker, one ledger.

    config: broker and, as `topic`, the part that the topics of all stations have in common. name: of this collector, as the
    stations' configuration says it.
    """

    def __init__(self, config: Mqtt, name: str, ledger: Ledger, onlookers: Sequence[Onlooker] = ()) -> None:
        self._config = config
        self._name = name
        self._ledger = ledger
        self._onlookers = onlookers
        self._messages: queue.Queue[paho.MQTTMessage] = queue.Queue()
        self._lost = Stop()
        self._told: dict[tuple[str, str], tuple[int, int]] = {}
        self._taken: dict[str, int] = {}  # by stream, the number of the event that came last
        self._inquiry = Inquiry()
        self.misunderstood = 0

    def run(self, stop: Stop) -> None:
        """Collects until told to stop; a lost broker is looked for again and again."""
        while not stop.is_set():
            try:
                client = self._connect()
            except BrokerLostError as e:
                log.warning("broker %s:%d: %s", self._config.host, self._config.port, e)
                stop.wait(_RECONNECT_S)
                continue
            try:
                self._collect(client, stop)
            finally:
                client.disconnect()
                client.loop_stop()

    def _connect(self) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"kensa-collector-{self._name}",
            protocol=paho.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        messages: queue.Queue[paho.MQTTMessage] = queue.Queue(20_000)
        self._messages = messages
        self._lost = lost = Stop()
        self._told = {}
        config = self._config
        client.on_connect = lambda client, *_: client.subscribe([(f"{config.topic}/#", 1)])
        client.on_disconnect = lambda *_: lost.set()
        client.on_message = lambda client, data, message: messages.put(message)
        if config.login is not None:
            client.username_pw_set(config.login.user, password_of(config.login))
        if config.tls is not None:
            client.tls_set_context(tls_context(config.tls))
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = _SESSION_S
        try:
            client.connect(config.host, config.port, config.keepalive_s, clean_start=False, properties=properties)
        except (OSError, ValueError) as e:
            raise BrokerLostError(f"cannot connect: {e}") from e
        client.loop_start()
        return client

    def _collect(self, client: paho.Client, stop: Stop) -> None:
        told_s = asked_s = 0.0
        untold = 0
        while not (stop.is_set() or self._lost.is_set()):
            group = self._next_group()
            for message in group:
                self._take(message)
            self._ledger.commit()
            for message in group:
                client.ack(message.mid, message.qos)
            untold, now_s = untold + len(group), time.monotonic()
            if now_s - told_s > (_TELL_SOON_S if untold >= _MANY else _TELL_S):
                self._tell_watermarks(client)
                told_s, untold = now_s, 0
            if now_s - asked_s > _TELL_S:
                self._ask_for_gaps(client, now_s)
                for onlooker in self._onlookers:
                    onlooker.look(now_s)
                asked_s = now_s

    def _next_group(self) -> list[paho.MQTTMessage]:
        group: list[paho.MQTTMessage] = []
        with contextlib.suppress(queue.Empty):
            group.append(self._messages.get(timeout=_GATHER_S))
            while len(group) < _GROUP:
                group.append(self._messages.get_nowait())
        return group

    def _take(self, message: paho.MQTTMessage) -> None:
        prefix, _, leaf = message.topic.rpartition("/")
        try:
            if leaf in ("birth", "metrics"):
                told = json.loads(message.payload)
                self._ledger.newest(prefix, str(told["stream"]), int(told["newest_seq"]))
                if leaf == "birth":
                    self._told.pop((prefix, str(told["stream"])), None)  # it may have forgotten what it was told
            elif leaf == "state":
                told = msgspec.json.decode(message.payload, type=dict[str, Any])
                for onlooker in self._onlookers:
                    onlooker.state(prefix, told)
            elif leaf == "alert" or prefix.endswith("/result"):
                event = parse(bytes(message.payload))
                topic = prefix.removesuffix("/result")
                is_new = self._ledger.keep(topic, event)
                for onlooker in self._onlookers if is_new else ():
                    onlooker.event(topic, event)
                self._taken[event["stream"]] = event["seq"]
        except (ValueError, KeyError, TypeError) as e:
            self.misunderstood += 1
            log.warning("%s: not understood (%d so far): %r", message.topic, self.misunderstood, e)

    def _tell_watermarks(self, client: paho.Client) -> None:
        """Where something has changed: all up to where, and what came last."""
        for (topic, stream), seq in self._ledger.watermarks().items():
            taken = self._taken.get(stream, 0)
            if self._told.get((topic, stream)) != (seq, taken):
                self._say(client, f"{topic}/ack", {"collector": self._name, "stream": stream, "seq": seq, "taken": taken})
                self._told[topic, stream] = seq, taken

    def _ask_for_gaps(self, client: paho.Client, now_s: float) -> None:
        gaps = self._ledger.gaps()
        self._ledger.commit()
        for gap in self._inquiry.due(gaps, now_s):
            log.info("stream %s: %d to %d are missing, asked for", gap.stream, gap.first, gap.last)
            self._say(client, f"{gap.topic}/replay", {"stream": gap.stream, "from": gap.first, "to": gap.last})

    def _say(self, client: paho.Client, topic: str, content: dict[str, Any]) -> None:
        client.publish(topic, msgspec.json.encode(content), qos=1)
