"""One connection to the broker, from CONNACK to its end; a new one is made for each, so nothing is remembered twice.

paho-mqtt is used as a pipe. Properties, such as the will's delay, and reason codes exist in MQTT 5 only; an older broker
gives no reason when it refuses an event (mosquitto acknowledges and drops it): there, only a collector that acknowledges
can tell that events arrive.
"""

import contextlib
import functools
import hashlib
import queue
import socket
import ssl
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.broker.client import Client
from agent.broker.error import BrokerLostError, OtherProtocolError, PoisonError, TakenOverError
from agent.broker.heard import Heard, heard
from agent.broker.login import certificate_trouble, password_of, tls_context
from agent.broker.unacknowledged import Fate, Receipt, Unacknowledged
from agent.events.rows import Row
from agent.sections import Mqtt

IN_FLIGHT = 20
_CONNECT_WITHIN_S = 5.0
_WILL_DELAY_S = 5  # a quick reconnect does not flap `offline`
_ANSWERS = 64  # on their way to who gave commands; those beyond are dropped, counted
_HEARD = 256  # messages that wait for the station; a flood beyond is dropped, counted
_LARGEST_HEARD_BYTES = 65_536
_NOT_ALLOWED = {0x87, 0x97}  # not authorized, quota exceeded: the same event may be welcome later
_TAKEN_OVER = 0x8E
_OVER_A_MESSAGE = {0x81, 0x82, 0x95, 0x99}  # malformed, protocol error, too large, format invalid


