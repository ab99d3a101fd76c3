"""`kensa collect`: the reference collector. What it has acknowledged is on its disk, each event once, whatever was killed when.

It takes a message off the broker only once its event is committed, so a kill at any point brings the message again; copies
are told by their id, gaps by their number, and a gap that does not close by itself is asked for again.
"""

import argparse
import contextlib
import json
import logging
import queue
import signal
import time
from pathlib import Path
from threading import Event as Stop
from typing import Any

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.config import Login, Mqtt, Tls
from agent.drivers import ConfigError
from agent.event import parse
from agent.ledger import Gap, Ledger
from agent.log import start_log
from agent.mqtt_session import BrokerLostError, password_of, tls_context

log = logging.getLogger(__name__)

_SESSION_S = 7 * 86400
_GROUP = 500
_GATHER_S = 0.05
_TELL_S = 1.0  # watermarks and gaps
_GAP_IS_OLD_S = 2.0  # younger ones may close by themselves: live events overtake the backlog
_ASK_AGAIN_S = 10.0
_RANGE = 5000  # numbers asked for at once
_RECONNECT_S = 1.0


class Collector:
    """One connection after another to the broker, one ledger.

    config: broker and, as `topic`, the part that the topics of all stations have in common. name: of this collector, as the
    stations' configuration says it.
    """

    def __init__(self, config: Mqtt, name: str, ledger: Ledger) -> None:
        self._config = config
        self._name = name
        self._ledger = ledger
        self._messages: queue.Queue[paho.MQTTMessage] = queue.Queue()
        self._lost = Stop()
        self._told: dict[tuple[str, str], int] = {}
        self._gap_since: dict[tuple[str, int], float] = {}
        self._asked: dict[tuple[str, int], float] = {}
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
        tell_at_s = 0.0
        while not (stop.is_set() or self._lost.is_set()):
            group = self._next_group()
            for message in group:
                self._take(message)
            self._ledger.commit()
            for message in group:
                client.ack(message.mid, message.qos)
            if time.monotonic() > tell_at_s:
                tell_at_s = time.monotonic() + _TELL_S
                self._tell(client)

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
            elif leaf == "alert" or prefix.endswith("/result"):
                self._ledger.keep(prefix.removesuffix("/result"), parse(bytes(message.payload)))
        except (ValueError, KeyError, TypeError) as e:
            self.misunderstood += 1
            log.warning("%s: not understood (%d so far): %r", message.topic, self.misunderstood, e)

    def _tell(self, client: paho.Client) -> None:
        """Watermarks that have moved, and gaps that have stood for a while."""
        for (topic, stream), seq in self._ledger.watermarks().items():
            if self._told.get((topic, stream)) != seq:
                self._say(client, f"{topic}/ack", {"collector": self._name, "stream": stream, "seq": seq})
                self._told[topic, stream] = seq
        now_s, gaps = time.monotonic(), self._ledger.gaps()
        self._ledger.commit()
        standing = {(gap.stream, gap.first) for gap in gaps}
        self._gap_since = {key: self._gap_since.get(key, now_s) for key in standing}
        self._asked = {key: at for key, at in self._asked.items() if key in standing}
        for gap in gaps:
            self._ask_for(client, gap, now_s)

    def _ask_for(self, client: paho.Client, gap: Gap, now_s: float) -> None:
        key = gap.stream, gap.first
        if now_s - self._gap_since[key] < _GAP_IS_OLD_S or now_s - self._asked.get(key, -_ASK_AGAIN_S) < _ASK_AGAIN_S:
            return
        self._asked[key] = now_s
        last = min(gap.last, gap.first + _RANGE - 1)
        log.info("stream %s: %d to %d are missing, asked for", gap.stream, gap.first, last)
        self._say(client, f"{gap.topic}/replay", {"stream": gap.stream, "from": gap.first, "to": last})

    def _say(self, client: paho.Client, topic: str, content: dict[str, Any]) -> None:
        client.publish(topic, msgspec.json.encode(content), qos=1)


def collect_command(arguments: list[str]) -> int:
    """`kensa collect`: runs until Ctrl-C."""
    options = _parser().parse_args(arguments)
    tls = Tls(options.ca, options.certificate, options.key) if options.ca else None
    login = Login(options.user, options.password_file) if options.user else None
    if options.password_file and not options.user:
        raise ConfigError("--password-file needs --user")
    config = Mqtt(options.host, options.topic, options.port, tls=tls, login=login)
    start_log("collect")
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Ledger(options.out) as ledger:
        Collector(config, options.name, ledger).run(stop)
        counts = ledger.counts
        log.info("%d events kept, %d copies left out, %d lost by stations", counts.kept, counts.copies, counts.lost)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kensa collect",
        description="Collects the events of stations into an SQLite file: each once, gaps asked for, arrivals acknowledged.",
        epilog="example: kensa collect --host broker --topic plant/hall-2 --name archive --out events.db",
    )
    parser.add_argument("--host", required=True, help="of the broker")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--topic", required=True, help="what the topics of the stations begin with")
    parser.add_argument("--name", required=True, help="of this collector: `collector:` in the stations' configuration")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the SQLite file")
    parser.add_argument("--ca", metavar="PEM", help="TLS: whose signature the broker's certificate must bear")
    parser.add_argument("--certificate", metavar="PEM", help="TLS: by which the broker knows this collector")
    parser.add_argument("--key", metavar="PEM", help="TLS: of the certificate")
    parser.add_argument("--user")
    parser.add_argument("--password-file", metavar="FILE")
    return parser
