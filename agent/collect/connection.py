"""One connection of a collector to the broker; while it lasts messages come, and once it has ended it says why."""

import contextlib
import queue
from types import TracebackType
from typing import Any

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.broker.client import Client
from agent.broker.error import BrokerLostError
from agent.broker.login import password_of, tls_context
from agent.sections import Mqtt

_SESSION_S = 7 * 86400  # so long the broker keeps what comes while the collector is away
_UNANSWERED = 5000  # events that the broker may have on the way here
_WAITING = 4 * _UNANSWERED  # messages: events, and what needs no answer


class Connection:
    """Open within the block, below `config.topic`. Raises BrokerLostError.

    config.collector: the collector's name. A message is the broker's until it is acknowledged by `ack`.
    """

    def __init__(self, config: Mqtt) -> None:
        self._config = config
        self._messages: queue.Queue[paho.MQTTMessage] = queue.Queue(_WAITING)
        self._ended = ""
        self._client = client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"kensa-collector-{config.collector}",
            protocol=paho.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        if config.login is not None:
            client.username_pw_set(config.login.user, password_of(config.login))
        if config.tls is not None:
            client.tls_set_context(tls_context(config.tls))
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = _SESSION_S
        properties.ReceiveMaximum = _UNANSWERED
        try:
            client.connect(config.host, config.port, config.keepalive_s, clean_start=False, properties=properties)
        except (OSError, ValueError) as e:
            raise BrokerLostError(f"cannot connect: {e}") from e

    def __enter__(self) -> "Connection":
        self._client.loop_start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def check(self) -> None:
        """Raises BrokerLostError once the connection has ended."""
        if self._ended:
            raise BrokerLostError(self._ended)
        if self._client.has_ended:
            raise BrokerLostError(f"the connection's thread has ended: {self._client.failure!r}")

    def next_group(self, most: int, wait_s: float) -> list[paho.MQTTMessage]:
        """What has come, in its order; empty where nothing came in this time."""
        group: list[paho.MQTTMessage] = []
        with contextlib.suppress(queue.Empty):
            group.append(self._messages.get(timeout=wait_s))
            while len(group) < most:
                group.append(self._messages.get_nowait())
        return group

    def ack(self, message: paho.MQTTMessage) -> None:
        """The broker may forget it."""
        self._client.ack(message.mid, message.qos)

    def say(self, topic: str, content: dict[str, Any]) -> None:
        """Publishes it once; a station that does not hear it is told again."""
        self._client.publish(topic, msgspec.json.encode(content), qos=1)

    def _on_message(self, client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        """Waits for nobody: a thread of paho's that stands still cannot be ended. What found no room comes again."""
        try:
            self._messages.put_nowait(message)
        except queue.Full:
            if message.qos:
                self._ended = self._ended or f"more than {_UNANSWERED} messages without an answer"

    def _on_connect(self, client: paho.Client, data: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        self._client.keep_to(properties)
        if reason.is_failure:
            self._ended = f"not connected: {reason}"
        else:
            client.subscribe([(f"{self._config.topic}/#", 1)])

    def _on_subscribe(self, client: paho.Client, data: Any, mid: int, reasons: list[ReasonCode], properties: Any) -> None:
        if reasons[0].is_failure:
            self._ended = f"may not read {self._config.topic}/#: {reasons[0]}; the broker's access list decides that"

    def _on_disconnect(self, client: paho.Client, data: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        twin = f"if again and again, does another collector run as --name {self._config.collector}?"  # mosquitto does not say it
        self._ended = self._ended or f"connection ended: {reason}; {twin}"
