from pathlib import Path

import paho.mqtt.client as paho
import pytest
from kensa_process import is_at_work, running
from paho.mqtt.enums import CallbackAPIVersion
from waiting import wait_until

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


STARTS_A_BROKER = """
import sys, threading
from pathlib import Path
import export.broker
export.broker.MOSQUITTO_PATH = None if sys.argv[2] == "whatever is installed" else ""
with export.broker.broker(Path(sys.argv[1])) as (name, port):
    print(Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text(), "ready", flush=True)
    threading.Event().wait()
"""


@pytest.mark.parametrize("which", ["amqtt", "whatever is installed"])
def test_a_broker_is_gone_with_the_demo_that_was_killed(tmp_path: Path, which: str) -> None:
    with running("-c", STARTS_A_BROKER, str(tmp_path), which, log_file=tmp_path / "log") as demo:
        wait_until(lambda: "ready" in demo.text(), 30)
        broker_process = int(demo.text().split()[0])
        worked = is_at_work(broker_process)

        demo.kill()

        wait_until(lambda: not is_at_work(broker_process), 20)
    assert worked
