"""The central broker as it is configured for a plant, and Telegraf's view of real messages."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
import tomllib

sys.path.insert(0, str(Path(__file__).parents[1] / "agent"))

from broker import free_port, mosquitto
from certificates import Authority, Certificate
from collected import events_in
from events.test_event import event
from kensa_process import running
from waiting import wait_until

from agent.broker.mqtt import Publisher
from agent.clock import machine_boot, utc_now
from agent.events.event import kind, payload, topic
from agent.events.memory import Entry
from agent.events.outbox import Outbox
from agent.sections import Mqtt, Tls

FLEET = Path(__file__).parents[2] / "deploy" / "fleet"
TOPIC = "plant/hall-2/press-3"
TELEGRAF = tomllib.loads((FLEET / "telegraf.conf").read_text())
PARTS, METRICS = TELEGRAF["inputs"]["mqtt_consumer"]


@dataclass
class Plant:
    """The broker with its configuration, and whoever has a certificate."""

    port: int
    authority: Authority

    def certificate(self, name: str) -> Certificate:
        return self.authority.sign(name)

    def client(self, name: str) -> paho.Client:
        """Plain paho, connected as that one."""
        client, certificate = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5), self.certificate(name)
        client.tls_set(str(self.authority.file), str(certificate.file), str(certificate.key))
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        return client


def configuration(folder: Path, port: int, authority: Authority) -> list[str]:
    """The lines of mosquitto.conf with this machine's files and port."""
    broker, text = authority.sign("broker"), (FLEET / "mosquitto.conf").read_text()
    here = {
        "listener 8883": f"listener {port} 127.0.0.1",
        "/etc/mosquitto/kensa/ca.pem": str(authority.file),
        "/etc/mosquitto/kensa/broker.pem": str(broker.file),
        "/etc/mosquitto/kensa/broker.key": str(broker.key),
        "/etc/mosquitto/kensa/acl": str(FLEET / "acl"),
        "/var/lib/mosquitto/": f"{folder}/",
    }
    for original, replacement in here.items():
        assert original in text
        text = text.replace(original, replacement)
    return text.splitlines()


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    authority, folder, port = Authority(tmp_path / "authority"), tmp_path / "broker", free_port()
    folder.mkdir()
    with mosquitto(folder, settings=configuration(folder, port, authority)):
        yield Plant(port, authority)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.db") as opened:
        one = event()
        opened.put(Entry("part 1", kind(one), topic(one), utc_now(), payload(one, machine_boot()), lambda key: None))
        yield opened


def station(plant: Plant, outbox: Outbox) -> Publisher:
    own = plant.certificate("press-3")
    tls = Tls(str(plant.authority.file), str(own.file), str(own.key))
    return Publisher(Mqtt("127.0.0.1", TOPIC, plant.port, tls=tls, collector="archive"), "press-3", outbox, {})


def found(message: bytes, path: str) -> Any:
    """What a GJSON path leads to, as far as the configuration uses such paths. KeyError, IndexError where it leads nowhere."""
    place = json.loads(message)
    for step in path.split("."):
        place = place[int(step)] if isinstance(place, list) else place[step]
    return place


def paths(consumer: dict[str, Any]) -> list[str]:
    (parser,) = consumer["json_v2"]
    return [parser["timestamp_path"], *(one["path"] for one in (*parser.get("tag", []), *parser["field"]))]


def test_station_and_collector_work_through_the_plants_broker(plant: Plant, outbox: Outbox, tmp_path: Path) -> None:
    own = plant.certificate("archive")
    words = ["collect", "--host", "127.0.0.1", "--port", str(plant.port), "--topic", "plant", "--name", "archive"]
    files = ["--ca", str(plant.authority.file), "--certificate", str(own.file), "--key", str(own.key)]
    out = ["--out", str(tmp_path / "events.db")]

    with station(plant, outbox), running("-m", "kensa", *words, *files, *out, log_file=tmp_path / "collect.log"):
        wait_until(lambda: events_in(tmp_path / "events.db") == 1, timeout_s=45)
        wait_until(lambda: not outbox.unacknowledged(1) and outbox.backlog() == 0, timeout_s=20)


@pytest.mark.parametrize(
    ("name", "topic", "allowed"),
    [
        ("press-3", "plant/hall-2/press-3/result/reject", True),
        ("press-3", "plant/hall-2/press-4/result/reject", False),
        ("press-3", "plant/hall-2/press-3/cmd/pause", False),
        ("press-3", "plant/hall-2/press-3/ack", False),
        ("archive", "plant/hall-2/press-3/ack", True),
        ("archive", "plant/hall-2/press-3/cmd/pause", False),
        ("telegraf", "plant/hall-2/press-3/ack", False),
        ("operator", "plant/hall-2/press-3/cmd/pause", True),
        ("operator", "plant/hall-2/press-3/result/reject", False),
    ],
)
def test_each_may_publish_what_is_its_own_and_nothing_else(plant: Plant, name: str, topic: str, allowed: bool) -> None:
    client, answers = plant.client(name), []
    client.on_publish = lambda client, data, mid, reason, properties: answers.append(reason)

    client.publish(topic, b"{}", qos=1)
    wait_until(lambda: answers, timeout_s=20)
    client.disconnect()
    client.loop_stop()

    assert answers[0].is_failure is not allowed


@pytest.mark.parametrize("consumer", [PARTS, METRICS], ids=["parts", "metrics"])
def test_each_path_of_telegraf_leads_somewhere_in_a_message_that_it_may_hear(
    plant: Plant, outbox: Outbox, consumer: dict[str, Any]
) -> None:
    client, heard = plant.client("telegraf"), []
    client.on_message = lambda client, data, message: heard.append(message)
    client.subscribe([(filter, 1) for filter in consumer["topics"]])

    with station(plant, outbox):
        wait_until(lambda: heard, timeout_s=20)
    client.disconnect()
    client.loop_stop()

    (parsing,) = consumer["topic_parsing"]
    tags = dict(zip(parsing["tags"].split("/"), heard[0].topic.split("/"), strict=True))
    values = {path: found(heard[0].payload, path) for path in paths(consumer)}
    assert (tags["hall"], tags["station"]) == ("hall-2", "press-3")
    assert paho.topic_matches_sub(parsing["topic"].replace("_", "+"), heard[0].topic)
    assert None not in values.values()


def test_a_client_without_a_certificate_is_not_let_in(plant: Plant) -> None:
    client, refused = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5), []
    client.on_disconnect = lambda client, data, flags, reason, properties: refused.append(reason)
    client.on_connect = lambda client, data, flags, reason, properties: pytest.fail("let in")
    client.tls_set(str(plant.authority.file))

    client.connect("127.0.0.1", plant.port)
    client.loop_start()
    wait_until(lambda: refused, timeout_s=20)
    client.loop_stop()

    assert refused[0].is_failure
