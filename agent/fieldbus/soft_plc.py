"""An MQTT connection of the ejector process's own, to a soft PLC's broker; apart from the one that carries events."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Generic

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from agent.fieldbus.driver_thread import DriverThread, T
from agent.sections import Topic

_CONNECT_WITHIN_S = 1.0
_RECONNECT_S = 1


class Broker(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A broker in the machine's own network: no TLS, no login. topic: of the trigger, or of the output."""

    host: Annotated[str, msgspec.Meta(min_length=1)]
    topic: Topic
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 1883
    keepalive_s: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 5


class SoftPlc(Generic[T]):
    """Publishes without waiting; tells by `thread` what `understand` makes of each message on `listens_to`, retained or not.

    understand: in the connection's thread; None where there is nothing to tell. error: what the thread dies of.
    """

    def __init__(
        self, broker: Broker, listens_to: str, understand: Callable[[paho.MQTTMessage], T | None], error: type[Exception]
    ) -> None:
        self.is_listening = False
        self._listens_to = listens_to
        self._understand = understand
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"kensa-gate-{uuid.uuid4().hex[:12]}", clean_session=True)
        client.connect_timeout = _CONNECT_WITHIN_S
        client.reconnect_delay_set(_RECONNECT_S, _RECONNECT_S)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_subscribe = self._subscribed
        client.on_message = self._heard
        client.connect_async(broker.host, broker.port, broker.keepalive_s)
        self._client = client
        self.thread: DriverThread[T] = DriverThread(
            "soft plc", lambda stop: client.loop_forever(retry_first_connection=True), error
        )

    def say(self, topic: str, content: bytes) -> bool:
        """False when the broker is not there: nothing is kept for later, a late pulse is worse than none. So it is QoS 0: any
        other is sent anew with the next connection; who needs an answer has to ask for one."""
        if not self.is_listening:
            return False
        return self._client.publish(topic, content, qos=0).rc == paho.MQTT_ERR_SUCCESS

    def leave(self) -> None:
        self._client.disconnect()

    def _connected(self, client: paho.Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if not reason.is_failure:
            client.subscribe(self._listens_to, qos=1)

    def _subscribed(self, client: paho.Client, data: Any, mid: int, reasons: Any, properties: Any) -> None:
        self.is_listening = not any(reason.is_failure for reason in reasons)

    def _heard(self, client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        if (told := self._understand(message)) is not None:
            self.thread.tell(told)

    def _disconnected(self, client: paho.Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self.is_listening = False


@contextmanager
def connected(soft_plc: SoftPlc[T]) -> Iterator[None]:
    """Its thread runs inside the block; it goes on connecting for as long."""
    with soft_plc.thread:
        try:
            yield
        finally:
            soft_plc.leave()
