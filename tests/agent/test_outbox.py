"""The outbox: numbered without gaps, once per part, through kills and full disks."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from kensa_process import python, running
from waiting import wait_until

from agent.outbox import Entry, Outbox, OutboxError

TIME = "2026-11-21T09:30:00.000000Z"

WRITES_UNTIL_KILLED = """
import itertools, sys, threading
from pathlib import Path
from agent.outbox import Entry, Outbox
outbox = Outbox(Path(sys.argv[1]))
for n in itertools.count():
    stored = threading.Event()
    say = lambda key: (print("durable", key, flush=True), stored.set())
    outbox.put(Entry(f"part {n}", "result/pass", "now", b"x" * 100, say))
    stored.wait(10)
"""

FILLS_THE_DISK = """
import logging, resource, sys, threading
from pathlib import Path
from agent.outbox import Entry, Outbox
logging.basicConfig(level=logging.ERROR)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
durable = []
def entry(n):
    return Entry(f"part {n}", "result/pass", "now", b"x" * 4000, durable.append)
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

FILLS_THE_DISK_BEFORE_PRUNING = """
import resource, sys, threading
from pathlib import Path
from agent.outbox import Entry, Outbox
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
everything, one_more = threading.Event(), threading.Event()
def last_is_durable(key):
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    everything.set()
def entry(n, on_durable=lambda key: None):
    return Entry(f"part {n}", "result/pass", "now", b"x", on_durable)
with Outbox(Path(sys.argv[1]), keep_delivered=0) as outbox:
    for n in range(10):
        outbox.put(entry(n))
    for n in range(10):
        outbox.delivered(n + 1)
    for n in range(10, 989):
        outbox.put(entry(n))
    outbox.put(entry(989, last_is_durable))  # request number 1000: the old ones are deleted after it
    everything.wait(10)
    threading.Event().wait(0.5)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    outbox.put(entry(990, lambda key: one_more.set()))
    one_more.wait(5)
    outbox.check()
    print("goes on", one_more.is_set())
"""


class Durable:
    """Counts what the outbox said is on disk."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def entry(self, n: int, data: bytes = b"{}") -> Entry:
        return Entry(f"part {n}", "result/pass", TIME, data, self.keys.append)

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
        outbox.delivered(1)

    with Outbox(file) as again:
        durable.put(again, range(1))

        assert sequence(again) == []


def test_delivered_and_refused_events_wait_no_longer(file: Path, durable: Durable) -> None:
    with Outbox(file) as outbox:
        durable.put(outbox, range(4))

        outbox.delivered(1)
        outbox.refused(3)

        wait_until(lambda: outbox.backlog() == 2)
        assert sequence(outbox) == [2, 4]


def test_waiting_events_can_be_read_in_pages(file: Path, durable: Durable) -> None:
    with Outbox(file) as outbox:
        durable.put(outbox, range(10))

        pages = [[row.seq for row in outbox.waiting(after, 4)] for after in (0, 4, 8, 10)]

        assert pages == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10], []]


def test_old_delivered_events_are_pruned_and_waiting_ones_never(file: Path, durable: Durable) -> None:
    with Outbox(file, keep_delivered=100) as outbox:
        durable.put(outbox, range(2))
        outbox.delivered(2)

        durable.put(outbox, range(2, 2500))

        wait_until(lambda: 2 not in dict(rows_in(file)))
        assert sequence(outbox)[:2] == [1, 3]


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
    assert "not written, tried again" in ended.stderr
    assert ended.stdout.splitlines() == ["durable 200 in order True", "waiting True"]


def test_a_disk_that_is_full_when_old_events_are_deleted_does_not_end_the_writer(file: Path) -> None:
    ended = python("-c", FILLS_THE_DISK_BEFORE_PRUNING, str(file))

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["goes on True"]


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
def test_a_file_that_is_no_outbox_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "outbox.db"
    file.write_bytes(content)

    with pytest.raises(OutboxError, match=r"outbox\.db: cannot be opened as an outbox"):
        Outbox(file)


def test_a_folder_in_the_place_of_the_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(OutboxError, match="cannot be opened as an outbox"):
        Outbox(tmp_path)


def test_a_writer_that_died_is_loud_in_check(file: Path, durable: Durable) -> None:
    def breaks(key: str) -> None:
        raise RuntimeError("nobody expected this")

    with Outbox(file) as outbox:
        outbox.put(Entry("part 1", "result/pass", TIME, b"{}", breaks))

        wait_until(lambda: not outbox._writer.is_alive())
        with pytest.raises(OutboxError, match="writer stopped"):
            outbox.check()
