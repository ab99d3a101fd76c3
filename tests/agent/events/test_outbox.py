"""The outbox: numbered without gaps, once per part, through kills and full disks."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from kensa_process import python, running
from waiting import wait_until

from agent.events.memory import Entry
from agent.events.outbox import Outbox, OutboxError
from agent.events.rows import Kind, Row
from agent.sections import Keep, KeepAll

TIME = "2026-11-21T09:30:00.000000Z"

WRITES_UNTIL_KILLED = """
import itertools, sys, threading
from pathlib import Path
from agent.events.rows import Kind, Row
from agent.events.rows import Kind
from agent.events.memory import Entry
from agent.events.outbox import Outbox
outbox = Outbox(Path(sys.argv[1]))
for n in itertools.count():
    stored = threading.Event()
    say = lambda key: (print("durable", key, flush=True), stored.set())
    outbox.put(Entry(f"part {n}", Kind.PASS, "result/pass", "now", b"x" * 100, say))
    stored.wait(10)
"""

FILLS_THE_DISK = """
import logging, resource, sys, threading
from pathlib import Path
from agent.events.rows import Kind, Row
from agent.events.memory import Entry
from agent.events.outbox import Outbox
logging.basicConfig(level=logging.ERROR)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
durable = []
def entry(n):
    return Entry(f"part {n}", Kind.PASS, "result/pass", "now", b"x" * 4000, durable.append)
with Outbox(Path(sys.argv[1])) as outbox:
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    for n in range(200):
        assert outbox.put(entry(n))
    threading.Event().wait(0.6)
    outbox.check()
    on_full_disk = len(durable)
    assert on_full_disk < 200, on_full_disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    for _ in range(500):
        if len(durable) == 200:
            break
        threading.Event().wait(0.02)
    outbox.check()
    print("durable", len(durable), "in order", durable == [f"part {n}" for n in range(200)])
    print("waiting", [row.seq for row in outbox.waiting(0, 1000)] == list(range(1, 201)))
"""


class Durable:
    """Counts what the outbox said is on disk."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def entry(self, n: int, data: bytes = b"{}") -> Entry:
        return Entry(f"part {n}", Kind.PASS, "result/pass", TIME, data, self.keys.append)

    def put(self, outbox: Outbox, numbers: range) -> None:
        """These, and returns when they are on disk."""
        expected = len(self.keys) + len(numbers)
        accepted = [outbox.put(self.entry(n)) for n in numbers]
        assert all(accepted)
        wait_until(lambda: len(self.keys) == expected)


@pytest.fixture
def durable() -> Durable:
    return Durable()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "outbox.db"


@pytest.fixture
def locked(file: Path) -> Iterator[sqlite3.Connection]:
    """An outbox file that another connection holds for writing: commits fail until it lets go."""
    with Outbox(file):
        pass
    with closing(sqlite3.connect(file, timeout=0)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


def sequence(outbox: Outbox) -> list[int]:
    return [row.seq for row in outbox.waiting(0, 10_000)]


def row(outbox: Outbox, seq: int) -> Row:
    """The waiting event with this number."""
    (found,) = outbox.waiting(seq - 1, 1)
    return found


def rows_in(file: Path) -> list[tuple[int, str]]:
    with closing(sqlite3.connect(file)) as db:
        return list(db.execute("SELECT seq, key FROM event ORDER BY seq"))


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


def test_waiting_events_can_be_read_in_pages(file: Path, durable: Durable) -> None:
    with Outbox(file) as outbox:
        durable.put(outbox, range(10))

        pages = [[row.seq for row in outbox.waiting(after, 4)] for after in (0, 4, 8, 10)]

        assert pages == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10], []]


def test_whoever_waits_for_a_commit_is_woken_by_it(file: Path, durable: Durable) -> None:
    with Outbox(file) as outbox:
        seen = outbox.wait_for_commit(-1, timeout_s=0)
        later = threading.Timer(0.05, lambda: outbox.put(durable.entry(1)))
        later.start()

        newest = outbox.wait_for_commit(seen, timeout_s=20)

        later.join()
        assert newest != seen


def test_closing_the_outbox_writes_what_was_handed_over(file: Path, durable: Durable) -> None:
    with Outbox(file) as outbox:
        accepted = [outbox.put(durable.entry(n)) for n in range(300)]

    assert all(accepted)
    assert len(rows_in(file)) == 300


