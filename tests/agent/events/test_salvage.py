"""A file that is broken, put back from a backup or cut off with the power: what can be saved is, and the gap is told of."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from kensa_process import running
from small_outbox import WRITES_UNTIL_KILLED, Durable, row, sequence
from waiting import wait_until

from agent.events import salvage
from agent.events.database import suspect
from agent.events.outbox import Outbox, OutboxError
from agent.sections import KeepAll


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


@pytest.mark.parametrize("broken_row", [b"part 0result/pass", b"part 1200result/pass"], ids=["the first ones", "some"])
def test_what_is_left_after_years_is_saved_without_asking_for_each_number_ever_given_out(
    file: Path, durable: Durable, broken_row: bytes
) -> None:
    with Outbox(file) as outbox:
        durable.put(outbox, range(2000))
    with closing(sqlite3.connect(file)) as db:
        db.execute("UPDATE event SET seq = seq + 1000000000000")  # no machine counts so far in a test
        db.execute("UPDATE sqlite_sequence SET seq = seq + 1000000000000")
        db.commit()
        db.execute("VACUUM")
    whole = file.read_bytes()
    record = whole.index(broken_row)
    file.write_bytes(whole[: record - 3000] + b"\xff" * 6000 + whole[record + 3000 :])

    with Outbox(file) as outbox:
        saved = [row.key for row in outbox.waiting(0, 9000) if row.topic != "alert"]

    assert {"part 600", "part 1999"} <= set(saved)
    assert len(saved) > 1700  # a broken page may be one that leads to others


def test_a_broken_file_is_set_aside_where_none_is_yet(file: Path, durable: Durable) -> None:
    file.parent.mkdir()
    file.write_bytes(b"this is no database" * 100)
    file.with_name("outbox.db.broken-1").write_bytes(b"of last year; somebody has deleted the first")

    with Outbox(file):
        pass
    file.write_bytes(b"nor is this" * 1000)
    with Outbox(file):
        pass

    assert file.with_name("outbox.db.broken-1").read_bytes() == b"of last year; somebody has deleted the first"
    assert file.with_name("outbox.db.broken-2").exists()


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
        outbox.sent(row(outbox, 1))
        outbox.acknowledged(1)
        wait_until(lambda: outbox.backlog() == 4 and outbox.unacknowledged(10) == [])

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


def test_a_power_cut_is_told_of_and_a_killed_process_is_not(file: Path, tmp_path: Path) -> None:
    with running("-c", WRITES_UNTIL_KILLED, str(file), log_file=tmp_path / "writer.log") as writer:
        wait_until(lambda: writer.text().count("\n") > 3)
        writer.kill()

    with Outbox(file, machine="") as same_boot:
        alerts = [row for row in same_boot.waiting(0, 10_000) if row.topic == "alert"]
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


def test_a_folder_in_the_place_of_the_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(OutboxError, match="cannot be opened as an outbox"):
        Outbox(tmp_path)


def test_a_copied_disk_tells_what_waits_as_its_own_in_a_stream_of_its_own(file: Path, durable: Durable) -> None:
    with Outbox(file, told_as="press-3 at plant/press-3") as original:
        durable.put(original, range(5))
        for row in original.waiting(0, 3):
            original.delivered(row)
        wait_until(lambda: original.backlog() == 2)
        stream = original.stream

    for _ in range(2):  # as it is at the second start, too
        with Outbox(file, told_as="press-4 at plant/press-4") as copy:
            wait_until(lambda: copy.backlog() == 3)
            rows = copy.waiting(0, 10)
            assert copy.stream != stream
            assert copy.newest() == 3

    assert [(row.seq, row.key) for row in rows[:2]] == [(1, "part 3"), (2, "part 4")]
    told = json.loads(rows[2].data)
    assert told["alert"] == "outbox-of-another"
    assert "press-3 at plant/press-3, now of press-4 at plant/press-4; 2 waiting events" in told["detail"]


@pytest.mark.parametrize(
    ("before", "after"),
    [("", "press-3"), ("press-3", "press-3"), ("press-3", "")],
    ids=["of an older agent", "the same", "nobody said"],
)
def test_a_station_keeps_its_stream_from_start_to_start(file: Path, durable: Durable, before: str, after: str) -> None:
    with Outbox(file, told_as=before) as outbox:
        durable.put(outbox, range(5))
        stream = outbox.stream

    with Outbox(file, told_as=after) as outbox:
        assert outbox.stream == stream
        assert sequence(outbox) == [1, 2, 3, 4, 5]


PAGE = 1024


@pytest.fixture
def thirty(file: Path, durable: Durable) -> Path:
    """An outbox with thirty events that wait, all of it in its file."""
    with Outbox(file) as outbox:
        [outbox.put(durable.entry(n, data=b"y" * 150)) for n in range(30)]
        wait_until(lambda: len(durable.keys) == 30)
    return file


def root(file: Path, name: str) -> int:
    """Where the first page of a table or an index begins."""
    with closing(sqlite3.connect(file)) as db:
        return (db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0] - 1) * PAGE


def damage(file: Path, at: int, content: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(content)


def saved(outbox: Outbox) -> list[str]:
    return [row.key for row in outbox.waiting(0, 9000) if row.topic != "alert"]


def test_s4_a_tree_out_of_order_keeps_no_start_busy_for_ever(thirty: Path) -> None:
    page, content = root(thirty, "event"), thirty.read_bytes()
    first = page + int.from_bytes(content[page + 12 : page + 14], "big")
    assert content[page] == 5  # it leads to others; its first cell: four bytes of a page's number, then of a row's
    damage(thirty, first + 4, bytes([content[first + 4] | 0x40]))

    with Outbox(thirty) as outbox:
        assert len(saved(outbox)) > 15
        assert outbox.waiting(0, 9000)[-1].topic == "alert"


@pytest.mark.parametrize(
    ("name", "damaged"), [(b"event", None), (b"data BLOB", b"da4a BLOB"), (b"TABLE stream (id", b"TABLE stream (ie")]
)
def test_s4_a_file_that_cannot_be_used_is_set_aside_at_the_first_start_and_the_next_one_is_whole(
    thirty: Path, name: bytes, damaged: bytes | None
) -> None:
    page, content = root(thirty, "of_kind"), thirty.read_bytes()
    cell = page + int.from_bytes(content[page + 8 : page + 10], "big")
    kind = cell + 1 + content[cell + 1]  # of an event, in the index that counts them
    damage(thirty, *((content.index(name), damaged) if damaged else (kind, b"\x12")))

    for _ in range(2):
        with Outbox(thirty) as outbox:
            assert len(saved(outbox)) == 30

    assert [other.name for other in thirty.parent.glob("*.broken-*") if not other.name.endswith(("-wal", "-shm"))] == [
        "outbox.db.broken-0"
    ]


@pytest.mark.parametrize("step", ["suspect", "_save", "is_saved"], ids=["before the new file", "before it is saved", "after"])
def test_s4_what_a_kill_kept_from_being_saved_is_saved_at_the_next_start_once(
    thirty: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    damage(thirty, root(thirty, "of_kind"), b"\xff" * PAGE)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as cut:
        cut.setattr(salvage, step, killed)
        with pytest.raises(KeyboardInterrupt):
            salvage.open_or_replace(thirty, KeepAll(), "machine")

    with Outbox(thirty) as outbox:
        keys = saved(outbox)
        (told,) = (json.loads(row.data) for row in outbox.waiting(0, 9000) if row.topic == "alert")

    assert keys == [f"part {n}" for n in range(30)]
    assert (told["reason"], told["detail"]) == ("corrupt", "30 waiting events saved from outbox.db.broken-0")
    assert not list(thirty.parent.glob("*.unsaved*"))


def test_s4_a_file_in_which_an_error_was_met_and_that_is_whole_is_under_suspicion_no_more(thirty: Path) -> None:
    suspect(thirty).touch()

    with Outbox(thirty) as outbox:
        assert len(saved(outbox)) == 30

    assert not suspect(thirty).exists()
