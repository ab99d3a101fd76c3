"""Images worth keeping are kept whole, whatever happens to process and disk, and never cost a verdict."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
from msgspec.structs import replace
from small_record import (
    GOOD,
    KEEP,
    add,
    album,
    files,
    judge,
    listed,
    offer,
    offer_of_cameras,
    reading,
    rows,
    seen,
)
from waiting import wait_until

from agent.decide import Policy, decide
from agent.inspection import Fault, Part, Reading, Shot
from agent.record.album import open_index
from agent.record.gallery import Gallery
from agent.record.index import RecordIndex
from agent.record.record import Record, worth_keeping
from agent.record.table import IMAGES, INDEX, Worth

LARGE = np.random.default_rng(0).integers(0, 255, (700, 700, 3), dtype=np.uint8)  # 1.5 MB as PNG
FILLER = Path(__file__).parents[1] / "record_filler.py"


@pytest.mark.parametrize(
    ("read", "n", "worth"),
    [
        (reading(1.5), 1, Worth.REJECT),
        (reading(1.05), 1, Worth.REJECT),
        (reading(0.95), 1, Worth.NEAR),
        (reading(0.5), 20, Worth.PASS),
        (reading(0.5), 21, None),
        (Fault("no frame"), 1, Worth.FAULT),
    ],
    ids=["reject", "reject near the threshold", "pass near the threshold", "one in ten", "the other nine", "fault"],
)
def test_what_is_worth_keeping(read: Reading, n: int, worth: Worth | None) -> None:
    assert worth_keeping(read, decide(read, Policy(1.0)), n, KEEP) is worth


def test_a_reject_is_on_disk_pixel_for_pixel_and_named_with_number_kind_time_and_part(tmp_path: Path) -> None:
    with Record(tmp_path, KEEP) as record:
        offer(record, 7, reading(2.0))

    (file,) = files(tmp_path)
    with Gallery(tmp_path) as gallery:
        ((row, _, has_heat),) = gallery.search(Worth.REJECT, "", "", None, 10)[1]
    assert np.array_equal(cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB), GOOD)
    assert file.name == f"1_reject_{row.time.replace('-', '').replace(':', '')}_boot-7_top.png"
    assert (row.part, row.score, row.cause, row.bundle_id, has_heat) == ("boot/7", 2.0, "score", "bundle", True)


def test_a_fault_without_an_image_is_listed_without_one(tmp_path: Path) -> None:
    with Record(tmp_path, KEEP) as record:
        record.offer(seen([Shot(Part("boot", 1), "top", 0, Fault("no frame"))], [Fault("no frame")]))

    assert listed(tmp_path) == [("FAULT", "boot/1")]
    assert files(tmp_path) == []


def test_offers_beyond_what_memory_holds_are_dropped_and_counted_and_nobody_waits(tmp_path: Path) -> None:
    blocked = tmp_path / "record"
    blocked.write_text("a file where the folder should be: nothing can be written")

    with Record(blocked, KEEP) as record:
        [offer(record, n, reading(2.0)) for n in range(20)]
        wait_until(lambda: record.trouble)

        assert record.drops["record queue"] == 12  # 20 less the 8 that wait
        record.check()


def test_trouble_ends_when_the_folder_is_there_again_though_no_image_comes(tmp_path: Path) -> None:
    late = tmp_path / "record"
    late.write_text("a share that was not there yet")

    with Record(late, KEEP) as record:
        wait_until(lambda: record.trouble)
        late.unlink()
        wait_until(lambda: not record.trouble, timeout_s=20)


CAMERAS = {"top": 0.2, "side": 2.0, "back": 0.3}


def test_all_pictures_of_a_part_are_kept_and_it_is_listed_once_with_the_one_that_decided(tmp_path: Path) -> None:
    with Record(tmp_path, KEEP) as record:
        offer_of_cameras(record, 7, CAMERAS)

    with Gallery(tmp_path) as gallery:
        total, ((deciding, _, _),) = gallery.search(None, "", "", None, 10)
        others = [(kept.camera, kept.score, kept.kind, has_heat) for kept, has_heat in gallery.beside(deciding.id)]
        photograph = gallery.of_part("boot/7")
    assert (total, deciding.camera, deciding.kind) == (1, "side", Worth.REJECT)
    assert others == [("top", 0.2, Worth.REJECT, True), ("back", 0.3, Worth.REJECT, True)]
    assert photograph == deciding
    assert len(files(tmp_path)) == 3


def test_pictures_that_wait_are_bounded_however_many_cameras_there_are(tmp_path: Path) -> None:
    blocked = tmp_path / "record"
    blocked.write_text("a file where the folder should be: nothing can be written")

    with Record(blocked, KEEP) as record:
        [offer_of_cameras(record, n, CAMERAS) for n in range(10)]
        wait_until(lambda: record.trouble)

        assert record.drops["record queue"] == 8  # 10 less two parts: 6 of the 8 images


@pytest.mark.parametrize(("judgment", "judged"), [("false", {1, 2, 3}), ("true", {1})], ids=["good", "defect"])
def test_a_good_part_is_good_in_all_its_pictures_and_a_defect_is_known_to_be_in_one(
    tmp_path: Path, judgment: str, judged: set[int]
) -> None:
    with Record(tmp_path, KEEP) as record:
        offer_of_cameras(record, 7, CAMERAS)

    judge(tmp_path, 1, "false")
    judge(tmp_path, 1, judgment)  # the last one counts

    with Gallery(tmp_path) as gallery, RecordIndex(tmp_path) as index:
        assert {kept.id for kept, _ in gallery.reviewed()} == judged
        assert index.least_worth(10, at_most=Worth.REJECT) == []  # those beside it are worth as much as the one that was judged


def test_a_record_of_one_camera_from_before_is_read_as_it_was(tmp_path: Path) -> None:
    with Record(tmp_path, KEEP) as record:
        offer(record, 7, reading(2.0))
    with closing(sqlite3.connect(tmp_path / INDEX)) as db:
        db.executescript("DROP INDEX by_deciding; ALTER TABLE kept DROP COLUMN beside; PRAGMA user_version = 1;")

    assert listed(tmp_path) == [("REJECT", "boot/7")]


def test_pictures_found_again_after_the_index_was_lost_belong_to_their_part(tmp_path: Path) -> None:
    with Record(tmp_path, KEEP) as record:
        offer_of_cameras(record, 7, CAMERAS)
        offer_of_cameras(record, 8, CAMERAS)
    (tmp_path / INDEX).write_bytes(b"no database" * 1000)

    with open_index(tmp_path), Gallery(tmp_path) as gallery:
        beside = [kept.camera for kept, _ in gallery.beside(1)]

    assert [row.part for row in rows(tmp_path)] == ["boot/8", "boot/7"]
    assert beside == ["top", "back"]


def test_s1_a_disk_too_full_costs_images_first_is_told_and_recovers_alone(tmp_path: Path) -> None:
    with album(tmp_path) as (one, _):
        [add(one, Worth.REJECT) for _ in range(3)]
    more_than_any_disk_mb = 1e12

    with Record(tmp_path, replace(KEEP, leave_free_mb=more_than_any_disk_mb)) as record:
        offer(record, 9, reading(2.0))
        wait_until(lambda: record.trouble)

        assert "left to the events" in record.trouble
        assert record.drops["record disk"] == 1
        assert listed(tmp_path) == []
        record.check()


def test_s1_a_file_that_cannot_be_written_is_neither_listed_nor_left_behind_and_the_next_one_is_kept(tmp_path: Path) -> None:
    record = Record(tmp_path, KEEP)
    shard = tmp_path / IMAGES / "00000"
    shard.parent.mkdir(parents=True)
    shard.write_text("a file where the folder should be")
    with record:
        offer(record, 1, reading(2.0))
        wait_until(lambda: record.drops["record disk"] == 1)
        refused = (record.trouble, listed(tmp_path))
        shard.unlink()
        offer(record, 2, reading(2.0))
        wait_until(lambda: listed(tmp_path))

    assert "images cannot be kept" in refused[0]
    assert refused[1] == []
    assert listed(tmp_path) == [("REJECT", "boot/2")]
    assert record.trouble == ""
    assert len(files(tmp_path)) == 1


def test_s1_a_file_size_limit_as_a_full_disk_gives_it_ends_no_process_and_tears_no_image(tmp_path: Path) -> None:
    code = f"""
