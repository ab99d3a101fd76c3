"""Faults N13 and N15: what is said to a station by who means harm, comes late, repeats itself or has left something behind."""

import json
import time
import uuid
from pathlib import Path

from broker import Broker, mosquitto
from commander import STATION, Commander, commander, order
from small_station import publisher_to, put
from subscriber import subscriber
from waiting import wait_until

from agent.broker.command_desk import CommandDesk
from agent.broker.mqtt import Publisher
from agent.broker.remote_command import TABLE
from agent.events.outbox import Outbox
from agent.sections import Mqtt


def obedient(port: int, outbox: Outbox, folder: Path) -> tuple[Publisher, CommandDesk]:
    """A station that obeys all commands."""
    desk = CommandDesk(tuple(TABLE), folder / "commands.json", tell=outbox.alert)
    return Publisher(Mqtt("127.0.0.1", STATION, port), "press-3", outbox, {}, desk=desk), desk


def say_all(client: Commander, said: list[tuple[str, bytes]]) -> None:
    for topic, payload in said:
        client.say(topic, payload)


def test_n13_hostile_oversized_malformed_late_and_repeated_commands_are_refused_counted_and_harm_nothing(
    tmp_path: Path, broker: Broker, outbox: Outbox
) -> None:
    repeated = order(id=uuid.uuid4().hex)
    hostile = [
        ("cmd/pause", b"\xff\x00" * 50),
        ("cmd/pause", b"[" * 60_000),
        ("cmd/pause", order(reason="x" * 5000)),
        ("cmd/pause", order(within_s=-1)),
        ("cmd/pause", order(within_s=3600)),
        ("cmd/shutdown", order()),
        ("cmd/💥", order()),
        ("ack", b"{" * 1000),
        ("ack", b'{"unknown": ' + b"[" * 60_000),
        ("birth", b'{"unknown": ' + b"[" * 60_000),
        ("replay", b'{"stream": 7}'),
        ("replay", b'{"stream": "%b", "from": 1, "to": 9223372036854775808}' % outbox.stream.encode()),
        ("replay", b'{"stream": "%b", "from": -1, "to": 7}' % outbox.stream.encode()),
    ]
    publisher, desk = obedient(broker.port, outbox, tmp_path)
    with subscriber(broker.host, broker.port) as heard, commander(broker.host, broker.port) as client, publisher:
        wait_until(lambda: heard.below("state"))
        put(outbox, range(50))
        say_all(client, hostile)
        client.say("cmd/pause", order(), answer_to="plant/press-4/cmd/pause")
        client.say("cmd/pause", b"x" * 100_000)
        once, twice = client.ask("resume", repeated), client.ask("resume", repeated)
        wait_until(lambda: len(heard.events()) >= 50, timeout_s=20)
        publisher.check()
        paused = desk.paused

    refused = {"malformed": 3, "late": 1, "far-ahead": 1, "unknown": 2, "response-elsewhere": 1, "repeated": 1}
    assert (once["result"], twice["result"], twice["why"]) == ("ok", "refused", "repeated")
    assert desk.refused == refused
    assert (desk.obeyed, paused) == (1, None)
    assert publisher.misunderstood == 6
    assert heard.sequence() == list(range(1, 51))


def test_n13_a_flood_of_commands_delays_nothing_for_long_and_is_counted(tmp_path: Path, broker: Broker, outbox: Outbox) -> None:
    publisher, desk = obedient(broker.port, outbox, tmp_path)
    with subscriber(broker.host, broker.port) as heard, commander(broker.host, broker.port) as client, publisher:
        wait_until(lambda: heard.below("state"))
        say_all(client, [("cmd/pause", b"flood")] * 1500)
        put(outbox, range(20))

        wait_until(lambda: len(heard.events()) >= 20, timeout_s=20)
        publisher.check()

    assert 0 < desk.refused["malformed"] <= 1500
    assert desk.paused is None


def test_n13_a_command_that_is_not_enabled_is_refused_and_the_answer_says_where_it_would_be(
    broker: Broker, outbox: Outbox
) -> None:
    with (
        subscriber(broker.host, broker.port) as heard,
        commander(broker.host, broker.port) as client,
        publisher_to(broker.port, outbox),
    ):
        wait_until(lambda: heard.below("state"))
        answer = client.ask("pause")

    assert (answer["result"], answer["why"]) == ("refused", "not-enabled")
    assert "mqtt: {commands" in answer["reason"]


def test_n15_a_command_that_was_left_at_the_broker_is_ignored(tmp_path: Path, broker: Broker, outbox: Outbox) -> None:
    with commander(broker.host, broker.port) as client:
        client.say("cmd/pause", order(within_s=300), retain=True)
        client.say("cmd/reload", order(within_s=-300), retain=True)
        publisher, desk = obedient(broker.port, outbox, tmp_path)
        with subscriber(broker.host, broker.port) as heard, publisher:
            wait_until(lambda: heard.below("state"))
            answer = client.ask("resume")  # it has heard what was there before
            wait_until(lambda: desk.refused["retained"] == 2)

    assert answer["result"] == "ok"
    assert (desk.paused, desk.wants_restart) == (None, False)
    assert {json.loads(said.payload)["state"] for said in heard.below("state")} <= {"online", "offline"}
    assert len(client.answers) == 1


def test_n15_a_command_that_expired_while_the_station_was_away_is_not_obeyed(tmp_path: Path, outbox: Outbox) -> None:
    """The broker keeps it for the station's session; here it comes with its time long gone."""
    folder = tmp_path / "broker"
    folder.mkdir()
    with (
        mosquitto(folder) as broker,
        commander(broker.host, broker.port) as client,
        subscriber(broker.host, broker.port) as heard,
    ):
        first, _ = obedient(broker.port, outbox, tmp_path)
        with first:
            wait_until(lambda: heard.below("state"))
        late_s = time.monotonic() + 0.2
        client.say("cmd/pause", order(within_s=0.1))
        wait_until(lambda: time.monotonic() > late_s)
        again, desk = obedient(broker.port, outbox, tmp_path)
        with again:
            wait_until(lambda: desk.refused["late"] == 1)

    assert desk.paused is None
