"""Fault N1: the whole line, its two real processes, from a boot without a broker."""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from broker import mosquitto
from running_line import RunningLine, Subscriber, write_line
from small_bundle import write_bundle, write_photographs
from waiting import wait_until

PARTS = 40


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for a Unix socket in it."""
    path = Path(tempfile.mkdtemp(prefix="k"))
    write_bundle(path / "bundle")
    write_photographs(path / "parts", PARTS, frozenset({10, 20, 30}))
    (path / "broker").mkdir()
    yield path
    shutil.rmtree(path)


def waiting_in(file: Path) -> int:
    """Events on the disk that nobody has taken."""
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        return int(db.execute("SELECT count(*) FROM event WHERE state = 0").fetchone()[0])
    return 0


def test_n1_a_line_that_boots_without_a_broker_inspects_all_parts_and_tells_them_later(folder: Path) -> None:
    with mosquitto(folder / "broker", persistence=True) as broker:
        file = write_line(folder, broker, folder / "bundle", folder / "parts", count=PARTS, period_ms=40)
        subscriber = Subscriber(broker)
        wait_until(lambda: (folder / "broker" / "mosquitto.db").exists())  # its session outlives the broker
        broker.stop()
        line = RunningLine(file, folder / "line.log")
        try:
            wait_until(lambda: waiting_in(folder / "state" / "outbox.db") == PARTS, timeout_s=40)
            broker.start()
            subscriber.wait_for(PARTS, timeout_s=40)
        finally:
            line.stop()
            subscriber.close()

    outcomes = [event["data"]["outcome"] for event in sorted(subscriber.by_id.values(), key=lambda event: event["seq"])]
    assert [n for n, outcome in enumerate(outcomes) if outcome == "reject"] == [10, 20, 30]
    assert sorted(event["seq"] for event in subscriber.by_id.values()) == list(range(1, PARTS + 1))
    assert {event.get("historical") for event in subscriber.by_id.values()} == {True}
    assert line.accounts[0]["triggers"] == PARTS
