"""What a connection publishes next: live before late, and late no faster than the collector takes it."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from waiting import wait_until

from agent.broker.feed import Feed, Pace
from agent.events.memory import Entry
from agent.events.outbox import Outbox
from agent.events.rows import Kind


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.db") as opened:
        yield opened


def put(outbox: Outbox, numbers: range) -> None:
    accepted = [outbox.put(Entry(f"part {n}", Kind.PASS, "result/pass", "now", b"{}", lambda key: None)) for n in numbers]
    assert all(accepted)
    wait_until(lambda: outbox.newest() == numbers[-1])


def told(feed: Feed, times: int, room: int = 20) -> list[int]:
    return [one.row.seq for _ in range(times) for one in feed.next(room, room)]


def test_what_waited_is_held_back_until_the_collector_takes_it(outbox: Outbox) -> None:
    put(outbox, range(1, 1001))
    feed = Feed(outbox, has_collector=True)

    first, is_held_back = told(feed, times=50), feed.is_held_back
    feed.taken(300)
    second = told(feed, times=50)

    assert (first, is_held_back) == (list(range(1, 501)), True)
    assert second == list(range(501, 801))


def test_live_events_are_not_held_back(outbox: Outbox) -> None:
    put(outbox, range(1, 1001))
    feed = Feed(outbox, has_collector=True)
    told(feed, times=50)
    put(outbox, range(1001, 1011))

    assert told(feed, times=2) == list(range(1001, 1011))


def test_where_nobody_acknowledges_nothing_is_held_back(outbox: Outbox) -> None:
    put(outbox, range(1, 1001))

    assert told(Feed(outbox), times=50) == list(range(1, 1001))


def test_what_a_collector_asks_for_comes_before_the_rest_of_the_backlog(outbox: Outbox) -> None:
    put(outbox, range(1, 101))
    feed = Feed(outbox)
    told(feed, times=2)

    feed.replay(5, 14)

    assert told(feed, times=1) == [*range(5, 15), *range(41, 51)]


def test_numbers_asked_for_that_are_gone_are_explained_once_in_an_alert_and_in_the_same_one_again(
    outbox: Outbox, tmp_path: Path
) -> None:
    put(outbox, range(1, 41))
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as db, db:
        db.execute("DELETE FROM event WHERE seq <= 30 AND seq NOT IN (10, 20)")
    feed = Feed(outbox)

    feed.wanted(outbox.stream, 1, 30)
    wait_until(lambda: outbox.newest() == 41)
    feed.wanted(outbox.stream, 1, 30)
    (explained,) = [json.loads(one.row.data) for one in feed.next(20, 20) if one.row.seq == 41 and one.historical]

    assert explained["runs"] == [[1, 9], [11, 19], [21, 30]]
    assert (explained["reason"], explained["first"], explained["last"], explained["count"]) == ("not kept", 1, 30, 28)
    assert explained["severity"] == "warning"
    assert outbox.newest() == 41


def test_what_a_collector_misses_of_the_events_in_memory_is_told_again(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.db"):
        pass
    with closing(sqlite3.connect(tmp_path / "outbox.db", timeout=0)) as other, Outbox(tmp_path / "outbox.db") as outbox:
        other.execute("BEGIN IMMEDIATE")  # no commit succeeds
        accepted = [outbox.put(Entry(f"part {n}", Kind.PASS, "result/pass", "now", b"{}", lambda key: None)) for n in range(5)]
        wait_until(lambda: outbox.backlog() == 5)
        feed = Feed(outbox, has_collector=True)
        first = told(feed, times=2)

        feed.wanted(outbox.memory_stream, 3, 4)
        feed.wanted("of another process", 1, 5)
        outbox.acknowledged_in_memory(2)

        assert all(accepted)
        assert (first, told(feed, times=2)) == ([1, 2, 3, 4, 5], [3, 4, 5])
        assert outbox.backlog() == 3


@pytest.mark.parametrize("first", [1, 5, 6, 1000], ids=["all kept", "the last", "not given out yet", "far ahead"])
def test_what_is_kept_or_was_never_given_out_needs_no_explanation(outbox: Outbox, first: int) -> None:
    put(outbox, range(1, 6))

    assert outbox.not_kept(first) is None


def test_a_disk_that_cannot_be_read_now_does_not_make_what_is_kept_look_gone(outbox: Outbox) -> None:
    put(outbox, range(1, 251))
    assert outbox.newest() == 250
    assert outbox._reader is not None
    outbox._reader.set_progress_handler(lambda: 1, 200)  # ends a statement that takes more steps: a long one

    found = outbox.not_kept(1)

    assert outbox.newest() == 250
    assert found is None


def test_an_event_taken_accounts_for_all_that_were_sent_before_it() -> None:
    pace = Pace(now_s=0.0)
    pace.sent([7, 900, 8, 9])  # 900 is a later one, sent in between

    pace.taken(8, now_s=1.0)

    assert pace.room(now_s=1.0) == 499


def test_an_event_that_was_not_sent_here_accounts_for_none() -> None:
    pace = Pace(now_s=0.0)
    pace.sent([7, 8])

    pace.taken(3, now_s=1.0)

    assert pace.room(now_s=1.0) == 498


@pytest.mark.parametrize(("asked_s", "room"), [(1.0, 0), (2.0, 500)], ids=["it may still come", "nothing comes any more"])
def test_when_the_collector_misses_events_what_was_on_its_way_counts_no_longer(asked_s: float, room: int) -> None:
    pace = Pace(now_s=0.0)
    pace.sent(range(500))

    pace.asked(asked_s)

    assert pace.room(asked_s) == room


def test_a_collector_that_is_away_keeps_the_backlog_from_nobody() -> None:
    pace = Pace(now_s=0.0)
    pace.sent(range(500))

    assert [pace.room(now_s) for now_s in (14.0, 16.0)] == [0, 500]


def test_a_backlog_that_could_not_be_read_for_a_moment_is_told_afterwards_and_the_trouble_is_shown(outbox: Outbox) -> None:
    put(outbox, range(1, 31))
    feed = Feed(outbox)
    before = told(feed, times=1)
    assert outbox._reader is not None
    outbox._reader.set_progress_handler(lambda: 1, 1)  # ends each statement

    meanwhile, trouble = told(feed, times=3), outbox.trouble
    outbox._reader.set_progress_handler(None, 0)

    assert (before, meanwhile) == (list(range(1, 21)), [])
    assert "not read: interrupted" in trouble
    assert told(feed, times=2) == list(range(21, 31))
    assert outbox.trouble == ""
