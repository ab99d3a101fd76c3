"""What the page says of events that wait for a broker: calmly, as long as nothing is lost."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from answering_gate import answering
from browser import Browser
from fake_gate import FakeGate
from fake_inspection import health, inspecting
from served import Served, log_in
from waiting import wait_until

from agent.events.rows import Kind, New
from agent.events.store import DELIVERED, SENT, EventStore
from agent.sections import Keep, KeepAll
from agent.web.outbox import Waiting, alerts, waiting_in

pytestmark = pytest.mark.timeout(240)  # processes and a browser are started, on a machine that may be busy

HOUR_S, DAY_S = 3600.0, 86400.0
TIME = "2026-11-22T02:14:00.000000Z"
PLENTY = 1e12


class Ages:
    """The clock of an outbox."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def filled(file: Path, kind: Kind = Kind.PASS, hours: int = 3) -> int:
    """A hundred events an hour since TIME; their bytes."""
    clock = Ages()
    with closing(EventStore(file, KeepAll(), "boot", clock)) as store:
        for hour in range(hours):
            clock.now_s = hour * HOUR_S
            store.insert([New(f"{hour}/{n}", kind, "result/pass", TIME, b"x" * 300) for n in range(100)])
            store.commit()
        clock.now_s = hours * HOUR_S
        store.insert([])
        store.commit()
        return store._used[kind]


def settle(file: Path, first: int, last: int, state: int) -> None:
    with closing(EventStore(file, KeepAll(), "boot")) as store:
        store.mark(first, last, state)
        store.commit()


def test_an_alert_that_was_damaged_on_the_disk_does_not_hide_the_others(tmp_path: Path) -> None:
    rows = [b'{"alert":"drift","detail":"d"}', b'{"alert":"dri\xff', b"[7]", b"\xff"]
    with closing(EventStore(file := tmp_path / "outbox.db", KeepAll(), "boot")) as store:
        store.insert([New(f"a{n}", Kind.ALERT, "alert", TIME, data) for n, data in enumerate(rows)])
        store.commit()
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("UPDATE event SET time = CAST(x'32303236ff' AS TEXT) WHERE seq = 4")

    found = alerts(file)

    assert [(one["alert"], one["time"]) for one in found] == [
        ("damaged", "2026\ufffd"),
        ("damaged", TIME),
        ("damaged", TIME),
        ("drift", TIME),
    ]
    json.dumps(found).encode()


def test_without_an_outbox_nothing_waits(tmp_path: Path) -> None:
    assert waiting_in(tmp_path / "outbox.db", KeepAll(), PLENTY) == Waiting()


