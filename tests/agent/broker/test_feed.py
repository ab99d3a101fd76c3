"""What a connection publishes next: live before late, and late no faster than the collector takes it."""

from collections.abc import Iterator
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
