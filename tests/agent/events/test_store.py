"""The outbox's file: what it takes of the disk, and how it notes that very many events were acknowledged."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.events.database import _TABLES
from agent.events.label import Label, read_label, write_label
from agent.events.rows import Kind, New, on_disk
from agent.events.store import SENT, EventStore
from agent.sections import Keep, KeepAll


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def store(file: Path) -> Iterator[EventStore]:
    opened = EventStore(file, KeepAll(), "machine")
    yield opened
    opened.close()


def events(count: int, size: int) -> list[New]:
    return [New(f"0b8c2f8e-aaaa/{n}", Kind.PASS, "result/pass", "2026-11-21T09:30:00.000000Z", b"x" * size) for n in range(count)]


@pytest.mark.parametrize("size", [20, 200, 480, 600, 950, 1500, 3000, 20_000])
def test_what_an_event_is_said_to_take_is_what_the_file_grows_by_or_a_little_more(
    file: Path, store: EventStore, size: int
) -> None:
    told = events(2000, size)

    store.insert(told)
    store.mark(1, 2000, SENT)
    store.commit()
    store.acknowledge(store.stream, 2000)
    store.commit()
    store.close()

    said = sum(map(on_disk, told))
    assert file.stat().st_size < 1.1 * said  # indexes are filled to some nine tenths
    assert file.stat().st_size > 0.5 * said  # one just too large for a page may share its second one


def test_very_many_acknowledged_events_are_noted_in_several_commits_oldest_first(store: EventStore) -> None:
    store.insert(events(5000, 10))
    store.mark(1, 5000, SENT)
    store.commit()

    done = [store.acknowledge(store.stream, 4800) for _ in range(3)]

    assert done == [False, False, True]
    assert store.acknowledge(store.stream, 4800)


def test_a_budget_that_was_lowered_is_kept_to_in_small_steps_that_let_no_journal_grow(file: Path, store: EventStore) -> None:
    store.insert(events(20_000, 200))
    store.mark(1, 20_000, 1)
    store.commit()
    store.close()
    lowered = EventStore(file, KeepAll(passes=Keep(mb=1.0)), "machine")

    steps, longest_wal, is_more = 0, 0, True
    while is_more:
        lost, is_more = lowered.evict()
        lowered.commit()
        steps, longest_wal = steps + 1, max(longest_wal, file.with_name("outbox.db-wal").stat().st_size)
    kept = lowered._db.execute("SELECT count(*), min(seq), sum(bytes) FROM event").fetchone()
    lowered.close()

    assert lost == []
    assert 10 < steps < 30
    assert longest_wal < 3_000_000  # of a file of 6 MB
    assert kept[0] == 20_001 - kept[1]
    assert 0.9e6 < kept[2] <= 1e6


def test_what_has_to_go_is_found_without_reading_what_stays(store: EventStore) -> None:
    store.insert(events(100_000, 10))
    store.mark(1, 90_000, 1)
    store.commit()

    store._db.set_progress_handler(lambda: 1, 50_000)  # ends a statement that takes more steps than so many

    assert store.evict() == ([], False)


def test_a_file_whose_making_was_cut_off_is_made_anew(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.events.database._TABLES", f"{_TABLES} SELECT what_is_not_there;")
    with pytest.raises(sqlite3.OperationalError, match="what_is_not_there"):
        EventStore(file, KeepAll(), "machine")
    monkeypatch.undo()

    store = EventStore(file, KeepAll(), "machine")
    store.insert(events(3, 10))
    store.commit()
    store.close()

    assert file.stat().st_size > 0
    assert store.lost == []


def test_a_mark_is_never_half_written_however_often_it_is_read_meanwhile(file: Path) -> None:
    write_label(file, Label("stream", 7, "press-3 at plant"))
    with file.with_suffix(".mark").open("rb") as reader:
        write_label(file, Label("stream", 123456, "press-3 at plant"))  # into another file, which takes its place
        before = reader.read()

    assert before == b"stream 7 press-3 at plant"
    assert read_label(file) == Label("stream", 123456, "press-3 at plant")
    assert [other.name for other in file.parent.iterdir()] == ["outbox.mark"]
