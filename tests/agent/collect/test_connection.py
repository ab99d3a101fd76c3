"""A collector's connection to a real mosquitto: why it ended is told."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.publish
import pytest
from broker import Broker, mosquitto
from waiting import wait_until

from agent.broker.error import BrokerLostError
from agent.collect.connection import Connection
from agent.sections import Mqtt


@contextmanager
def broker(folder: Path, *settings: str) -> Iterator[Broker]:
    with mosquitto(folder, settings=settings) as started:
        yield started


def config(broker: Broker) -> Mqtt:
    return Mqtt(broker.host, "plant", broker.port, collector="archive")


def why_ended(connection: Connection) -> str:
    """Empty while it lasts."""
    try:
        connection.check()
    except BrokerLostError as e:
        return str(e)
    return ""


def hears_itself(connection: Connection) -> bool:
    connection.say("plant/press-3/ack", {})
    return bool(connection.next_group(1, 0.1))


def test_a_refused_login_is_told(tmp_path: Path) -> None:
    with broker(tmp_path, "allow_anonymous false") as refusing, Connection(config(refusing)) as connection:
        wait_until(lambda: why_ended(connection), timeout_s=20)

        assert why_ended(connection) == "not connected: Not authorized"


def test_a_collector_thrown_out_by_another_of_its_name_asks_for_it(tmp_path: Path) -> None:
    with broker(tmp_path) as one, Connection(config(one)) as first:
        wait_until(lambda: hears_itself(first), timeout_s=20)

        with Connection(config(one)):
            wait_until(lambda: why_ended(first), timeout_s=20)

        assert why_ended(first).endswith("does another collector run as --name archive?")


def test_a_flood_while_nothing_is_taken_holds_up_no_end_and_loses_no_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.collect.connection._WAITING", 20)
    told = [("plant/press-3/metrics", b"%d" % n, 0) for n in range(60)] + [("plant/press-3/alert", b"kept", 1)]
    with broker(tmp_path) as one:
        connection = Connection(config(one))
        with connection:
            wait_until(lambda: hears_itself(connection), timeout_s=20)
            paho.mqtt.publish.multiple(told, one.host, one.port)
            wait_until(lambda: why_ended(connection), timeout_s=20)

        with Connection(config(one)) as again:
            heard: list[bytes] = []
            wait_until(lambda: heard.extend(m.payload for m in again.next_group(100, 0.1)) or b"kept" in heard, timeout_s=20)


def test_a_broker_that_is_away_is_told(tmp_path: Path) -> None:
    with broker(tmp_path) as away:
        away.stop()

        with pytest.raises(BrokerLostError, match="cannot connect"):
            Connection(config(away))
