"""What the outbox called durable is on the disk, and a disk that takes nothing stops nobody."""

import itertools
import sqlite3
import threading
from pathlib import Path

import pytest
from kensa_process import python, running
from small_outbox import TIME, WRITES_UNTIL_KILLED, Durable, rows_in, sequence
from waiting import wait_until

from agent.events.memory import Entry
from agent.events.outbox import Outbox, OutboxError
from agent.events.rows import Kind, Row

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


def writers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "outbox"}


def fill(outbox: Outbox, durable: Durable) -> None:
    """Puts events until neither the queue nor the memory, all of which somebody is told of, has room for more."""
    numbers = itertools.count()

    def is_full() -> bool:
        refuses_all = sum(outbox.put(durable.entry(next(numbers))) for _ in range(5000)) == 0
        return refuses_all and len(outbox.in_memory(0, 5000)) >= 4000

    wait_until(is_full)


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


def test_a_mark_that_cannot_be_written_stops_nothing(file: Path, durable: Durable) -> None:
    file.with_suffix(".mark").mkdir(parents=True)  # as good as a disk without a free block

    with Outbox(file) as outbox:
        durable.put(outbox, range(3))
        outbox.check()

        assert sequence(outbox) == [1, 2, 3]


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


def test_an_event_that_is_offered_again_and_again_is_in_memory_once(
    file: Path, locked: sqlite3.Connection, durable: Durable
) -> None:
    """As the gate does with parts that nobody confirms: without disk and broker their copies would fill the memory."""
    with Outbox(file) as outbox:
        [outbox.put(durable.entry(n)) for n in (1, 2, 1, 2, 3, 1)]
        wait_until(lambda: len(outbox.in_memory(0, 10)) == 3)
        rows = outbox.in_memory(0, 10)
        outbox.delivered(rows[0])
        outbox.put(durable.entry(1))
        wait_until(lambda: len(outbox.in_memory(0, 10)) == 3)
        after = outbox.in_memory(0, 10)
        locked.rollback()

    assert [row.key for row in rows] == ["part 1", "part 2", "part 3"]
    assert [row.key for row in after] == ["part 2", "part 3", "part 1"]


def test_a_writer_that_died_is_loud_in_check(file: Path, durable: Durable) -> None:
    def breaks(key: str) -> None:
        raise RuntimeError("nobody expected this")

    with Outbox(file) as outbox:
        outbox.put(Entry("part 1", Kind.PASS, "result/pass", TIME, b"{}", breaks))

        with pytest.raises(OutboxError, match="writer stopped"):
            wait_until(outbox.check)


def test_what_becomes_of_events_is_told_without_waiting_for_a_disk_that_takes_nothing(
    file: Path, locked: sqlite3.Connection, durable: Durable
) -> None:
    before = writers()
    with Outbox(file) as outbox:
        fill(outbox, durable)
        told = threading.Thread(target=outbox.acknowledged, args=(1,), daemon=True)
        told.start()
        told.join(timeout=5)
        waits = told.is_alive()
        locked.rollback()

    assert not waits
    assert writers() == before


def test_a_disk_that_is_back_takes_events_though_the_memory_is_full_of_what_the_broker_was_told(
    file: Path, locked: sqlite3.Connection, durable: Durable
) -> None:
    before = writers()
    with Outbox(file) as outbox:
        fill(outbox, durable)
        locked.rollback()

        wait_until(lambda: len(outbox.waiting(0, 9000)) >= 4096)
        trouble = outbox.trouble

    assert trouble == ""
    assert writers() == before


def test_many_changes_that_no_disk_takes_do_not_keep_a_core_busy(
    file: Path, locked: sqlite3.Connection, durable: Durable
) -> None:
    with Outbox(file) as outbox:
        outbox.put(durable.entry(1))
        wait_until(lambda: outbox.trouble)
        for seq in range(2, 1200, 2):  # with gaps, so that no two are one change
            outbox.delivered(Row(outbox.stream, seq, f"part {seq}", "result/pass", TIME, b"{}"))
            outbox.acknowledged(seq)
        before = outbox.wait_for_commit(-1, timeout_s=0)
        threading.Event().wait(1.0)
        rounds = outbox.wait_for_commit(-1, timeout_s=0) - before
        locked.rollback()

    assert rounds < 100  # one each half second; a loop that does not wait takes thousands
