"""The images of a record hold its budget, by worth and age, and are found again whatever was lost."""

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace
from record_filler import kept
from small_record import (
    COST,
    KEEP,
    PNG,
    UTC,
    add,
    album,
    files,
    judge,
    listed,
    offer,
    reading,
    rows,
)
from waiting import wait_until

from agent.record.album import NoRoomError, TooLargeError, open_index, place
from agent.record.gallery import Gallery
from agent.record.index import RecordIndex
from agent.record.record import Record
from agent.record.table import IMAGES, INDEX, Review, Worth

ROOT_OF_BY_WORTH = "SELECT rootpage FROM sqlite_master WHERE name = 'by_worth'"


def test_the_budget_holds_and_what_is_worth_least_goes_first_the_oldest_before_the_newest(tmp_path: Path) -> None:
    keep = replace(KEEP, mb=5 * COST / 1e6)
    with album(tmp_path, keep) as (one, _):
        [add(one, worth) for worth in (Worth.REJECT, Worth.PASS, Worth.NEAR, Worth.FAULT, Worth.PASS)]

        [add(one, worth) for worth in (Worth.REJECT, Worth.REJECT, Worth.REJECT)]

    assert listed(tmp_path) == [
        ("REJECT", "boot/8"),
        ("REJECT", "boot/7"),
        ("REJECT", "boot/6"),
        ("FAULT", "boot/4"),
        ("REJECT", "boot/1"),
    ]
    assert len(files(tmp_path)) == 5


def test_a_sample_takes_no_rejects_place(tmp_path: Path) -> None:
    with album(tmp_path, replace(KEEP, mb=2 * COST / 1e6)) as (one, _):
        [add(one, Worth.REJECT) for _ in range(2)]

        with pytest.raises(NoRoomError, match="worth more than one more pass"):
            add(one, Worth.PASS)

    assert [kind for kind, _ in listed(tmp_path)] == ["REJECT", "REJECT"]


def test_an_image_larger_than_the_whole_budget_takes_no_place_at_all(tmp_path: Path) -> None:
    with album(tmp_path, replace(KEEP, mb=1.0)) as (one, _):
        number = [add(one, Worth.REJECT) for _ in range(5)][-1] + 1

        with pytest.raises(TooLargeError, match=r"an image takes 1\.5 MB, and record\.mb is 1 for all of them: make that larger"):
            one.add(kept(number, Worth.REJECT, 1_500_000, place(number, Worth.REJECT, UTC, "boot/6", "top")), PNG, b"")

    assert len(listed(tmp_path)) == len(files(tmp_path)) == 5


def test_what_a_person_has_judged_goes_last(tmp_path: Path) -> None:
    with album(tmp_path, replace(KEEP, mb=2 * COST / 1e6)) as (one, _):
        numbers = [add(one, Worth.NEAR), add(one, Worth.REJECT)]
        judge(tmp_path, numbers[0], "false")

        add(one, Worth.REJECT)

    assert listed(tmp_path) == [("REJECT", "boot/3"), ("NEAR", "boot/1")]


def test_images_older_than_the_hours_of_production_go_but_those_that_a_person_has_judged_stay(tmp_path: Path) -> None:
    with album(tmp_path, replace(KEEP, hours=10)) as (one, _):
        [add(one, Worth.REJECT, hour * 3600) for hour in (0, 1, 5, 12)]
        judge(tmp_path, 1, "true", "dent")

        one.make_room_by_age(12 * 3600.0)

    assert listed(tmp_path) == [("REJECT", "boot/4"), ("REJECT", "boot/3"), ("REJECT", "boot/1")]


def test_hours_of_production_pass_with_parts_and_not_while_the_belt_stands(tmp_path: Path) -> None:
    second, night = 1_000_000_000, 36_000_000_000_000

    with Record(tmp_path, KEEP) as record:
        [offer(record, 1, reading(2.0), at_ns) for at_ns in (0, 30 * second, night, night + 30 * second)]

    with RecordIndex(tmp_path) as index:
        assert index.total()[2] == 60.0


def test_a_restart_goes_on_with_the_hours_and_the_numbers(tmp_path: Path) -> None:
    second = 1_000_000_000
    with Record(tmp_path, KEEP) as record:
        [offer(record, n, reading(2.0), n * second) for n in range(3)]

    with Record(tmp_path, KEEP) as record:
        [offer(record, n, reading(2.0), n * second) for n in range(3, 5)]

    with RecordIndex(tmp_path) as index:
        assert index.total()[2] == 3.0  # 2 s and 1 s
    assert [row.id for row in rows(tmp_path)] == [5, 4, 3, 2, 1]


def test_s3_files_whose_rows_a_power_cut_has_lost_are_taken_away(tmp_path: Path) -> None:
    with album(tmp_path) as (one, _):
        numbers = [add(one, Worth.REJECT) for _ in range(3)]
    with sqlite3.connect(tmp_path / INDEX) as db:
        db.execute("DELETE FROM kept WHERE id = ?", (numbers[-1],))
        db.execute("UPDATE sqlite_sequence SET seq = ?", (numbers[-2],))

    with album(tmp_path) as (one, _):
        left = len(files(tmp_path))
        add(one, Worth.REJECT)

    assert left == 2
    assert len(files(tmp_path)) == 3


