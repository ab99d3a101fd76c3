"""Events as Parquet files: each in one file, also after a kill while one is written."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from agent.collect.ledger import Ledger
from agent.collect.parquet import ParquetFolder
from agent.collect.shortened import Shortened
from agent.drivers import ConfigError


def fill(ledger: Path, numbers: range) -> None:
    with Ledger(ledger) as opened:
        [opened.keep("plant/press-3", event(n)) for n in numbers]
        opened.commit()


def event(n: int) -> dict[str, Any]:
    time = "2026-11-21T09:30:00.000000Z"
    named = {"source": "urn:kensa:press-3", "id": f"part {n}", "stream": "s", "seq": n, "type": "kensa.part/v1", "time": time}
    return {**named, "data": {"outcome": "pass", "cause": "score", "n": n}}


def export(folder: Path, ledger: Path) -> None:
    files = ParquetFolder(folder, ledger)
    files.close()


def test_what_came_since_the_last_file_is_in_the_next_one(tmp_path: Path) -> None:
    folder, ledger = tmp_path / "files", tmp_path / "events.db"
    fill(ledger, range(1, 11))
    export(folder, ledger)
    fill(ledger, range(11, 16))

    export(folder, ledger)
    export(folder, ledger)

    names = sorted(file.name for file in folder.iterdir())
    assert names == ["events-000000000001-000000000010.parquet", "events-000000000011-000000000015.parquet"]
    assert pyarrow.parquet.read_table(folder)["seq"].to_pylist() == list(range(1, 16))


def test_the_columns_are_those_of_the_ledger_and_the_topic_of_the_station(tmp_path: Path) -> None:
    fill(tmp_path / "events.db", range(1, 2))

    export(tmp_path / "files", tmp_path / "events.db")

    (row,) = pyarrow.parquet.read_table(tmp_path / "files").to_pylist()
    assert row == {
        "row": 1,
        "topic": "plant/press-3",
        "source": "urn:kensa:press-3",
        "id": "part 1",
        "stream": "s",
        "seq": 1,
        "type": "kensa.part/v1",
        "time": "2026-11-21T09:30:00.000000Z",
        "outcome": "pass",
        "cause": "score",
        "data": '{"outcome": "pass", "cause": "score", "n": 1}',
    }


def test_a_whole_file_that_a_kill_left_without_its_name_is_not_read_beside_the_next(tmp_path: Path) -> None:
    folder, ledger = tmp_path / "files", tmp_path / "events.db"
    fill(ledger, range(1, 6))
    export(folder, ledger)
    (file,) = folder.iterdir()
    file.rename(folder / f".{file.stem}.new")
    fill(ledger, range(6, 11))

    before = pyarrow.parquet.read_table(folder).num_rows
    export(folder, ledger)

    assert before == 0
    assert pyarrow.parquet.read_table(folder)["seq"].to_pylist() == list(range(1, 11))


def test_what_was_taken_from_the_ledger_costs_no_later_event_its_place_in_a_file(tmp_path: Path) -> None:
    folder, file = tmp_path / "files", tmp_path / "events.db"
    fill(file, range(1, 11))
    with Ledger(file) as ledger:
        files = ParquetFolder(folder, file)
        shortened = Shortened(ledger, files, days=3)
        shortened.look(0.0)  # in no file yet: nothing may go
        before = ledger._db.execute("SELECT count(*) FROM event").fetchone()
        files.export()
        old = "UPDATE event SET time = '2026-01-01T00:00:00.000000Z'"
        ledger._db.execute(f"{old} WHERE seq <= 8")
        ledger._db.execute("UPDATE event SET time = '2999-01-01T00:00:00.000000Z' WHERE seq > 8")
        shortened.look(1.0)
        ledger.commit()
        files.close()
        after = ledger._db.execute("SELECT count(*) FROM event").fetchone()
        ledger._db.execute("DELETE FROM event")
        ledger.commit()
    fill(file, range(11, 16))

    export(folder, file)

    assert (before, after) == ((10,), (2,))
    assert pyarrow.parquet.read_table(folder)["seq"].to_pylist() == list(range(1, 16))


def test_half_a_file_that_a_kill_left_behind_is_written_again_whole(tmp_path: Path) -> None:
    folder, ledger = tmp_path / "files", tmp_path / "events.db"
    fill(ledger, range(1, 11))
    folder.mkdir()
    (folder / ".events-000000000001-000000000010.new").write_bytes(b"PAR1 and no more")

    export(folder, ledger)

    (file,) = folder.iterdir()
    assert pyarrow.parquet.read_table(file)["seq"].to_pylist() == list(range(1, 11))


def test_a_folder_with_the_files_of_another_ledger_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "old.db", range(1, 11))
    export(tmp_path / "files", tmp_path / "old.db")
    fill(tmp_path / "new.db", range(1, 3))

    with pytest.raises(ConfigError, match="which has 2 events; found some up to row 10"):
        ParquetFolder(tmp_path / "files", tmp_path / "new.db")


def test_events_for_which_there_was_no_folder_are_in_the_next_file(tmp_path: Path) -> None:
    folder, ledger = tmp_path / "files", tmp_path / "events.db"
    fill(ledger, range(1, 6))
    files = ParquetFolder(folder, ledger)
    folder.rmdir()

    files.export()
    folder.mkdir()
    files.close()

    assert pyarrow.parquet.read_table(folder)["seq"].to_pylist() == list(range(1, 6))


def test_a_folder_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    fill(tmp_path / "events.db", range(1, 2))
    (tmp_path / "files").touch()

    with pytest.raises(ConfigError, match="files: expected a folder that can be written: File exists"):
        ParquetFolder(tmp_path / "files", tmp_path / "events.db")


def test_a_copy_of_an_event_that_was_taken_out_is_a_copy_and_in_one_file_only(tmp_path: Path) -> None:
    folder, file = tmp_path / "files", tmp_path / "events.db"
    fill(file, range(1, 11))
    with Ledger(file) as ledger:
        files = ParquetFolder(folder, file)
        files.export()
        ledger.keep("plant/press-3", {**event(11), "time": "2026-11-25T09:30:00.000000Z"})
        Shortened(ledger, files, days=3).look(0.0)
        ledger.commit()
        files.close()

    with Ledger(file) as ledger:  # it knows after a restart, too
        again = [ledger.keep("plant/press-3", event(n)) for n in range(1, 11)]
        of_another = ledger.keep("plant/press-3", {**event(5), "id": "new", "time": "2026-11-24T09:30:00.000000Z"})
        ledger.commit()
        counts = ledger.counts
    export(folder, file)

    assert again == [False] * 10
    assert of_another  # of a number that two stations have given out
    assert (counts.kept, counts.copies) == (1, 10)
    assert sorted(pyarrow.parquet.read_table(folder)["seq"].to_pylist()) == sorted([*range(1, 12), 5])


@pytest.mark.parametrize(
    ("shown", "newest", "kept"),
    [
        ("2036-11-21", "2026-11-21", 11),
        ("2026-11-21", "2036-11-21", 11),
        ("1970-01-01", "2026-11-21", 11),
        ("2026-11-30", "2026-11-29", 1),
        ("2026-11-30", "soon", 11),
    ],
    ids=["the collector's leaps ahead", "a station's leaps ahead", "the collector's was never set", "none", "one that is none"],
)
def test_a_clock_that_leaps_takes_no_event_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: str, newest: str, kept: int
) -> None:
    folder, file = tmp_path / "files", tmp_path / "events.db"
    fill(file, range(1, 11))
    monkeypatch.setattr("agent.collect.shortened.utc", lambda: datetime.fromisoformat(f"{shown}T12:00:00+00:00"))
    with Ledger(file) as ledger:
        ledger.keep("plant/press-3", {**event(11), "time": f"{newest}T09:30:00.000000Z"})
        ledger.commit()
        files = ParquetFolder(folder, file)
        files.export()

        Shortened(ledger, files, days=3).look(0.0)
        ledger.commit()

        files.close()
        left = ledger._db.execute("SELECT count(*) FROM event").fetchone()[0]
    assert left == kept
