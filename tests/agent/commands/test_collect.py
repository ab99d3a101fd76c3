"""The reference collector against a real mosquitto with its own limits, kills included."""

import json
import re
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import paho.mqtt.publish
import pyarrow.parquet
import pytest
from broker import ITS_OWN_LIMITS, Broker, mosquitto
from collected import events_in, ids_in
from kensa_process import running
from waiting import wait_until

from agent.broker.mqtt import Publisher
from agent.collect.ledger import Ledger
from agent.commands.collect import collect_command
from agent.drivers import ConfigError
from agent.events.memory import Entry
from agent.events.outbox import Outbox
from agent.events.rows import Kind
from agent.sections import Mqtt

ENVELOPE: dict[str, object] = {
    "specversion": "1.0",
    "id": "1",
    "source": "urn:kensa:press-3",
    "type": "kensa.part/v1",
    "stream": "s",
    "seq": 1,
}
ENVELOPE |= {"time": "2026-11-21T09:30:00.000000Z", "data": {"outcome": "pass", "cause": "score"}}
TO_BROKER = ["--host", "127.0.0.1", "--topic", "plant", "--name", "archive"]
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


def test_a_full_disk_is_told_of_and_ends_by_itself_with_nothing_missing(tmp_path: Path, broker: Broker, outbox: Outbox) -> None:
    file = tmp_path / "events.db"
    with publisher(broker, outbox), collector(broker, file, tmp_path / "collect.log") as collecting:
        put(outbox, range(50))
        wait_until(lambda: events_in(file) == 50, timeout_s=40)
        _, highest = resource.prlimit(collecting.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(collecting.process.pid, resource.RLIMIT_FSIZE, (48 * 1024, highest))  # more than the log will have

        put(outbox, range(50, 300))
        wait_until(lambda: "events.db cannot be written" in collecting.text(), timeout_s=40)
        resource.prlimit(collecting.process.pid, resource.RLIMIT_FSIZE, (highest, highest))

        wait_until(lambda: complete(file, 300), timeout_s=40)


def test_messages_that_no_station_says_are_counted_and_do_not_end_the_collector(tmp_path: Path, broker: Broker) -> None:
    lost = {"alert": "events-lost", "reason": "room", "stream": "s", "first": 1, "last": 2, "count": 2}
    hostile = [
        ("result/pass", b"no JSON"),
        ("result/pass", b"[" * 50_000),
        ("result/pass", json.dumps({**ENVELOPE, "data": "text"})),
        ("result/pass", json.dumps({**ENVELOPE, "seq": 2**70})),
        ("result/pass", json.dumps({**ENVELOPE, "source": {}})),
        ("result/pass", json.dumps({**ENVELOPE, "data": {"outcome": {"a": 1}}})),
        ("alert", json.dumps({**ENVELOPE, "data": {"cause": ["x"]}})),
        ("alert", json.dumps({**ENVELOPE, "data": {**lost, "last": 2**70}})),
        ("alert", json.dumps({**ENVELOPE, "data": {**lost, "count": "many"}})),
        ("metrics", json.dumps({"stream": "s", "newest_seq": 2**70})),
        ("birth", b"[]"),
    ]
    retained = [(f"plant/press-{k}/{topic}", said, 1, True) for k, (topic, said) in enumerate(hostile)]
    good = ("plant/press-12/result/pass", json.dumps({**ENVELOPE, "id": "good"}), 1, True)

    paho.mqtt.publish.multiple([*retained, good], broker.host, broker.port)

    with collector(broker, tmp_path / "events.db", tmp_path / "collect.log") as collecting:
        wait_until(lambda: "not understood (11 so far)" in collecting.text(), timeout_s=40)
        wait_until(lambda: "good" in ids_in(tmp_path / "events.db"), timeout_s=20)
        assert collecting.terminate() == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--port", "99999"], "--port 99999: expected `int` <= 65535"),
        (["--topic", "plant/#"], "--topic plant/#: expected `str` matching regex"),
        (["--topic", ""], "--topic : expected `str` matching regex"),
        (["--name", "an archive"], "--name an archive: expected `str` matching regex"),
        (["--host", "mqtt://broker"], "--host mqtt://broker: host 'mqtt://broker': expected a name"),
        (["--certificate", "c.pem", "--key", "k.pem"], "--certificate and --key need --ca"),
        (["--ca", "ca.pem", "--certificate", "c.pem"], "--certificate c.pem: certificate and key belong together"),
        (["--keep-days", "30"], "--keep-days needs --parquet"),
        (["--user", "archive"], "--password-file None: give either"),
    ],
    ids=["port", "wildcard", "no-topic", "name", "url", "plain-text", "no-key", "no-file", "no-password"],
)
def test_a_mistake_is_named_before_anything_is_written(tmp_path: Path, words: list[str], named: str) -> None:
    with pytest.raises(ConfigError) as told:
        collect_command([*TO_BROKER, "--out", str(tmp_path / "events.db"), *words])

    assert named in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_the_query_of_the_page_counts_each_part_of_a_day_once(tmp_path: Path) -> None:
    (query,) = re.findall(r"```sql\n(.*?)```", (Path(__file__).parents[3] / "docs/mqtt/README.md").read_text(), re.DOTALL)
    days = ["2026-11-20T23:59:59.999999Z", TIME, TIME, "2026-11-22T00:00:00.000000Z"]
    with Ledger(tmp_path / "events.db") as ledger:
        [ledger.keep("plant/press-3", {**ENVELOPE, "id": str(k), "seq": k, "time": time}) for k, time in enumerate(days, 1)]
        [ledger.keep("plant/press-3", {**ENVELOPE, "id": str(k), "seq": k, "time": time}) for k, time in enumerate(days, 1)]
        ledger.commit()

    with closing(sqlite3.connect(tmp_path / "events.db")) as reader:
        assert reader.execute(query).fetchall() == [("plant/press-3", "pass", 2)]
        assert "by_time" in str(reader.execute(f"EXPLAIN QUERY PLAN {query}").fetchall())
