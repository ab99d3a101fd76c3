"""An independent subscriber: plain paho, nothing of ours."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.events.event import parse


class Subscriber:
    """What arrived below `plant/press-3`. With a name, the broker keeps messages for it while it is away."""

    def __init__(self, host: str, port: int, name: str = "") -> None:
        self.received: list[paho.MQTTMessage] = []
        self._subscribed = threading.Event()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5)
        self._client.reconnect_delay_set(min_delay=1, max_delay=1)
        self._client.on_connect = lambda client, *_: client.subscribe("plant/press-3/#", qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = lambda client, data, message: self.received.append(message)
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = 600 if name else 0
        self._client.connect(host, port, clean_start=not name, properties=session)
        self._client.loop_start()
        if not self._subscribed.wait(10):
            raise TimeoutError("not subscribed within 10 s")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def below(self, topic: str) -> list[paho.MQTTMessage]:
        """Messages of one topic below the prefix."""
        return [message for message in self.received if message.topic == f"plant/press-3/{topic}"]

    def events(self) -> list[dict[str, Any]]:
        """Parts' events, in the order of their arrival."""
        return [parse(message.payload) for message in self.received if "/result/" in message.topic]

    def sequence(self) -> list[int]:
        return [event["seq"] for event in self.events()]


@contextmanager
def subscriber(host: str, port: int, name: str = "") -> Iterator[Subscriber]:
    """Subscribed when the block begins."""
    subscribed = Subscriber(host, port, name)
    try:
        yield subscribed
    finally:
        subscribed.close()
