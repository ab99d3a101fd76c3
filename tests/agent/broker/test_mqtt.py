"""The publisher against a real mosquitto that is stopped, killed and started again."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from broker import HOST, Broker, free_port, mosquitto
from forgetful_broker import forgetful_broker
from kensa_process import running
from paho.mqtt.client import MQTTv5, MQTTv311
from paho.mqtt.enums import MQTTProtocolVersion
from subscriber import subscriber
from waiting import wait_until

from agent.broker.mqtt import Publisher
from agent.broker.session import BrokerLostError, Session
from agent.events.memory import Entry
from agent.events.outbox import Outbox
from agent.events.rows import Kind
from agent.sections import Mqtt

TIME = "2026-11-21T09:30:00.000000Z"
BOUNDED = "max_queued_messages 1000"  # without a bound, mosquitto 2.0.11 closes the connection after each refusal
BIRTH = {"station": "press-3", "model": "small"}

PUBLISHES_UNTIL_KILLED = """
import sys, threading
from pathlib import Path
from agent.sections import Mqtt
from agent.broker.mqtt import Publisher
from agent.events.outbox import Outbox
with Outbox(Path(sys.argv[1])) as outbox:
    with Publisher(Mqtt("127.0.0.1", "plant/press-3", int(sys.argv[2])), "press-3", outbox, {}) as publisher:
        threading.Event().wait(60)