@pytest.mark.parametrize("name", ["hall #2", "line 7?mode=rw", "100%41"])
def test_the_outbox_is_found_in_a_folder_of_any_name_and_nothing_is_made_beside_it(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    filled(folder / "outbox.db")

    found = waiting_in(folder / "outbox.db", KeepAll(), PLENTY)

    assert (found.events, [file.name for file in tmp_path.iterdir()]) == (300, [name])


def test_there_is_room_for_as_long_as_the_rate_since_the_first_one_says(tmp_path: Path) -> None:
    used = filled(tmp_path / "outbox.db")
    keep = KeepAll(passes=Keep(mb=10 * used / 1e6))

    found = waiting_in(tmp_path / "outbox.db", keep, PLENTY)

    assert (found.events, found.since) == (300, TIME)
    assert found.for_s == pytest.approx(3 * HOUR_S, abs=60)
    assert found.lasts_s == pytest.approx(9 * 3 * HOUR_S, rel=0.02)  # a tenth is full after three hours


@pytest.mark.parametrize(
    ("keep", "free_share", "lasts_s"),
    [
        (KeepAll(passes=Keep(mb=1e6, waiting_days=2.0)), 1e9, 2 * DAY_S - 3 * HOUR_S),
        (KeepAll(passes=Keep(mb=1e6)), 2.0, 6 * HOUR_S),
        (KeepAll(passes=Keep(mb=0.1), reject=Keep(mb=0.1)), 1e9, 0.0),
    ],
    ids=["age", "disk", "no room"],
)
def test_what_ends_first_is_told(tmp_path: Path, keep: KeepAll, free_share: float, lasts_s: float) -> None:
    """free_share: of the disk, in what the events take already."""
    used = filled(tmp_path / "outbox.db", hours=3)

    found = waiting_in(tmp_path / "outbox.db", keep, free_share * used)

    assert found.lasts_s == pytest.approx(lasts_s, rel=0.02, abs=60)


def test_a_short_time_says_nothing_of_how_long_there_is_room(tmp_path: Path) -> None:
    filled(tmp_path / "outbox.db", hours=0)
    with closing(EventStore(tmp_path / "outbox.db", KeepAll(), "boot")) as store:
        store.insert([New("1", Kind.PASS, "result/pass", TIME, b"{}")])
        store.commit()

    assert waiting_in(tmp_path / "outbox.db", KeepAll(), PLENTY).lasts_s is None


def test_what_the_broker_has_waits_no_more_and_what_a_collector_has_not_acknowledged_does(tmp_path: Path) -> None:
    filled(tmp_path / "outbox.db", hours=2)
    settle(tmp_path / "outbox.db", 1, 120, DELIVERED)
    settle(tmp_path / "outbox.db", 121, 150, SENT)

    found = waiting_in(tmp_path / "outbox.db", KeepAll(), PLENTY)

    assert found.events == 80
    assert found.for_s == pytest.approx(HOUR_S, abs=60)


def test_where_nothing_is_known_of_a_file_the_answer_is_that_nothing_waits(page: Served) -> None:
    (page.state / "outbox.db").write_bytes(b"no database")
    found = page.visitor("viewer").ask("GET", "/api/backlog")
    (page.state / "outbox.db").unlink()

    assert (found.status, found.json["waiting"], found.json["is_news"]) == (200, 0, False)


# ---------------------------------------------------------------- in a browser


@pytest.fixture
def station(fresh: Served) -> Iterator[Served]:
    fresh.make_accounts()
    with answering(fresh.state, FakeGate().obey):
        yield fresh


NOTICE = "document.getElementById('backlog')"
STATE = "document.getElementById('state')"


@pytest.mark.timeout(120)
def test_while_the_broker_is_away_the_line_runs_and_a_word_says_since_when_how_many_and_for_how_long(
    opened: Browser, station: Served
) -> None:
    filled(station.state / "outbox.db")
    with inspecting(station.state) as inspection:
        inspection.health = health(broker="cannot connect: refused", broker_away_s=3 * HOUR_S)
        tab = log_in(opened.tab(), station.port, "viewer", 1280, 800)
        tab.wait(f"!{NOTICE}.hidden")
        told, kind = tab.run(f"{NOTICE}.textContent"), tab.run(f"{NOTICE}.dataset.kind")
        state = tab.wait(f"{STATE}.textContent === 'Running' && {STATE}.dataset.kind")
        height = tab.run("document.documentElement.scrollHeight")
        settle(station.state / "outbox.db", 1, 300, DELIVERED)
        inspection.health = health()

        tab.wait(f"{NOTICE}.hidden", timeout_s=60)

    assert told.startswith("The broker takes no events since 2026-11-22 0")
    assert "300 are kept on this device and sent later. There is room for about 29 days more." in told
    assert (kind, state) == ("calm", "good")
    assert height <= 800  # nothing of the live view goes below the edge of a panel
    assert tab.errors == []


def test_it_is_loud_once_the_oldest_will_be_lost(opened: Browser, station: Served) -> None:
    filled(station.state / "outbox.db")
    line = station.state.parent / "line.yaml"
    line.write_text(f"{line.read_text()}outbox: {{pass: {{mb: 1, waiting_days: 0.2}}}}\n")
    station.kill()
    station.start()
    with inspecting(station.state):
        tab = log_in(opened.tab(), station.port, "viewer")

        told = tab.wait(f"!{NOTICE}.hidden && {NOTICE}.textContent")

    assert told.startswith("Events wait since")  # the broker is there: nobody says why
    assert "There is room for about 108 minutes more, then the oldest are lost." in told
    assert tab.run(f"{NOTICE}.dataset.kind") == "warn"


def test_a_disk_that_takes_no_events_is_the_state_of_the_page(opened: Browser, station: Served) -> None:
    with inspecting(station.state) as inspection:
        inspection.health = health(trouble="outbox.db: database or disk is full")
        tab = log_in(opened.tab(), station.port, "viewer")

        tab.wait(f"{STATE}.textContent === 'outbox.db: database or disk is full' && {STATE}.dataset.kind === 'warn'")


def test_two_hundred_alerts_are_listed_and_newer_ones_come_by_themselves(opened: Browser, station: Served) -> None:
    file = station.state / "outbox.db"

    def alert(numbers: range) -> None:
        data = [json.dumps({"alert": "drift", "detail": f"<b>{n}</b> " + "x" * 200}).encode() for n in numbers]
        with closing(EventStore(file, KeepAll(), "boot")) as store:
            store.insert([New(f"a{n}", Kind.ALERT, "alert", TIME, one) for n, one in zip(numbers, data, strict=True)])
            store.commit()

    alert(range(300))
    with inspecting(station.state):
        tab = log_in(opened.tab(), station.port, "viewer", 390, 844)
        tab.click("#tab-alerts")
        tab.wait("document.querySelectorAll('#alert-rows tr').length === 200")
        too_wide = tab.run("document.documentElement.scrollWidth - innerWidth")

        alert(range(300, 301))
        tab.wait("document.querySelector('#alert-rows td:last-child').textContent.startsWith('<b>300</b>')", timeout_s=40)

    assert too_wide <= 0
    assert tab.errors == []


def test_a_broker_that_is_away_is_news_on_an_empty_belt_too(page: Served) -> None:
    with inspecting(page.state) as inspection:
        inspection.health = health(broker="not authorized", broker_away_s=90.0)
        viewer = page.visitor("viewer")

        wait_until(lambda: viewer.ask("GET", "/api/backlog").json["why"] == "not authorized")

        assert viewer.ask("GET", "/api/backlog").json["is_news"]
