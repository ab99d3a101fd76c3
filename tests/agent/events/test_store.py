"""The outbox's file: what it takes of the disk, and how it notes that very many events were acknowledged."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.events.rows import Kind, New, on_disk
from agent.events.store import EventStore
from agent.sections import KeepAll


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
    store.commit()
    store.acknowledge(store.stream, 2000)
    store.commit()
    store.close()

    said = sum(map(on_disk, told))
    assert file.stat().st_size < 1.1 * said  # indexes are filled to some nine tenths
    assert file.stat().st_size > 0.5 * said  # one just too large for a page may share its second one


def test_very_many_acknowledged_events_are_noted_in_several_commits_oldest_first(store: EventStore) -> None:
    store.insert(events(5000, 10))
    store.commit()

    done = [store.acknowledge(store.stream, 4800) for _ in range(3)]

    assert done == [False, False, True]
    assert store.acknowledge(store.stream, 4800)