"""


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.db") as opened:
        yield opened


def publisher_to(port: int, outbox: Outbox) -> Publisher:
    return Publisher(Mqtt(HOST, "plant/press-3", port), "press-3", outbox, BIRTH)


def put(outbox: Outbox, numbers: range, size: int = 2) -> None:
    """Events with these part numbers, alternately passed and rejected, `size` bytes each at least."""
    for n in numbers:
        data = json.dumps({"n": n, "padding": "x" * size}).encode()
        assert outbox.put(Entry(f"part {n}", Kind.PASS, ("result/pass", "result/reject")[n % 2], TIME, data, lambda key: None))


def without_repeats(sequence: list[int]) -> list[int]:
    return list(dict.fromkeys(sequence))


def test_events_arrive_once_and_in_order(broker: Broker, outbox: Outbox) -> None:
    with subscriber(broker.host, broker.port) as heard, publisher_to(broker.port, outbox):
        wait_until(lambda: heard.below("birth"))  # what comes before the connection is told after what comes then
        put(outbox, range(100))

        wait_until(lambda: len(heard.events()) >= 100)
        wait_until(lambda: outbox.backlog() == 0)

    assert heard.sequence() == list(range(1, 101))
    assert [event["data"]["n"] for event in heard.events()] == list(range(100))
    assert {event["id"] for event in heard.events()} == {f"part {n}" for n in range(100)}
    assert {message.qos for message in heard.below("result/pass")} == {1}
    assert len(heard.below("result/reject")) == 50


def test_an_event_is_marked_as_what_it_is(broker: Broker, outbox: Outbox) -> None:
    with subscriber(broker.host, broker.port) as heard, publisher_to(broker.port, outbox):
        put(outbox, range(1))
        wait_until(heard.events)

    (message,) = heard.below("result/pass")
    assert message.properties.ContentType == "application/cloudevents+json"
    assert not message.retain


def test_birth_and_state_are_kept_by_the_broker_for_who_comes_later(broker: Broker, outbox: Outbox) -> None:
    with publisher_to(broker.port, outbox), subscriber(broker.host, broker.port) as sees_online:
        wait_until(lambda: sees_online.below("birth") and sees_online.below("state"))
    with subscriber(broker.host, broker.port) as comes_later:
        wait_until(lambda: comes_later.below("birth") and comes_later.below("state"))

    assert json.loads(sees_online.below("state")[0].payload)["state"] == "online"
    assert comes_later.below("birth")[0].retain
    assert json.loads(comes_later.below("birth")[0].payload).items() >= {**BIRTH, "stream": outbox.stream}.items()


def test_a_publisher_that_leaves_says_offline_and_leaves_no_event_behind(broker: Broker, outbox: Outbox) -> None:
    with subscriber(broker.host, broker.port) as heard:
        with publisher_to(broker.port, outbox):
            wait_until(lambda: heard.below("state"))
            put(outbox, range(30))

        wait_until(lambda: len(heard.below("state")) == 2)

    said = [json.loads(message.payload) for message in heard.below("state")]
    assert [state["state"] for state in said] == ["online", "offline"]
    assert said[-1]["reason"] == "stopped"
    assert heard.sequence() == list(range(1, 31))


def test_the_will_of_a_killed_publisher_says_offline(broker: Broker, tmp_path: Path) -> None:
    command = ("-c", PUBLISHES_UNTIL_KILLED, str(tmp_path / "killed.db"), str(broker.port))
    with subscriber(broker.host, broker.port) as heard, running(*command, log_file=tmp_path / "killed.log") as publishes:
        wait_until(lambda: heard.below("state"))
        publishes.kill()

        wait_until(lambda: len(heard.below("state")) == 2, timeout_s=20)  # the will waits 5 s for a quick reconnect

    assert json.loads(heard.below("state")[-1].payload) == {"state": "offline", "reason": "connection lost"}


def test_no_event_is_lost_when_the_broker_is_killed_and_comes_back(tmp_path: Path, outbox: Outbox) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    with mosquitto(folder, persistence=True) as broker, subscriber(broker.host, broker.port, "watcher") as heard:
        wait_until(lambda: b"watcher" in read(folder / "mosquitto.db"))  # its session outlives the broker
        with publisher_to(broker.port, outbox) as publisher:
            put(outbox, range(30))
            wait_until(lambda: len(heard.events()) >= 30)
            broker.kill()
            put(outbox, range(30, 60))
            publisher.check()
            broker.start()

            wait_until(lambda: set(heard.sequence()) == set(range(1, 61)), timeout_s=30)

    assert without_repeats(heard.sequence()) == list(range(1, 61))
    assert all(event["id"] == f"part {event['seq'] - 1}" for event in heard.events())
    assert all(event["data"]["n"] == event["seq"] - 1 for event in heard.events())


def test_events_from_before_the_first_connection_arrive_too(outbox: Outbox, broker: Broker) -> None:
    broker.stop()
    with publisher_to(broker.port, outbox):
        put(outbox, range(10))
        wait_until(lambda: outbox.backlog() == 10)
        broker.start()

        with subscriber(broker.host, broker.port):
            wait_until(lambda: outbox.backlog() == 0, timeout_s=30)


def test_a_broker_that_cannot_be_reached_blocks_nobody(outbox: Outbox) -> None:
    with publisher_to(free_port(), outbox) as publisher:
        before_s = time.monotonic()
        put(outbox, range(1000))
        took_s = time.monotonic() - before_s

        publisher.check()

    assert took_s < 2  # a thousand times into a queue: milliseconds, on a busy machine too
    wait_until(lambda: outbox.backlog() == 1000)


def test_events_of_a_topic_that_is_not_allowed_wait_while_the_others_move_and_the_state_says_so(
    tmp_path: Path, outbox: Outbox
) -> None:
    allowed = ["write plant/press-3/state", "write plant/press-3/birth", "write plant/press-3/result/pass", "read #"]
    (tmp_path / "acl").write_text("".join(f"topic {line}\n" for line in allowed))  # rejects are not among them
    with (
        mosquitto(tmp_path, settings=[f"acl_file {tmp_path}/acl", BOUNDED]) as broker,
        subscriber(broker.host, broker.port) as heard,
    ):
        put(outbox, range(5))

        with publisher_to(broker.port, outbox):
            wait_until(lambda: 5 in heard.sequence())
            wait_until(lambda: outbox.backlog() == 2)
            wait_until(lambda: any(b"degraded" in message.payload for message in heard.below("state")))

    assert without_repeats(heard.sequence()) == [1, 3, 5]
    assert "not allowed to publish to result/reject" in json.loads(heard.below("state")[-2].payload)["reason"]


def test_an_event_too_large_for_the_broker_is_set_aside_and_the_next_ones_move(tmp_path: Path, outbox: Outbox) -> None:
    with (
        mosquitto(tmp_path, settings=["message_size_limit 3000", BOUNDED]) as broker,
        subscriber(broker.host, broker.port) as heard,
    ):
        put(outbox, range(1))
        put(outbox, range(1, 2), size=5000)
        put(outbox, range(2, 3))

        with publisher_to(broker.port, outbox):
            wait_until(lambda: outbox.backlog() == 0)
            wait_until(lambda: 3 in heard.sequence())

    assert without_repeats(heard.sequence()) == [1, 3]  # the connection was lost, so a copy may come


def test_a_publisher_whose_thread_died_is_loud_in_check(broker: Broker, tmp_path: Path) -> None:
    with Outbox(tmp_path / "closed.db") as closed:
        pass

    with publisher_to(broker.port, closed) as publisher:
        wait_until(lambda: not publisher._thread.is_alive())

        with pytest.raises(BrokerLostError, match="publisher stopped"):
            publisher.check()


def read(file: Path) -> bytes:
    """The bytes of a file, none where there is none yet."""
    return file.read_bytes() if file.exists() else b""


def test_why_and_for_how_long_the_broker_takes_nothing_is_known(broker: Broker, outbox: Outbox) -> None:
    broker.stop()
    with publisher_to(broker.port, outbox) as publisher:
        wait_until(lambda: "cannot connect" in publisher.away[0])
        since_s = time.monotonic() - publisher.away[1]
        wait_until(lambda: time.monotonic() - since_s > 3.0)  # tried again meanwhile
        still_s = time.monotonic() - publisher.away[1]
        broker.start()
        wait_until(lambda: publisher.away[0] == "", timeout_s=40)
        broker.stop()
        wait_until(lambda: publisher.away[0] != "", timeout_s=40)

    assert still_s == pytest.approx(since_s, abs=0.1)


@pytest.mark.parametrize("protocol", [MQTTv5, MQTTv311], ids=["5", "3.1.1"])
def test_a_connection_that_is_left_by_an_error_does_not_take_back_the_last_will(
    broker: Broker, protocol: MQTTProtocolVersion
) -> None:
    with subscriber(broker.host, broker.port) as heard:
        with pytest.raises(BrokerLostError), Session(Mqtt(HOST, "plant/press-3", broker.port), "press-3", protocol):
            raise BrokerLostError("`offline` was not taken")

        wait_until(lambda: heard.below("state"))

    assert json.loads(heard.below("state")[0].payload) == {"state": "offline", "reason": "connection lost"}


@pytest.mark.parametrize(
    ("collector", "told"), [("archive", "not allowed to read ack, replay"), (None, "")], ids=["a collector", "none"]
)
def test_a_broker_that_lets_the_station_hear_no_collector_is_told_of(outbox: Outbox, collector: str | None, told: str) -> None:
    refuses_all = b"\x87\x87\x87\x87"
    with forgetful_broker(subscribed=refuses_all) as broker:
        config = Mqtt(HOST, "plant/press-3", broker.port, collector=collector)
        with Publisher(config, "press-3", outbox, BIRTH) as publisher:
            wait_until(lambda: publisher.away == (told, 0.0))