import resource, signal, sys
sys.path[:0] = [{str(FILLER.parent)!r}]
import record_filler
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))  # an image of 64x64 has 12 kB
sys.argv = ["", {str(tmp_path)!r}, "100"]
try:
    record_filler.main()
except OSError as e:
    print(e.strerror)
"""
    with RecordIndex(tmp_path):
        pass
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    with album(tmp_path) as (_, index):
        total = index.total()

    assert "File too large" in finished.stdout or "disk I/O error" in finished.stderr
    assert listed(tmp_path) == []
    assert (total[:2], files(tmp_path)) == ((0, 0), [])


@pytest.mark.parametrize("images", [1, 2, 5, 12, 20], ids=lambda n: f"after {n}")
def test_s3_a_kill_at_any_point_leaves_no_torn_image_listed_no_file_uncounted_and_the_budget_held(
    tmp_path: Path, images: int
) -> None:
    budget = 200_000
    process = subprocess.Popen(
        [sys.executable, str(FILLER), str(tmp_path), str(budget / 1e6)], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    [process.stdout.readline() for _ in range(images)]
    process.kill()
    process.wait()
    process.stdout.close()

    at_once = listed_files(tmp_path)
    with album(tmp_path, replace(KEEP, mb=budget / 1e6)) as (_, index):
        total = index.total()
    found = rows(tmp_path)

    assert all(cv2.imread(str(file)) is not None for file in at_once)
    assert total[1] <= budget
    assert files(tmp_path) == sorted(tmp_path / IMAGES / row.file for row in found)
    assert all(file.stat().st_size > 12_000 for file in files(tmp_path))


def listed_files(folder: Path) -> list[Path]:
    """As the page would find them, before anything has been tidied up."""
    with sqlite3.connect(f"file:{folder / INDEX}?mode=ro", uri=True) as db:
        return [folder / IMAGES / row[0] for row in db.execute("SELECT file FROM kept WHERE state = 1")]


def test_a_photograph_larger_than_the_budget_is_refused_alone_and_told_of_until_one_is_kept_again(tmp_path: Path) -> None:
    with Record(tmp_path, replace(KEEP, mb=1.0)) as record:
        offer(record, 1, reading(2.0))
        record.offer(seen([Shot(Part("boot", 2), "top", 0, LARGE)], [reading(2.0)]))
        wait_until(lambda: record.drops["record budget"] == 1)
        told = record.trouble
        offer(record, 3, reading(2.0))
        wait_until(lambda: not record.trouble)

    assert told.startswith("images cannot be kept: an image takes 1.5 MB, and record.mb is 1 for all of them")
    assert listed(tmp_path) == [("REJECT", "boot/3"), ("REJECT", "boot/1")]
