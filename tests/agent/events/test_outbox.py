"""The outbox: numbered without gaps, once per part, and kept as long as it was promised."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from kensa_process import python
from small_outbox import TIME, Durable, row, rows_in, sequence
from waiting import wait_until

from agent.events.memory import Entry
from agent.events.outbox import Outbox
from agent.events.rows import Kind
from agent.sections import Keep, KeepAll


def test_events_are_numbered_from_one_in_the_order_they_came(file: Path, durable: Durable) -> None:
    with Outbox(file) as outbox:
        durable.put(outbox, range(50))

        assert sequence(outbox) == list(range(1, 51))
        assert durable.keys == [f"part {n}" for n in range(50)]


def test_an_event_comes_out_as_it_was_put_in(file: Path, durable: Durable) -> None:
    with Outbox(file) as outbox:
        outbox.put(durable.entry(1, data=b'{"detail":"gr\xc3\xb6\xc3\x9fer"}'))
        wait_until(lambda: durable.keys)

        (row,) = outbox.waiting(0, 10)

    assert (row.seq, row.topic, row.time, row.data) == (1, "result/pass", TIME, b'{"detail":"gr\xc3\xb6\xc3\x9fer"}')


def test_the_sequence_and_the_stream_go_on_after_a_restart(file: Path, durable: Durable) -> None:
    with Outbox(file) as first:
        durable.put(first, range(3))

    with Outbox(file) as second:
        durable.put(second, range(3, 5))

        assert sequence(second) == [1, 2, 3, 4, 5]
        assert second.stream == first.stream


def test_two_outboxes_are_two_streams(tmp_path: Path) -> None:
    with Outbox(tmp_path / "a.db") as a, Outbox(tmp_path / "b.db") as b:
        assert a.stream != b.stream


def test_the_same_part_is_kept_once_and_confirmed_every_time(file: Path, durable: Durable) -> None:
    with Outbox(file) as outbox:
        durable.put(outbox, range(2))

        durable.put(outbox, range(1, 3))

        assert sequence(outbox) == [1, 2, 3]
        assert durable.keys == ["part 0", "part 1", "part 1", "part 2"]


def test_a_part_that_was_delivered_long_ago_is_not_kept_again(file: Path, durable: Durable) -> None:
    with Outbox(file) as outbox:
        durable.put(outbox, range(1))
        outbox.delivered(row(outbox, 1))

    with Outbox(file) as again:
        durable.put(again, range(1))

        assert sequence(again) == []


def test_delivered_and_refused_events_wait_no_longer(file: Path, durable: Durable) -> None:
    with Outbox(file) as outbox:
        durable.put(outbox, range(4))

        outbox.delivered(row(outbox, 1))
        outbox.refused(row(outbox, 3), "too large")

        wait_until(lambda: outbox.backlog() == 3)
        assert sequence(outbox) == [2, 4, 5]  # the last one is the alert


BEGINS_ON_A_FULL_DISK = """
import resource, sys, time
from pathlib import Path
from agent.events.memory import Entry
from agent.events.outbox import Outbox
from agent.events.rows import Kind
hard, durable = resource.getrlimit(resource.RLIMIT_FSIZE)[1], []
resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
with Outbox(Path(sys.argv[1])) as outbox:
    outbox.put(Entry("part 1", Kind.PASS, "result/pass", "now", b"{}", durable.append))
    time.sleep(2.5)  # it is tried each second
    assert outbox.trouble
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    until_s = time.monotonic() + 30
    while not durable and time.monotonic() < until_s:
        time.sleep(0.05)