def test_a_process_killed_while_writing_loses_nothing_it_called_durable(file: Path, tmp_path: Path, durable: Durable) -> None:
    with running("-c", WRITES_UNTIL_KILLED, str(file), log_file=tmp_path / "writer.log") as writer:
        wait_until(lambda: writer.text().count("\n") > 30)
        writer.kill()
        claimed = writer.text().count("\n")

    kept = rows_in(file)
    with Outbox(file) as outbox:
        durable.put(outbox, range(100_000, 100_001))
        numbers = sequence(outbox)

    assert len(kept) >= claimed
    assert [key for _, key in kept] == [f"part {n}" for n in range(len(kept))]
    assert numbers == list(range(1, len(kept) + 2))


def test_a_full_disk_keeps_events_in_memory_and_writes_them_when_there_is_room(file: Path) -> None:
    ended = python("-c", FILLS_THE_DISK, str(file))

    assert ended.returncode == 0, ended.stderr
    assert "not written, tried again in 1.0 s" in ended.stderr
    assert ended.stdout.splitlines() == ["durable 200 in order True", "waiting True"]


def test_an_outbox_that_cannot_write_refuses_events_beyond_its_bound_and_waits_for_nobody(
    file: Path, locked: sqlite3.Connection, durable: Durable
) -> None:
    with Outbox(file) as outbox:
        accepted = sum(outbox.put(durable.entry(n)) for n in range(6000))
        locked.rollback()

        wait_until(lambda: len(durable.keys) == accepted)
        outbox.check()

        assert 4096 <= accepted < 6000
        assert sequence(outbox) == list(range(1, accepted + 1))


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\1" * 5000], ids=["text", "damaged"])
def test_a_file_that_is_no_outbox_is_set_aside_and_told_of(file: Path, content: bytes, durable: Durable) -> None:
    file.parent.mkdir()
    file.write_bytes(content)

    with Outbox(file) as outbox:
        durable.put(outbox, range(1))
        told, part = (json.loads(row.data) for row in outbox.waiting(0, 10))

    assert file.with_name("outbox.db.broken-0").read_bytes() == content
    assert (told["alert"], told["reason"], part) == ("events-lost", "corrupt", {})


def test_what_can_be_read_of_a_damaged_file_is_saved_with_its_identity(file: Path, durable: Durable) -> None:
    with Outbox(file) as outbox:
        durable.put(outbox, range(2000))
        lost_stream = outbox.stream
    whole = file.read_bytes()
    record = whole.index(b"part 1200result/pass")  # in the table, not in one of the indexes
    file.write_bytes(whole[: record - 3000] + b"\xff" * 6000 + whole[record + 3000 :])

    with Outbox(file) as outbox:
        wait_until(lambda: any(row.topic == "alert" for row in outbox.waiting(0, 9000)))
        saved = [row.key for row in outbox.waiting(0, 9000) if row.topic != "alert"]
        (told,) = (json.loads(row.data) for row in outbox.waiting(0, 9000) if row.topic == "alert")

    assert {"part 0", "part 1999"} <= set(saved)
    assert "part 1200" not in saved
    assert (told["reason"], told["stream"], told["last"]) == ("corrupt", lost_stream, 2001)
    assert f"{len(saved)} waiting events saved" in told["detail"]


def test_a_file_put_back_from_a_backup_never_gives_a_number_a_second_time(file: Path, durable: Durable) -> None:
    with Outbox(file) as outbox:
        durable.put(outbox, range(3))
    backup = file.read_bytes()
    with Outbox(file) as outbox:
        durable.put(outbox, range(3, 9))
        before = outbox.stream
    file.write_bytes(backup)

    with Outbox(file) as outbox:
        wait_until(lambda: outbox.backlog() == 4)
        (told,) = (json.loads(row.data) for row in outbox.waiting(0, 10) if row.topic == "alert")

        assert outbox.stream != before
        assert (told["reason"], told["stream"]) == ("restored", before)


def test_a_collector_that_has_more_than_was_given_out_shows_a_file_from_a_backup_and_begins_a_new_stream(
    file: Path, durable: Durable
) -> None:
    with Outbox(file) as outbox:
        durable.put(outbox, range(4))
        before = outbox.stream
        [outbox.sent(row) for row in outbox.waiting(0, 2)]
        wait_until(lambda: outbox.backlog() == 2)

        outbox.acknowledged(9)
        outbox.acknowledged(3)  # said of the stream that has just ended
        wait_until(lambda: outbox.stream != before)
        wait_until(lambda: outbox.backlog() == 5)
        outbox.acknowledged(1)
        wait_until(lambda: outbox.backlog() == 4)

        (told,) = (json.loads(row.data) for row in outbox.waiting(0, 10) if row.topic == "alert")
        assert sequence(outbox) == [2, 3, 4, 5]
        assert (told["reason"], told["stream"], told["first"]) == ("restored", before, 5)
    with Outbox(file) as again:
        assert again.stream != before


