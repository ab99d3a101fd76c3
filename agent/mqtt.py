"""Drains the outbox into the broker and keeps the station's state there; never in the way of the line.

paho-mqtt is used as a pipe: one client per connection, thrown away with it, so nothing is remembered twice.
"""

import logging
import queue
import random
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.clock import utc_now
from agent.config import Mqtt
from agent.event import envelope
from agent.event_store import Row
from agent.outbox import Outbox

log = logging.getLogger(__name__)

_CONNECT_WITHIN_S = 5.0
_IN_FLIGHT = 20
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 8.0
_WILL_DELAY_S = 5  # a quick reconnect does not flap `offline`
_GOODBYE_S = 5.0


class BrokerLostError(Exception):
    """The connection to the broker could not be made or has ended."""


class _OtherProtocolError(BrokerLostError):
    """The broker refuses this version of MQTT, or is silent to it as some old brokers are."""


class Publisher:
    """One thread that connects, publishes, is thrown back, waits with jitter, and tries again for ever."""

    def __init__(self, config: Mqtt, station: str, outbox: Outbox, birth: Mapping[str, Any]) -> None:
        self._config = config
        self._station = station
        self._outbox = outbox
        self._birth = dict(birth)
        self._protocol = paho.MQTTv5
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Publisher":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Publishes what still waits and `offline`, for a few seconds at most; the rest stays in the outbox."""
        self._stop.set()
        self._thread.join(timeout=_GOODBYE_S + _CONNECT_WITHIN_S)

    def check(self) -> None:
        """Raises what ended the thread, if it ended."""
        if self._failure:
            raise BrokerLostError("publisher stopped") from self._failure

    def _run(self) -> None:
        try:
            self._publish_forever()
        except Exception as e:  # noqa: BLE001 - raised in the loop by check()
            self._failure = e

    def _publish_forever(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._stop.is_set():
            started_s = time.monotonic()
            try:
                with _Session(self._config, self._station, self._protocol) as session:
                    log.info("broker %s:%d connected, %d events waiting", *self._address, self._outbox.backlog())
                    session.say("birth", {**self._birth, "stream": self._outbox.stream, "time": utc_now()})
                    session.say("state", {"state": "online", "time": utc_now()})
                    self._drain(session)
                    session.say("state", {"state": "offline", "time": utc_now(), "reason": "stopped"}, wait_s=_GOODBYE_S)
            except _OtherProtocolError as e:
                self._protocol = paho.MQTTv311 if self._protocol == paho.MQTTv5 else paho.MQTTv5
                log.warning("broker %s:%d: %s; next try with %s", *self._address, e, self._protocol.name)
                self._stop.wait(_FIRST_PAUSE_S)
            except BrokerLostError as e:
                lasted = time.monotonic() - started_s > _LONGEST_PAUSE_S  # else it accepts only to throw us out
                pause_s = _FIRST_PAUSE_S if lasted else min(2 * pause_s, _LONGEST_PAUSE_S)
                wait_s = random.uniform(pause_s / 2, pause_s)
                log.warning("broker %s:%d: %s; next try in %.1f s", *self._address, e, wait_s)
                self._stop.wait(wait_s)

    @property
    def _address(self) -> tuple[str, int]:
        return self._config.host, self._config.port

    def _drain(self, session: "_Session") -> None:
        """Publishes waiting events in order until told to stop and nothing waits; raises BrokerLostError."""
        newest, newest_in_memory, generation, leave_s = 0, 0, -1, None
        while True:
            room = _IN_FLIGHT - session.in_flight
            rows = self._outbox.waiting(newest, room)
            newest = rows[-1].seq if rows else newest
            diskless = self._outbox.in_memory(newest_in_memory, room - len(rows))
            newest_in_memory = diskless[-1].seq if diskless else newest_in_memory
            for row in (*rows, *diskless):
                session.publish(row, envelope(self._station, row))
            for row, refusal in session.settled(wait_s=0.2 if session.in_flight else 0.0):
                if refusal is None:
                    self._outbox.delivered(row)
                else:
                    log.error("event %d refused by the broker, set aside: %s", row.seq, refusal)
                    self._outbox.refused(row)
            is_idle = room > 0 and not rows and not diskless and not session.in_flight
            if self._stop.is_set():
                leave_s = leave_s or time.monotonic() + _GOODBYE_S
                if is_idle or time.monotonic() > leave_s:
                    return
            elif is_idle:
                session.check()
                generation = self._outbox.wait_for_commit(generation, timeout_s=0.5)


class _Session:
    """One connection, from CONNACK to its end. Properties, such as the will's delay, exist in MQTT 5 only."""

    def __init__(self, config: Mqtt, station: str, protocol: MQTTProtocolVersion) -> None:
        self._protocol = protocol
        self._prefix = config.topic
        self._progress_within_s = 1.5 * config.keepalive_s
        self._connected: queue.Queue[str] = queue.Queue()
        self._lost: str | None = None
        self._acknowledged: queue.Queue[tuple[int, str | None]] = queue.Queue()
        self._row_of: dict[int, Row] = {}
        self._progress_s = time.monotonic()
        self._client = self._connect(config, station)

    def __enter__(self) -> "_Session":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Left by an error, the broker is asked for the last will (MQTT 5): the state must not stay `online`."""
        if error is not None and self._protocol == paho.MQTTv5:
            self._client.disconnect(reasoncode=ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message"))
        else:
            self._client.disconnect()
        self._client.loop_stop()

    @property
    def in_flight(self) -> int:
        return len(self._row_of)

    def check(self) -> None:
        """Raises BrokerLostError once the connection has ended, or nothing was acknowledged for too long."""
        if self._lost is not None:
            raise BrokerLostError(self._lost)
        if self._row_of and time.monotonic() - self._progress_s > self._progress_within_s:
            raise BrokerLostError(f"no acknowledgement for {self._progress_within_s:.0f} s")

    def say(self, topic: str, content: Mapping[str, Any], wait_s: float = 0.0) -> None:
        """Publishes a retained message about the station itself; waits so long for the broker to take it over."""
        said = self._client.publish(f"{self._prefix}/{topic}", msgspec.json.encode(content), qos=1, retain=True)
        try:
            said.wait_for_publish(wait_s)
        except (RuntimeError, ValueError) as e:
            raise BrokerLostError(f"{topic} was not sent: {e}") from e

    def publish(self, row: Row, message: bytes) -> None:
        self.check()
        properties = self._properties(PacketTypes.PUBLISH, ContentType="application/cloudevents+json", PayloadFormatIndicator=1)
        if not self._row_of:
            self._progress_s = time.monotonic()
        sent = self._client.publish(f"{self._prefix}/{row.topic}", message, qos=1, properties=properties)
        self._row_of[sent.mid] = row

    def settled(self, wait_s: float) -> list[tuple[Row, str | None]]:
        """Events the broker answered for since the last call, with its refusal if it refused."""
        self.check()
        answers: list[tuple[int, str | None]] = []
        try:
            answers.append(self._acknowledged.get(timeout=wait_s) if wait_s else self._acknowledged.get_nowait())
            while True:
                answers.append(self._acknowledged.get_nowait())
        except queue.Empty:
            pass
        if answers:
            self._progress_s = time.monotonic()
        return [(self._row_of.pop(mid), refusal) for mid, refusal in answers if mid in self._row_of]

    def _properties(self, packet: int, **values: Any) -> Properties | None:
        if self._protocol != paho.MQTTv5:
            return None
        properties = Properties(packet)
        for name, value in values.items():
            setattr(properties, name, value)
        return properties

    def _connect(self, config: Mqtt, station: str) -> paho.Client:
        is_v5 = self._protocol == paho.MQTTv5
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"kensa-{station}",
            protocol=self._protocol,
            clean_session=None if is_v5 else True,
            reconnect_on_failure=False,
        )
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.max_inflight_messages_set(_IN_FLIGHT + 4)
        client.connect_timeout = _CONNECT_WITHIN_S
        will = msgspec.json.encode({"state": "offline", "reason": "connection lost"})
        will_properties = self._properties(PacketTypes.WILLMESSAGE, WillDelayInterval=_WILL_DELAY_S)
        client.will_set(f"{config.topic}/state", will, qos=1, retain=True, properties=will_properties)
        properties = self._properties(PacketTypes.CONNECT, SessionExpiryInterval=10 * _WILL_DELAY_S)
        v5_only: dict[str, Any] = {"clean_start": False, "properties": properties} if is_v5 else {}
        try:
            client.connect(config.host, config.port, config.keepalive_s, **v5_only)
        except (OSError, ValueError) as e:
            raise BrokerLostError(f"cannot connect: {e}") from e
        client.loop_start()
        try:
            refusal = self._connected.get(timeout=_CONNECT_WITHIN_S)
        except queue.Empty:
            client.loop_stop()
            raise _OtherProtocolError(f"no answer within {_CONNECT_WITHIN_S:.0f} s") from None
        if refusal:
            client.loop_stop()
            kind = _OtherProtocolError if "protocol version" in refusal else BrokerLostError
            raise kind(f"not connected: {refusal}")
        return client

    def _on_connect(self, client: paho.Client, data: Any, flags: paho.ConnectFlags, reason: ReasonCode, properties: Any) -> None:
        self._connected.put(str(reason) if reason.is_failure else "")

    def _on_disconnect(self, client: paho.Client, data: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        self._lost = f"connection lost: {reason}"

    def _on_publish(self, client: paho.Client, data: Any, mid: int, reason: ReasonCode, properties: Any) -> None:
        self._acknowledged.put((mid, str(reason) if reason.is_failure else None))
