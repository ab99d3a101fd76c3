"""An MQTT connection of the ejector process's own, to a soft PLC's broker; apart from the one that carries events."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from agent.fieldbus.driver_thread import DriverThread
from agent.sections import Topic

_CONNECT_WITHIN_S = 1.0
_RECONNECT_S = 1


class Broker(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A broker in the machine's own network: no TLS, no login. topic: of the trigger, or of the output."""

    host: Annotated[str, msgspec.Meta(min_length=1)]
    topic: Topic
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 1883
    keepalive_s: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 5


class SoftPlc:
    """Publishes without waiting; what comes on `listens_to` is handed to `take` in the connection's thread, retained or not."""

    def __init__(self, broker: Broker, listens_to: str | None, take: Callable[[paho.MQTTMessage], None]) -> None:
        self.is_listening = False
        self._listens_to = listens_to
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"kensa-gate-{uuid.uuid4().hex[:12]}", clean_session=True)
        client.connect_timeout = _CONNECT_WITHIN_S
        client.reconnect_delay_set(_RECONNECT_S, _RECONNECT_S)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_subscribe = self._subscribed
        client.on_message = lambda client, data, message: take(message)
        client.connect_async(broker.host, broker.port, broker.keepalive_s)
        self._client = client
        self.thread = DriverThread("soft plc", lambda stop: client.loop_forever(retry_first_connection=True))

    def say(self, topic: str, content: dict[str, Any]) -> bool:
        """False when the broker is not there: nothing is kept for later, a late pulse is worse than none. So it is QoS 0: any
        other is sent anew with the next connection; who needs an answer has to ask for one."""
        if not self.is_listening:
            return False
        return self._client.publish(topic, json.dumps(content), qos=0).rc == paho.MQTT_ERR_SUCCESS

    def leave(self) -> None:
        self._client.disconnect()

    def _connected(self, client: paho.Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            return
        if self._listens_to is None:
            self.is_listening = True
        else:
            client.subscribe(self._listens_to, qos=1)

    def _subscribed(self, client: paho.Client, data: Any, mid: int, reasons: Any, properties: Any) -> None:
        self.is_listening = not any(reason.is_failure for reason in reasons)

    def _disconnected(self, client: paho.Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self.is_listening = False


@contextmanager
def connected(soft_plc: SoftPlc) -> Iterator[SoftPlc]:
    """Its thread runs inside the block; it goes on connecting for as long."""
    with soft_plc.thread:
        try:
            yield soft_plc
        finally:
            soft_plc.leave()
