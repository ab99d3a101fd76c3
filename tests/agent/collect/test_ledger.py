"""The ledger: each event once, gaps by their numbers, and what a station has lost explained."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from collected import events_in
from hypothesis import given
from hypothesis import strategies as st

from agent.collect.ledger import Gap, Ledger
from agent.drivers import ConfigError

TOPIC = "plant/press-3"


def event(seq: int, stream: str = "s", key: str | None = None, **data: object) -> dict[str, Any]:
    return {
        "source": "urn:kensa:press-3",
        "id": key or f"part {seq}",
        "stream": stream,
        "seq": seq,
        "type": "kensa.part/v1",
        "time": "2026-11-21T09:30:00.000000Z",
        "data": {"outcome": "pass", "cause": "score", **data},
    }


def lost(seq: int, first: int, last: int, count: int | None, of: str = "s") -> dict[str, Any]:
    told = {"alert": "events-lost", "reason": "room", "stream": of, "first": first, "last": last, "count": count}
    return {**event(seq, key=f"lost {first}"), "data": told}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "events.db") as opened:
        yield opened


def test_a_copy_is_counted_and_not_kept(ledger: Ledger) -> None:
    answers = [ledger.keep(TOPIC, event(seq)) for seq in (1, 2, 2, 1, 3)]

    assert answers == [True, True, False, False, True]
    assert (ledger.counts.kept, ledger.counts.copies) == (3, 2)


def test_the_same_part_under_another_number_is_a_copy_too(ledger: Ledger) -> None:
    ledger.keep(TOPIC, event(1, stream="memory", key="part 7"))

    assert not ledger.keep(TOPIC, event(9, stream="s", key="part 7"))


def test_an_event_from_before_the_clock_was_set_is_kept_with_its_corrected_time(ledger: Ledger, tmp_path: Path) -> None:
    told = {**event(1), "time": "1970-01-01T00:01:00.000000Z", "correctedtime": "2026-11-21T09:30:00.000000Z"}

    ledger.keep(TOPIC, told)
    ledger.commit()

    with closing(sqlite3.connect(tmp_path / "events.db")) as reader:
        assert reader.execute("SELECT time FROM event").fetchall() == [("2026-11-21T09:30:00.000000Z",)]


def test_a_file_that_is_no_ledger_is_named_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a list of what to buy, longer than the head of a database would be" * 10)

    with pytest.raises(ConfigError, match=r"notes.txt: expected a collector's SQLite file"):
        Ledger(tmp_path / "notes.txt")

    assert "what to buy" in (tmp_path / "notes.txt").read_text()


def test_what_is_missing_is_named_and_the_watermark_stands_before_it(ledger: Ledger) -> None:
    [ledger.keep(TOPIC, event(seq)) for seq in (1, 2, 3, 6, 7, 10)]

    assert ledger.gaps() == [Gap("s", TOPIC, 4, 5), Gap("s", TOPIC, 8, 9)]
    assert ledger.watermarks() == {(TOPIC, "s"): 3}


def test_a_birth_tells_of_events_that_never_came(ledger: Ledger) -> None:
    ledger.keep(TOPIC, event(1))
    ledger.newest(TOPIC, "s", 4)

    assert ledger.gaps() == [Gap("s", TOPIC, 2, 4)]


def test_what_a_station_has_lost_is_explained_once_all_that_is_left_has_come(ledger: Ledger) -> None:
    [ledger.keep(TOPIC, event(seq)) for seq in (1, 5)]
    ledger.keep(TOPIC, lost(6, first=2, last=4, count=2))  # one of the three is still on its way

    before = ledger.gaps()
    ledger.keep(TOPIC, event(3))

    assert before == [Gap("s", TOPIC, 2, 4)]
    assert ledger.gaps() == []
    assert ledger.watermarks() == {(TOPIC, "s"): 6}
    assert ledger.counts.lost == 2


def test_a_stream_that_the_station_can_no_longer_read_is_not_asked_for(ledger: Ledger) -> None:
    [ledger.keep(TOPIC, event(seq, stream="old")) for seq in (1, 4)]

    ledger.keep(TOPIC, lost(1, first=5, last=5, count=None, of="old"))

    assert ledger.gaps() == []
    assert ledger.counts.lost == 2


def test_a_ledger_goes_on_where_it_was(tmp_path: Path) -> None:
    with Ledger(tmp_path / "events.db") as first:
        [first.keep(TOPIC, event(seq)) for seq in (1, 2, 4)]
        first.commit()

    with Ledger(tmp_path / "events.db") as second:
        assert not second.keep(TOPIC, event(4))
        assert second.gaps() == [Gap("s", TOPIC, 3, 3)]
    assert events_in(tmp_path / "events.db") == 3


def test_rows_are_counted_on_whatever_is_taken_away_and_numbers_stay_settled(ledger: Ledger) -> None:
    [ledger.keep(TOPIC, event(seq)) for seq in (1, 1, 2, 3)]

    ledger.forget("2026-11-22", last_row=2)
    ledger.forget("2026-11-20", last_row=9)
    ledger.keep(TOPIC, event(4))

    assert ledger._db.execute("SELECT row, seq FROM event").fetchall() == [(3, 3), (4, 4)]
    assert ledger.watermarks() == {(TOPIC, "s"): 4}


def test_of_two_events_under_one_number_the_first_is_known_by_its_id(ledger: Ledger) -> None:
    [ledger.keep(TOPIC, event(1, key=key)) for key in ("ours", "its twin's")]

    assert (ledger.id_of("s", 1), ledger.id_of("s", 2)) == ("ours", "")
    assert (ledger.highest("s"), ledger.highest("other")) == ((1, "ours"), (0, ""))


def test_a_ledger_of_an_earlier_checkout_is_written_anew_with_its_rows(tmp_path: Path) -> None:
    file = tmp_path / "events.db"
    columns = "source TEXT, id TEXT, stream TEXT, seq INTEGER, type TEXT, time TEXT, outcome TEXT, cause TEXT, data TEXT"
    with closing(sqlite3.connect(file)) as db, db:
        db.execute(f"CREATE TABLE event ({columns}, PRIMARY KEY (source, id))")
        rows = [("urn:kensa:press-3", f"part {n}", "s", n, "kensa.part/v1", "now", "pass", "score", "{}") for n in (1, 2, 3)]
        db.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        db.execute("DELETE FROM event WHERE seq = 2")

    with Ledger(file) as ledger:
        is_new = [ledger.keep(TOPIC, event(seq)) for seq in (3, 4)]
        found = ledger._db.execute("SELECT row, seq FROM event ORDER BY row").fetchall()

    assert (is_new, found) == ([False, True], [(1, 1), (3, 3), (4, 4)])


def test_a_ledger_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "events.db")) as db:
        db.execute("PRAGMA user_version = 2")

    with pytest.raises(ConfigError, match="it has version 2, this collector writes version 1"):
        Ledger(tmp_path / "events.db")


@given(arrivals=st.lists(st.integers(1, 30), min_size=1, max_size=60))
def test_in_whatever_order_events_come_gaps_are_the_numbers_that_did_not(tmp_path_factory, arrivals: list[int]) -> None:
    file = tmp_path_factory.mktemp("ledger") / "events.db"

    with Ledger(file) as ledger:
        [ledger.keep(TOPIC, event(seq)) for seq in arrivals]
        gaps = ledger.gaps()
        ledger.commit()

    missing = [seq for gap in gaps for seq in range(gap.first, gap.last + 1)]
    assert missing == sorted(set(range(1, max(arrivals) + 1)) - set(arrivals))
    assert events_in(file) == len(set(arrivals))


def test_the_data_of_an_event_are_kept_as_they_came(ledger: Ledger, tmp_path: Path) -> None:
    ledger.keep(TOPIC, event(1, detail="größer"))
    ledger.commit()

    (kept,) = ledger._db.execute("SELECT data FROM event").fetchone()
    assert json.loads(kept)["detail"] == "größer"


def test_a_power_cut_explains_no_number_what_waited_at_the_station_is_still_to_come(ledger: Ledger) -> None:
    [ledger.keep(TOPIC, event(seq)) for seq in (1, 2)]
    cut = {**lost(9, first=9, last=9, count=None)["data"], "reason": "power cut"}

    ledger.keep(TOPIC, {**event(9, key="lost/power cut"), "data": cut})

    assert ledger.gaps() == [Gap("s", TOPIC, 3, 8)]
    assert ledger.watermarks() == {(TOPIC, "s"): 2}


def test_what_a_station_has_given_up_settles_exactly_that_also_where_some_of_it_had_come(ledger: Ledger) -> None:
    [ledger.keep(TOPIC, event(seq)) for seq in (1, 2, 3)]
    told = lost(11, first=2, last=9, count=6)
    told["data"]["runs"] = [[2, 5], [8, 9]]  # 2 and 3 had come before they were given up

    ledger.keep(TOPIC, told)

    assert ledger.gaps() == [Gap("s", TOPIC, 6, 7), Gap("s", TOPIC, 10, 10)]
    assert ledger.counts.lost == 4


@given(first=st.integers(1, 30), length=st.integers(0, 30), arrivals=st.sets(st.integers(1, 60)))
def test_what_is_settled_at_once_joins_what_lies_within_and_beside_it(
    tmp_path_factory, first: int, length: int, arrivals: set[int]
) -> None:
    with Ledger(tmp_path_factory.mktemp("ledger") / "events.db") as ledger:
        [ledger.keep(TOPIC, event(seq)) for seq in arrivals]
        ledger.keep(TOPIC, lost(61, first=first, last=first + length, count=length + 1))
        rows = ledger._db.execute("SELECT first, last FROM settled ORDER BY first").fetchall()

    settled = {number for a, b in rows for number in range(a, b + 1)}
    assert settled == arrivals | {61} | set(range(first, first + length + 1))
    assert all(b + 1 < c for (_, b), (c, _) in pairwise(rows))


def test_a_ledger_with_very_many_gaps_reads_few_of_them_for_each_event(ledger: Ledger) -> None:
    ledger.keep(TOPIC, event(1))
    ledger._db.executemany("INSERT INTO settled VALUES ('s', ?, ?)", [(n, n) for n in range(3, 200_000, 2)])
    ledger._db.set_progress_handler(lambda: 1, 20_000)  # ends a statement that takes more steps than so many

    ledger.keep(TOPIC, event(150_000))
    gaps = ledger.gaps()

    assert len(gaps) == 100
    assert gaps[0] == Gap("s", TOPIC, 2, 2)
