from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from export.broker import HOST, broker


@pytest.mark.parametrize("path", ["", None], ids=["amqtt, where no mosquitto is on PATH", "whatever is installed"])
def test_a_broker_takes_a_message_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str | None) -> None:
    monkeypatch.setattr("export.broker.MOSQUITTO_PATH", path)

    with broker(tmp_path) as (name, port):
        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.connect(HOST, port)
        client.loop_start()
        sent = client.publish("a/b", b"c", qos=1)
        sent.wait_for_publish(10)
        client.disconnect()
        client.loop_stop()

    assert sent.is_published()
    assert name in {"mosquitto", "amqtt"}