def test_s4_a_broken_index_is_set_aside_and_made_again_from_the_names_of_the_files(tmp_path: Path) -> None:
    with album(tmp_path) as (one, index):
        [add(one, worth) for worth in (Worth.REJECT, Worth.PASS, Worth.FAULT)]
        before = index.total()
    (tmp_path / INDEX).write_bytes(b"no database" * 1000)
    (tmp_path / f"{INDEX}-wal").unlink(missing_ok=True)

    with album(tmp_path) as (_, index):
        after = index.total()
    times = {row.time for row in rows(tmp_path)}

    assert listed(tmp_path) == [("FAULT", "boot/3"), ("PASS", "boot/2"), ("REJECT", "boot/1")]
    assert after[:2] == before[:2]
    assert times == {UTC}
    assert (tmp_path / f"{INDEX}.broken-0").exists()


@pytest.mark.parametrize("small_bytes", [1 << 25, 0], ids=["small, looked through when opened", "large, opened anew"])
def test_s4_a_damaged_page_of_the_index_costs_no_later_image(
    tmp_path: Path, small_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.record.album._SMALL_BYTES", small_bytes)
    with album(tmp_path) as (one, _):
        [add(one, Worth.REJECT) for _ in range(300)]
    break_by_worth(tmp_path)

    with Record(tmp_path, KEEP) as record:
        offer(record, 1000, reading(2.0))  # what finds the damage in a large one
        wait_until(lambda: record.waiting == 0)
        wait_until(lambda: (tmp_path / f"{INDEX}.broken-0").exists())
        offer(record, 1001, reading(2.0))

    assert record.trouble == ""
    assert listed(tmp_path)[0] == ("REJECT", "boot/1001")
    assert len(listed(tmp_path)) >= 301


def break_by_worth(folder: Path) -> None:
    """A page of an index of the table."""
    with closing(sqlite3.connect(folder / INDEX)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        ((size,), (root,)) = (db.execute("PRAGMA page_size").fetchone(), db.execute(ROOT_OF_BY_WORTH).fetchone())
    content = (folder / INDEX).read_bytes()
    (folder / INDEX).write_bytes(content[: (root - 1) * size] + b"\xa5" * size + content[root * size :])


def test_s5_a_thousand_files_lie_in_one_folder_and_a_hundred_folders_in_one() -> None:
    folders = {Path(place(n, Worth.PASS, UTC, "boot/1", "top")).parent for n in range(0, 1_000_000, 500)}

    assert len(folders) == 1000  # a million files, a thousand in each
    assert len({folder.parent for folder in folders}) == 10  # each holds 100


def test_s5_pruning_takes_as_many_statements_however_many_are_kept(tmp_path: Path) -> None:
    few, many = pruning_statements(tmp_path / "few", 400), pruning_statements(tmp_path / "many", 4000)

    assert many == few  # a million: tests/bench_record.py


def pruning_statements(folder: Path, n: int) -> int:
    """What one more image costs in a record that is full with n."""
    with album(folder, replace(KEEP, mb=n * COST / 1e6)) as (one, index):
        fill(folder, index, n)
        statements = statements_of(index, lambda: add(one, Worth.REJECT))
        assert index.total()[1] <= n * COST
    assert len(list((folder / IMAGES).rglob("*.png"))) < n
    return statements


def fill(folder: Path, index: RecordIndex, n: int) -> None:
    """n rows with files of one byte, quickly."""
    names = [place(k, Worth.PASS, UTC, f"boot/{k}", "top") for k in range(1, n + 1)]
    [(folder / IMAGES / parent).mkdir(parents=True) for parent in {Path(name).parent for name in names}]
    [(folder / IMAGES / name).write_bytes(b"x") for name in names]
    index.found_again(kept(k, Worth.PASS, COST, name) for k, name in enumerate(names, start=1))


def statements_of(index: RecordIndex, act: Callable[[], object]) -> int:
    """How many SQL statements are run meanwhile, those for many rows once for each."""
    told: list[str] = []
    index.db.set_trace_callback(told.append)
    act()
    index.db.set_trace_callback(None)
    return len([one for one in told if not one.startswith("--")])


def test_reviews_may_be_written_while_images_are(tmp_path: Path) -> None:
    with album(tmp_path) as (one, _):
        add(one, Worth.REJECT)
        done = threading.Event()

        def judge_often() -> None:
            with Gallery(tmp_path) as other:
                [other.review(1, Review("true", "dent", str(k), "Ada", UTC)) for k in range(50)]
            done.set()

        threading.Thread(target=judge_often).start()
        [add(one, Worth.REJECT) for _ in range(30)]
        wait_until(done.is_set)

    assert len(listed(tmp_path)) == 31


def damage(folder: Path, statement: str) -> None:
    """What a flipped bit may make of it, where no page looks broken."""
    with closing(sqlite3.connect(folder / INDEX)) as db, db:
        db.execute(statement)


DAMAGES = {
    "a name with a zero byte": "UPDATE kept SET file = '00000/00/2_' || char(0) || 'eject.png' WHERE id = 2",
    "a name of another image": "UPDATE kept SET file = replace(file, '/2_', '/3_') WHERE id = 2",
    "a name that is no text": "UPDATE kept SET file = CAST(x'30ff' AS TEXT) WHERE id = 2",
    "a part that is no text": "UPDATE kept SET part = CAST(x'612fff' AS TEXT) WHERE id = 2",
    "a worth that is none": "UPDATE kept SET worth = 64 WHERE id = 2",
    "a sum that is none": "UPDATE total SET produced_s = 'x', n = 'x'",
    "a newest number too low": "UPDATE sqlite_sequence SET seq = 1",
}


@pytest.mark.parametrize("statement", DAMAGES.values(), ids=DAMAGES.keys())
def test_s4_a_damaged_row_of_the_index_ends_nothing_costs_no_image_and_is_mended(tmp_path: Path, statement: str) -> None:
    with album(tmp_path) as (one, _):
        [add(one, Worth.REJECT) for _ in range(3)]
    damage(tmp_path, statement)

    with Record(tmp_path, KEEP) as record:
        wait_until(lambda: (tmp_path / f"{INDEX}.broken-0").exists())
        offer(record, 1000, reading(2.0))
        wait_until(lambda: listed(tmp_path)[:1] == [("REJECT", "boot/1000")])
        record.check()

    assert listed(tmp_path)[1:] == [("REJECT", f"boot/{n}") for n in (3, 2, 1)]
    assert len(files(tmp_path)) == 4


def test_s4_damaged_counts_that_would_empty_the_record_are_set_right(tmp_path: Path) -> None:
    with album(tmp_path) as (one, _):
        [add(one, Worth.REJECT) for _ in range(3)]
    damage(tmp_path, "UPDATE total SET bytes = 1 << 50")

    with album(tmp_path) as (one, index):
        add(one, Worth.REJECT)
        total = index.total()

    assert total[:2] == (4, 4 * COST)
    assert len(files(tmp_path)) == 4


def test_s4_an_image_whose_name_in_the_index_is_another_goes_by_its_number(tmp_path: Path) -> None:
    with album(tmp_path) as (one, index):
        [add(one, Worth.REJECT) for _ in range(2)]
        damage(tmp_path, "UPDATE kept SET file = replace(file, 'reject', 'rejebt') WHERE id = 1")

        one.make_room_by_age(1e9)

        assert index.total()[:2] == (0, 0)
    assert files(tmp_path) == []


def test_s4_what_people_said_is_saved_from_a_broken_index_with_the_hours_of_production(tmp_path: Path) -> None:
    with album(tmp_path) as (one, index):
        [add(one, worth) for worth in (Worth.PASS, Worth.REJECT, Worth.REJECT)]
        index.produced(3600.0)
    judge(tmp_path, 1, "false")
    judge(tmp_path, 3, "true", "dent")
    break_by_worth(tmp_path)

    with album(tmp_path) as (one, index), Gallery(tmp_path) as gallery:
        reviews = [(kept.id, review.judgment, review.defect, review.reviewer) for kept, review in gallery.reviewed()]
        least = [kept.id for kept in index.least_worth(3, at_most=Worth.REJECT)]
        produced_s = index.total()[2]

    assert reviews == [(1, "false", "", "Ada"), (3, "true", "dent", "Ada")]
    assert least == [2]  # what a person has judged goes last
    assert produced_s == 3600.0


@pytest.mark.parametrize("step", ["_make_again", "is_saved"], ids=["before it is made again", "after"])
def test_s4_an_index_whose_mending_was_cut_off_by_a_kill_is_mended_at_the_next_start(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with album(tmp_path) as (one, _):
        [add(one, Worth.REJECT) for _ in range(300)]
    judge(tmp_path, 7, "true", "dent")
    break_by_worth(tmp_path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as cut:
        cut.setattr(f"agent.record.album.{step}", killed)
        with pytest.raises(KeyboardInterrupt):
            open_index(tmp_path)
    with album(tmp_path) as (one, index):
        total = index.total()
    with Gallery(tmp_path) as gallery:
        judged = [kept.id for kept, _ in gallery.reviewed()]

    assert (total[0], len(files(tmp_path)), judged) == (300, 300, [7])
    assert not list(tmp_path.glob("*.unsaved*"))


def test_s4_an_index_made_again_while_running_makes_no_image_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.record.album._SMALL_BYTES", 0)
    with album(tmp_path) as (one, index):
        [add(one, Worth.REJECT, 36_000.0) for _ in range(300)]
        index.produced(36_000.0)
    damage(tmp_path, "UPDATE kept SET part = CAST(x'ff' AS TEXT) WHERE id = 1")

    with Record(tmp_path, replace(KEEP, hours=1, mb=300 * COST / 1e6)) as record:
        offer(record, 1000, reading(2.0))  # finds the damage as it looks for room
        wait_until(lambda: (tmp_path / f"{INDEX}.broken-0").exists())
        offer(record, 1002, reading(2.0))

    assert len(listed(tmp_path)) > 270