def test_numbers_that_are_no_longer_here_are_explained_in_a_new_stream(file: Path, durable: Durable) -> None:
    with Outbox(file) as outbox:
        durable.put(outbox, range(9))
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("DELETE FROM event WHERE seq IN (1, 2, 3, 6)")

    with Outbox(file) as outbox:
        outbox.acknowledged(100)
        wait_until(lambda: outbox.backlog() == 5 + 3)
        told = [json.loads(row.data) for row in outbox.waiting(0, 20) if row.topic == "alert"]
        stream = outbox.stream

    ranges = [(one["first"], one["last"], one["count"]) for one in told if one["stream"] == stream]
    assert ranges == [(1, 3, 3), (4, 9, 1)]


def test_a_mark_that_cannot_be_written_stops_nothing(file: Path, durable: Durable) -> None:
    file.with_suffix(".mark").mkdir(parents=True)  # as good as a disk without a free block

    with Outbox(file) as outbox:
        durable.put(outbox, range(3))
        outbox.check()

        assert sequence(outbox) == [1, 2, 3]


def test_a_refused_event_is_told_of_and_not_sent_again_when_a_collector_asks(file: Path, durable: Durable) -> None:
    with Outbox(file) as outbox:
        durable.put(outbox, range(3))

        outbox.refused(row(outbox, 2), "too large")
        wait_until(lambda: sequence(outbox) == [1, 3, 4])

        (told,) = (json.loads(row.data) for row in outbox.waiting(0, 10) if row.topic == "alert")
        assert [row.seq for row in outbox.kept(0, 10, last=3)] == [1, 3]
        assert (told["reason"], told["first"], told["last"], told["count"]) == ("refused", 2, 2, 1)
        assert told["detail"] == "part 1: too large"


def test_a_power_cut_is_told_of_and_a_killed_process_is_not(file: Path, tmp_path: Path) -> None:
    with running("-c", WRITES_UNTIL_KILLED, str(file), log_file=tmp_path / "writer.log") as writer:
        wait_until(lambda: writer.text().count("\n") > 3)
        writer.kill()

    with Outbox(file, machine="") as same_boot:
        alerts = [row for row in same_boot.waiting(0, 10_000) if row.topic == "alert"]
        same_boot._writer.join(timeout=0)
    _leave_open(file)
    with Outbox(file, machine="another boot") as other_boot:
        wait_until(lambda: [row for row in other_boot.waiting(0, 10_000) if row.topic == "alert"])
        (told,) = [json.loads(row.data) for row in other_boot.waiting(0, 10_000) if row.topic == "alert"]

    assert alerts == []
    assert told["reason"] == "power cut"


def _leave_open(file: Path) -> None:
    """As a process leaves it that never came to close it."""
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("UPDATE stream SET is_closed = 0")


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
    assert gone <= {seq for one in told for seq in range(one["first"], one["last"] + 1)}


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
        [outbox.sent(row) for row in outbox.waiting(0, 5)]
        wait_until(lambda: outbox.backlog() == 5)

        outbox.acknowledged(7)
        wait_until(lambda: sequence(outbox) == [8, 9, 10])

        assert [row.seq for row in outbox.kept(1, 10, last=3)] == [2, 3]


def test_events_are_delivered_from_memory_while_the_disk_takes_nothing(
    file: Path, locked: sqlite3.Connection, durable: Durable
) -> None:
    with Outbox(file) as outbox:
        accepted = [outbox.put(durable.entry(n)) for n in range(3)]
        wait_until(lambda: outbox.trouble)
        rows = outbox.in_memory(0, 2)
        outbox.delivered(rows[0])
        trouble = outbox.trouble
        locked.rollback()
        wait_until(lambda: sorted(durable.keys) == ["part 0", "part 2"])

        assert all(accepted)
        assert "locked" in trouble
        assert [row.key for row in rows] == ["part 0", "part 1"]
        assert rows[0].stream != outbox.stream
        assert [row.key for row in outbox.waiting(0, 10)] == ["part 2"]
        assert [row.key for row in outbox.in_memory(0, 10)] == ["part 1"]  # told to somebody, not yet settled


def test_a_folder_in_the_place_of_the_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(OutboxError, match="cannot be opened as an outbox"):
        Outbox(tmp_path)


def test_a_writer_that_died_is_loud_in_check(file: Path, durable: Durable) -> None:
    def breaks(key: str) -> None:
        raise RuntimeError("nobody expected this")

    with Outbox(file) as outbox:
        outbox.put(Entry("part 1", Kind.PASS, "result/pass", TIME, b"{}", breaks))

        wait_until(lambda: not outbox._writer.is_alive())
        with pytest.raises(OutboxError, match="writer stopped"):
            outbox.check()
