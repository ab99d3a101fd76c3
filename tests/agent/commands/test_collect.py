"""The reference collector against a real mosquitto with its own limits, kills included."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet
import pytest
from broker import ITS_OWN_LIMITS, Broker, mosquitto
from collected import events_in
from kensa_process import running
from waiting import wait_until

from agent.broker.mqtt import Publisher
from agent.collect.ledger import Ledger
from agent.events.memory import Entry
from agent.events.outbox import Outbox
from agent.events.rows import Kind
from agent.sections import Mqtt

TIME = "2026-11-21T09:30:00.000000Z"


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.db") as opened:
        yield opened


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    folder = tmp_path / "broker"
    folder.mkdir()
    with mosquitto(folder, persistence=True, settings=ITS_OWN_LIMITS) as started:
        yield started


def put(outbox: Outbox, numbers: range) -> None:
    for n in numbers:
        data = json.dumps({"outcome": "pass", "cause": "score", "n": n}).encode()
        wait_until(lambda n=n, data=data: outbox.put(Entry(f"part {n}", Kind.PASS, "result/pass", TIME, data, lambda key: None)))


def publisher(broker: Broker, outbox: Outbox, collector: str | None = "archive") -> Publisher:
    return Publisher(Mqtt(broker.host, "plant/press-3", broker.port, collector=collector), "press-3", outbox, {})


@contextmanager
def collector(broker: Broker, file: Path, log_file: Path, *more: str):
    words = ["collect", "--host", broker.host, "--port", str(broker.port), "--topic", "plant", "--name", "archive"]
    with running("-m", "kensa", *words, "--out", str(file), *more, log_file=log_file) as process:
        yield process


def complete(file: Path, count: int) -> bool:
    """Whether a ledger has that many events and no gap."""
    if not file.exists() or events_in(file) != count:
        return False
    with Ledger(file) as ledger:
        return ledger.gaps() == []


def test_what_is_acknowledged_is_settled_and_only_that(tmp_path: Path, broker: Broker, outbox: Outbox) -> None:
    file = tmp_path / "events.db"
    with publisher(broker, outbox):
        put(outbox, range(50))
        wait_until(lambda: len(outbox.unacknowledged(100)) == 50)

        with collector(broker, file, tmp_path / "collect.log"):
            wait_until(lambda: complete(file, 50), timeout_s=45)  # told of by the metrics, every 10 s
            wait_until(lambda: outbox.unacknowledged(100) == [], timeout_s=45)


def test_what_the_broker_dropped_while_the_collector_was_away_is_asked_for_again(
    tmp_path: Path, broker: Broker, outbox: Outbox
) -> None:
    file = tmp_path / "events.db"
    with publisher(broker, outbox):
        with collector(broker, file, tmp_path / "first.log"):
            put(outbox, range(10))
            wait_until(lambda: complete(file, 10), timeout_s=45)
        put(outbox, range(10, 2010))  # twice what the broker keeps for one who is away
        wait_until(lambda: outbox.newest() >= 2010 and outbox.backlog() == 0, timeout_s=40)

        with collector(broker, file, tmp_path / "second.log") as second:
            wait_until(lambda: complete(file, 2010), timeout_s=50)
            asked = "asked for" in second.text()

    assert asked


def test_a_collector_killed_again_and_again_has_every_event_once(tmp_path: Path, broker: Broker, outbox: Outbox) -> None:
    file = tmp_path / "events.db"
    with publisher(broker, outbox):
        for k in range(4):
            with collector(broker, file, tmp_path / f"{k}.log", "--parquet", str(tmp_path / "files")) as killed:
                put(outbox, range(100 * k, 100 * k + 100))
                wait_until(lambda k=k: file.exists() and events_in(file) > 100 * k, timeout_s=45)
                killed.kill()

        with collector(broker, file, tmp_path / "last.log", "--parquet", str(tmp_path / "files"), "--table") as last:
            wait_until(lambda: complete(file, 400), timeout_s=40)
            wait_until(lambda: "plant/press-3  online" in last.text(), timeout_s=20)
            last.terminate()

    written = pyarrow.parquet.read_table(tmp_path / "files").to_pydict()
    assert len({*written["id"]}) == 400
    assert written["row"] == list(range(1, 401))
