"""Faults N4 and S3: a collector that was away for long, came late or has lost its file, and what a station must not forget."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from broker import Broker
from collected import events_in, ids_in
from small_station import TIME, collector, complete, publisher_to, put
from waiting import wait_until

from agent.collect.ledger import Ledger
from agent.events.memory import Entry
from agent.events.outbox import Outbox
from agent.events.rows import Kind
from agent.sections import Keep, KeepAll


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


def after_power_cut(file: Path) -> Outbox:
    """As the next boot finds what a process never came to close."""
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("UPDATE stream SET is_closed = 0")
    return Outbox(file, machine="another boot")


def lost_in(file: Path) -> int:
    """How many alerts a ledger has of events that will not come."""
    with closing(sqlite3.connect(file)) as db:
        return int(db.execute("SELECT count(*) FROM event WHERE data LIKE '%events-lost%'").fetchone()[0])


def is_settled(file: Path) -> bool:
    """Whether a collector misses nothing of what it knows of."""
    if not events_in(file):
        return False
    with Ledger(file) as ledger:
        return ledger.gaps() == []


def test_n3_s3_what_a_broker_lost_in_the_power_cut_that_the_station_tells_of_is_asked_for(
    tmp_path: Path, broker: Broker, file: Path
) -> None:
    with Outbox(file) as outbox, publisher_to(broker.port, outbox, collector="archive"):
        put(outbox, range(100))
        wait_until(lambda: len(outbox.unacknowledged(1000)) == 100, timeout_s=60)  # the broker has them, and nobody else
    broker.kill()
    broker.start()
    collected = tmp_path / "events.db"

    with (
        collector(broker.port, collected, tmp_path / "collect.log"),
        Outbox(tmp_path / "other.db") as other,
        publisher_to(broker.port, other, topic="plant/press-4", collector="archive"),
    ):
        put(other, range(1000, 1001))
        wait_until(lambda: events_in(collected) == 1, timeout_s=60)  # it listens
        with after_power_cut(file) as outbox, publisher_to(broker.port, outbox, collector="archive"):
            wait_until(lambda: complete(collected, 1 + 100 + 1), timeout_s=60)

    assert lost_in(collected) == 1


def test_n4_a_collector_that_comes_when_much_is_gone_is_told_so_and_what_is_kept_comes(
    tmp_path: Path, broker: Broker, file: Path
) -> None:
    with Outbox(file) as outbox, publisher_to(broker.port, outbox):
        put(outbox, range(300))
        wait_until(lambda: outbox.newest() == 300 and outbox.backlog() == 0, timeout_s=60)
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("DELETE FROM event WHERE seq <= 200 AND seq NOT IN (50, 120)")  # as months of operation do
    collected = tmp_path / "events.db"

    with (
        Outbox(file) as outbox,
        publisher_to(broker.port, outbox, collector="archive"),
        collector(broker.port, collected, tmp_path / "collect.log"),
    ):
        put(outbox, range(300, 310))
        wait_until(lambda: is_settled(collected), timeout_s=90)
        wait_until(lambda: outbox.unacknowledged(10) == [], timeout_s=60)

    kept = {f"part {n}" for n in (49, 119, *range(200, 310))}
    assert {key for key in ids_in(collected) if key.startswith("part")} == kept
    assert lost_in(collected) == 1


def test_n4_after_a_weekend_of_which_passes_and_rejects_had_to_go_all_is_accounted_for_and_acknowledged(
    tmp_path: Path, broker: Broker, file: Path
) -> None:
    collected, keep = tmp_path / "events.db", KeepAll(passes=Keep(mb=0.1), reject=Keep(mb=0.1))
    with Outbox(file, keep) as outbox, publisher_to(broker.port, outbox, collector="archive"):
        for n in range(2000):
            kind = Kind.PASS if n % 4 else Kind.REJECT
            entry = Entry(f"part {n}", kind, "result/reject", TIME, b'{"padding": "' + b"x" * 500 + b'"}', lambda key: None)
            wait_until(lambda entry=entry: outbox.put(entry))
        wait_until(lambda: outbox.newest() > 2000 and outbox.backlog() == 0, timeout_s=90)

        with collector(broker.port, collected, tmp_path / "monday.log"):
            wait_until(lambda: is_settled(collected), timeout_s=120)
            wait_until(lambda: outbox.unacknowledged(10) == [], timeout_s=60)
        kept = {row.key for row in outbox.kept(0, 10_000, 10_000)}

    assert kept == set(ids_in(collected))
    assert lost_in(collected) >= 2


def test_s1_a_collector_has_all_events_of_a_station_whose_disk_takes_nothing_for_long(
    tmp_path: Path, broker: Broker, file: Path
) -> None:
    with Outbox(file):
        pass
    collected, durable = tmp_path / "events.db", list[str]()
    with (
        closing(sqlite3.connect(file, timeout=0)) as other,
        Outbox(file) as outbox,
        publisher_to(broker.port, outbox, collector="archive"),
        collector(broker.port, collected, tmp_path / "collect.log"),
    ):
        other.execute("BEGIN IMMEDIATE")  # from now on no commit succeeds
        for n in range(9000):  # twice what the memory holds
            entry = Entry(f"part {n}", Kind.PASS, "result/pass", TIME, b"{}", durable.append)
            wait_until(lambda entry=entry: outbox.put(entry), timeout_s=60)
        wait_until(lambda: len(durable) == 9000, timeout_s=120)
        wait_until(lambda: events_in(collected) == 9000, timeout_s=60)

        assert outbox.trouble != ""