"""


def test_a_station_that_never_had_an_outbox_begins_one_once_the_disk_takes_it(file: Path) -> None:
    began = python("-c", BEGINS_ON_A_FULL_DISK, str(file), timeout_s=60)

    assert began.returncode == 0, began.stderr
    assert [key for _, key in rows_in(file)] == ["part 1"]
    assert list(file.parent.glob("*.broken-*")) == []


def test_waiting_events_can_be_read_in_pages(file: Path, durable: Durable) -> None:
    with Outbox(file) as outbox:
        durable.put(outbox, range(10))

        pages = [[row.seq for row in outbox.waiting(after, 4)] for after in (0, 4, 8, 10)]

        assert pages == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10], []]


def test_a_refused_event_is_told_of_and_not_sent_again_when_a_collector_asks(file: Path, durable: Durable) -> None:
    with Outbox(file) as outbox:
        durable.put(outbox, range(3))

        outbox.refused(row(outbox, 2), "too large")
        wait_until(lambda: sequence(outbox) == [1, 3, 4])

        (told,) = (json.loads(row.data) for row in outbox.waiting(0, 10) if row.topic == "alert")
        assert [row.seq for row in outbox.kept(0, 10, last=3)] == [1, 3]
        assert (told["reason"], told["first"], told["last"], told["count"]) == ("refused", 2, 2, 1)
        assert told["detail"] == "part 1: too large"


def test_passed_parts_that_were_never_delivered_go_first_and_each_is_accounted_for(file: Path) -> None:
    keep = KeepAll(passes=Keep(mb=0.1))
    with Outbox(file, keep) as outbox:
        accepted = [
            outbox.put(Entry(f"part {n}", (Kind.PASS, Kind.REJECT)[n % 2], "result", TIME, b"x" * 500, lambda key: None))
            for n in range(2000)
        ]
        wait_until(lambda: any(row.topic == "alert" for row in outbox.waiting(0, 10_000)))
    with Outbox(file, keep) as outbox:
        rows = outbox.waiting(0, 10_000)

    told = [json.loads(row.data) for row in rows if row.topic == "alert"]
    present = {row.seq for row in rows}
    gone = set(range(1, max(present))) - present
    assert all(accepted)
    assert sum(row.key.startswith("part") and int(row.key[5:]) % 2 == 1 for row in rows) == 1000
    assert {(one["reason"], one["kind"]) for one in told} == {("room", "pass")}
    assert sum(one["count"] for one in told) == len(gone)
    assert gone == {seq for one in told for first, last in one["runs"] for seq in range(first, last + 1)}


def test_delivered_events_go_before_waiting_ones_and_nobody_needs_to_know(file: Path) -> None:
    with Outbox(file, KeepAll(passes=Keep(mb=0.2))) as outbox:
        for_disk = [Entry(f"part {n}", Kind.PASS, "result", TIME, b"x" * 500, lambda key: None) for n in range(150)]
        accepted = [outbox.put(entry) for entry in for_disk]
        wait_until(lambda: outbox.backlog() == 150)
        [outbox.delivered(row) for row in outbox.waiting(0, 100)]
        accepted += [outbox.put(Entry(f"more {n}", Kind.PASS, "result", TIME, b"x" * 500, lambda key: None)) for n in range(120)]
        accepted += [outbox.put(Entry(f"fault {n}", Kind.FAULT, "result", TIME, b"x", lambda key: None)) for n in range(500)]
        wait_until(lambda: outbox.backlog() == 50 + 120 + 500)
        wait_until(lambda: len(rows_in(file)) < 770)

        assert all(accepted)
        assert [row.key for row in outbox.waiting(0, 1)] == ["part 100"]
        assert not [row for row in outbox.waiting(0, 10_000) if row.topic == "alert"]


def test_an_acknowledgement_settles_all_before_it_and_they_are_kept_for_replay(file: Path, durable: Durable) -> None:
    with Outbox(file) as outbox:
        durable.put(outbox, range(10))
        [outbox.sent(row) for row in outbox.waiting(0, 8)]
        wait_until(lambda: outbox.backlog() == 2)

        outbox.acknowledged(7)
        wait_until(lambda: [row.seq for row in outbox.unacknowledged(10)] == [8])

        assert [row.seq for row in outbox.kept(1, 10, last=3)] == [2, 3]


def test_what_was_never_sent_is_not_settled_by_its_number_and_once_sent_at_once(file: Path, durable: Durable) -> None:
    with Outbox(file) as outbox:
        durable.put(outbox, range(10))
        sixth = row(outbox, 6)
        [outbox.sent(one) for one in outbox.waiting(0, 5)]
        wait_until(lambda: outbox.backlog() == 5)

        outbox.acknowledged(7)  # said before the broker's own answer has come, or of somebody else's events
        wait_until(lambda: outbox.unacknowledged(10) == [])
        before = sequence(outbox)
        outbox.sent(sixth)
        wait_until(lambda: outbox.backlog() == 4)

        assert before == [6, 7, 8, 9, 10]
        assert outbox.unacknowledged(10) == []


@pytest.mark.parametrize(
    ("seq", "key", "is_anothers"),
    [(2, "part 1", False), (2, "part 7", True), (4, "part 3", True), (1, "part 7", False)],
    ids=["ours", "of another key", "never given out", "gone from here"],
)
def test_another_ones_event_is_known_by_its_number_and_key(
    file: Path, durable: Durable, seq: int, key: str, is_anothers: bool
) -> None:
    with Outbox(file) as outbox:
        durable.put(outbox, range(3))
        with closing(sqlite3.connect(file)) as db, db:
            db.execute("DELETE FROM event WHERE seq = 1")

        assert outbox.is_anothers(seq, key) == is_anothers


def test_in_a_stream_that_is_anothers_too_nobody_is_told_that_it_has_ended_and_all_that_nobody_has_is_told_again(
    file: Path, durable: Durable
) -> None:
    with Outbox(file) as outbox:
        durable.put(outbox, range(4))
        before = outbox.stream
        [outbox.sent(one) for one in outbox.waiting(0, 3)]
        outbox.acknowledged(1)
        wait_until(lambda: outbox.backlog() == 1 and len(outbox.unacknowledged(10)) == 2)

        [outbox.disown(before, "why") for _ in range(3)]
        wait_until(lambda: outbox.backlog() == 4)
        outbox.disown(before, "said before that")
        outbox.acknowledged(4, before)
        stream, rows = outbox.stream, outbox.waiting(0, 10)

    assert stream != before
    assert {one.stream for one in rows} == {stream}
    assert [one.seq for one in rows] == [2, 3, 4, 5]
    assert [json.loads(one.data)["alert"] for one in rows if one.topic == "alert"] == ["stream-of-another"]
    with Outbox(file) as again:
        assert again.stream == stream


@pytest.mark.parametrize(
    ("column", "damaged", "is_told"),
    [
        ("time", "CAST(x'ad' AS TEXT)", ("result/pass", "\ufffd", b"{}")),
        ("topic", "CAST(x'ad' AS TEXT)", ("result/reject", TIME, b"{}")),
        ("topic", "'result/pa' || char(0) || 's'", ("result/reject", TIME, b"{}")),
        ("data", "5", ("result/pass", TIME, b"5")),
        ("time", "x'00'", ("result/pass", "\0", b"{}")),
    ],
    ids=["a time", "a topic", "a topic that ends a connection", "data of another type", "a time of another type"],
)
def test_s4_one_damaged_letter_keeps_no_other_event_back(
    file: Path, durable: Durable, column: str, damaged: str, is_told: tuple[str, str, bytes]
) -> None:
    with Outbox(file) as outbox:
        durable.put(outbox, range(9))
        with closing(sqlite3.connect(file)) as db, db:
            db.execute(f"UPDATE event SET {column} = {damaged} WHERE seq = 3")

        rows = outbox.waiting(0, 10)

    assert [one.seq for one in rows] == list(range(1, 10))
    assert (rows[2].topic, rows[2].time, rows[2].data) == is_told
