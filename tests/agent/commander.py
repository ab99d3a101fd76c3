"""Gives commands to the station `plant/press-3` and hears its answers: plain paho, nothing of ours."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from waiting import wait_until

STATION = "plant/press-3"
ANSWERS = f"{STATION}/response/desk"


def order(within_s: float = 60, **content: Any) -> bytes:
    """A command as it should be; `content` is added to it."""
    expires = datetime.now(timezone.utc) + timedelta(seconds=within_s)
    return json.dumps({"id": uuid.uuid4().hex, "expires": expires.isoformat(), **content}).encode()


class Commander:
    """answers: by their correlation data, in the order of their arrival."""

    def __init__(self, host: str, port: int) -> None:
        self.answers: list[tuple[bytes, dict[str, Any]]] = []
        subscribed: list[bool] = []
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe(f"{STATION}/response/#", qos=1)
        self._client.on_subscribe = lambda *_: subscribed.append(True)
        self._client.on_message = self._take
        self._client.connect(host, port)
        self._client.loop_start()
        wait_until(lambda: subscribed)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def say(self, topic: str, payload: bytes, retain: bool = False, answer_to: str = ANSWERS, **properties: Any) -> None:
        """A message below the station's prefix, taken over by the broker when this returns."""
        said = Properties(PacketTypes.PUBLISH)
        for name, value in ({"ResponseTopic": answer_to} | properties).items():
            setattr(said, name, value)
        self._client.publish(f"{STATION}/{topic}", payload, qos=1, retain=retain, properties=said).wait_for_publish(10)

    def ask(self, name: str, payload: bytes | None = None, **properties: Any) -> dict[str, Any]:
        """The station's answer to a command."""
        correlation = uuid.uuid4().bytes
        self.say(f"cmd/{name}", order() if payload is None else payload, CorrelationData=correlation, **properties)
        wait_until(lambda: correlation in dict(self.answers), timeout_s=20)
        return dict(self.answers)[correlation]

    def _take(self, client: Any, data: Any, message: paho.MQTTMessage) -> None:
        self.answers.append((getattr(message.properties, "CorrelationData", b""), json.loads(message.payload)))


@contextmanager
def commander(host: str, port: int) -> Iterator[Commander]:
    """Hears answers when the block begins."""
    opened = Commander(host, port)
    try:
        yield opened
    finally:
        opened.close()