class Session:
    """Open once constructed. Raises BrokerLostError. not_heard: of the topics listened to, those that the broker does not allow,
    where it says so (mosquitto does not); None before it has answered."""

    def __init__(self, config: Mqtt, station: str, protocol: MQTTProtocolVersion, listens_to: Sequence[str] = ()) -> None:
        self._protocol = protocol
        self._prefix = config.topic
        self._listens_to = listens_to
        # paho finds a silent connection after its keep-alive twice
        self._unacknowledged = Unacknowledged(patience_s=1.5 * config.keepalive_s)
        self._connected: queue.Queue[ReasonCode | None] = queue.Queue()  # None: ended without an answer
        self._lost: ReasonCode | None = None
        self._receipts: queue.Queue[tuple[int, ReasonCode]] = queue.Queue()
        self._heard: queue.Queue[Heard] = queue.Queue(_HEARD)
        self._replies: deque[paho.MQTTMessageInfo] = deque()
        self.unheard = 0
        self.not_heard: frozenset[str] | None = None
        self._client = self._connect(config, station)

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Left by an error, without a good-bye that would take back the last will: the state must not stay `online`."""
        if error is None:
            self._client.disconnect()
        elif self._protocol == paho.MQTTv5:
            self._client.disconnect(reasoncode=ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message"))
        elif isinstance(connection := self._client.socket(), socket.socket):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        _end(self._client)

    @property
    def in_flight(self) -> int:
        return len(self._unacknowledged)

    def check(self) -> None:
        """Raises BrokerLostError once the connection or its thread has ended, or nothing was acknowledged for too long."""
        if self._lost is not None:
            raise self._ended(self._lost)
        if self._client.has_ended:
            raise BrokerLostError(f"the connection's thread has ended: {self._client.failure!r}")
        if trouble := self._unacknowledged.trouble(time.monotonic()):
            raise BrokerLostError(trouble)

    def say(self, topic: str, content: Any, wait_s: float = 0.0, qos: int = 1, expiry_s: int | None = None) -> bool:
        """Publishes a retained message about the station itself; waits so long for the broker. Whether it has taken it over."""
        properties = self._properties(PacketTypes.PUBLISH, ContentType="application/json", PayloadFormatIndicator=1)
        if properties is not None and expiry_s is not None:
            properties.MessageExpiryInterval = expiry_s
        encoded = msgspec.json.encode(content)
        said = self._client.publish(f"{self._prefix}/{topic}", encoded, qos=qos, retain=True, properties=properties)
        try:
            said.wait_for_publish(wait_s)
            return said.is_published()
        except (RuntimeError, ValueError) as e:
            self.check()  # knows better why
            raise BrokerLostError(f"{topic} was not sent: {e}") from e

    def reply(self, heard: Heard, content: bytes, wait_s: float = 0.0) -> bool:
        """Answers where the message asked for it, and waits so long for the broker; False when too many are on their way."""
        while self._replies and _is_over(self._replies[0]):
            self._replies.popleft()
        if len(self._replies) >= _ANSWERS:
            return False
        properties = self._properties(PacketTypes.PUBLISH, ContentType="application/json", PayloadFormatIndicator=1)
        if properties is not None and heard.correlation:
            properties.CorrelationData = heard.correlation
        reply = self._client.publish(f"{self._prefix}/{heard.answer_to}", content, qos=1, properties=properties)
        self._replies.append(reply)
        with contextlib.suppress(RuntimeError, ValueError):  # not sent: what is wrong with the connection is found by check()
            reply.wait_for_publish(wait_s)
        return True

    def publish(self, row: Row, message: bytes) -> None:
        self.check()
        properties = self._properties(PacketTypes.PUBLISH, ContentType="application/cloudevents+json", PayloadFormatIndicator=1)
        sent = self._client.publish(f"{self._prefix}/{row.topic}", message, qos=1, properties=properties)
        self._unacknowledged.sent(sent.mid, row, time.monotonic())

    def receipts(self, wait_s: float) -> list[Receipt]:
        """What the broker said of events since the last call."""
        self.check()
        found: list[tuple[int, ReasonCode]] = []
        try:
            found.append(self._receipts.get(timeout=wait_s) if wait_s else self._receipts.get_nowait())
            while True:
                found.append(self._receipts.get_nowait())
        except queue.Empty:
            pass
        rows = [(self._unacknowledged.answered(mid, time.monotonic()), reason) for mid, reason in found]
        return [_receipt(row, reason) for row, reason in rows if row is not None]

    def heard(self) -> list[Heard]:
        """Messages to the station since the last call."""
        found = []
        try:
            while True:
                found.append(self._heard.get_nowait())
        except queue.Empty:
            return found

    def _ended(self, reason: ReasonCode) -> BrokerLostError:
        told = f"connection lost: {reason}"
        if reason.value in _OVER_A_MESSAGE and self.in_flight:
            return PoisonError(told, self._unacknowledged.rows)
        return (TakenOverError if reason.value == _TAKEN_OVER else BrokerLostError)(told)

    def _properties(self, packet: int, **values: Any) -> Properties | None:
        if self._protocol != paho.MQTTv5:
            return None
        properties = Properties(packet)
        for name, value in values.items():
            setattr(properties, name, value)
        return properties

    def _connect(self, config: Mqtt, station: str) -> Client:
        is_v5 = self._protocol == paho.MQTTv5
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=_name_of(station, config.topic),
            protocol=self._protocol,
            clean_session=None if is_v5 else True,
            reconnect_on_failure=False,
        )
        client.on_connect = functools.partial(self._on_connect, client)
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.max_inflight_messages_set(IN_FLIGHT + 4)
        client.connect_timeout = _CONNECT_WITHIN_S
        if config.login is not None:
            client.username_pw_set(config.login.user, password_of(config.login))
        if config.tls is not None:
            client.tls_set_context(tls_context(config.tls))
        will = msgspec.json.encode({"state": "offline", "reason": "connection lost"})
        will_properties = self._properties(PacketTypes.WILLMESSAGE, WillDelayInterval=_WILL_DELAY_S)
        client.will_set(f"{config.topic}/state", will, qos=1, retain=True, properties=will_properties)
        properties = self._properties(PacketTypes.CONNECT, SessionExpiryInterval=10 * _WILL_DELAY_S)
        v5_only: dict[str, Any] = {"clean_start": False, "properties": properties} if is_v5 else {}
        try:
            client.connect(config.host, config.port, max(1, config.keepalive_s // 2), **v5_only)
        except ssl.SSLCertVerificationError as e:
            raise BrokerLostError(certificate_trouble(e)) from e
        except (OSError, ValueError) as e:
            raise BrokerLostError(f"cannot connect: {e}") from e
        client.loop_start()
        try:
            reason = self._connected.get(timeout=_CONNECT_WITHIN_S)
        except queue.Empty:
            _end(client)
            raise OtherProtocolError(f"no answer within {_CONNECT_WITHIN_S:.0f} s", is_refused=False) from None
        if reason is not None and not reason.is_failure:
            return client
        _end(client)
        if reason is None:
            asks = f"; it may ask for {'another' if config.tls.certificate else 'a'} client certificate" if config.tls else ""
            raise OtherProtocolError(f"the broker ended the connection without an answer{asks}", is_refused=False)
        if "protocol version" in str(reason):
            raise OtherProtocolError(f"not connected: {reason}", is_refused=True)
        raise BrokerLostError(f"not connected: {reason}")

    def _on_connect(self, client: Client, same: paho.Client, data: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        client.keep_to(properties)
        if not reason.is_failure and self._listens_to:
            client.subscribe([(f"{self._prefix}/{topic}", 1) for topic in self._listens_to])
        self._connected.put(reason)

    def _on_subscribe(self, client: paho.Client, data: Any, mid: int, reasons: list[ReasonCode], properties: Any) -> None:
        self.not_heard = frozenset(topic for topic, reason in zip(self._listens_to, reasons, strict=False) if reason.is_failure)

    def _on_disconnect(self, client: paho.Client, data: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        self._lost = reason
        self._connected.put(None)

    def _on_publish(self, client: paho.Client, data: Any, mid: int, reason: ReasonCode, properties: Any) -> None:
        self._receipts.put((mid, reason))

    def _on_message(self, client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        if len(message.payload) > _LARGEST_HEARD_BYTES:
            self.unheard += 1
            return
        try:
            self._heard.put_nowait(heard(message, self._prefix, time.monotonic()))
        except queue.Full:
            self.unheard += 1


def _name_of(station: str, topic: str) -> str:
    """For the broker, which lets in one of a name. Two stations that a copied file gave one name, each with its own topic, would
    throw each other out for ever and never learn why; those with one topic see each other's birth."""
    return f"kensa-{station}-{hashlib.sha256(topic.encode()).hexdigest()[:8]}"


def _end(client: paho.Client) -> None:
    """Nobody refers to it any more afterwards, so that its sockets are closed now and not when garbage is collected."""
    client.loop_stop()
    client.on_connect = client.on_disconnect = client.on_publish = client.on_subscribe = client.on_message = None


def _is_over(reply: paho.MQTTMessageInfo) -> bool:
    try:
        return reply.is_published()
    except (RuntimeError, ValueError):  # it was not sent, and nobody is told twice
        return True


def _receipt(row: Row, reason: ReasonCode) -> Receipt:
    if not reason.is_failure:
        return Receipt(row, Fate.TAKEN)
    return Receipt(row, Fate.NOT_ALLOWED if reason.value in _NOT_ALLOWED else Fate.REFUSED, str(reason))
