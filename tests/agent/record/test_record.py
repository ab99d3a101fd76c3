"""Images worth keeping are kept whole and within the budget, whatever happens to process and disk, and never cost a verdict."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from msgspec.structs import replace
from record_filler import kept
from small_bundle import CONTRACT, photograph
from waiting import wait_until

from agent.decide import Policy, decide, strictest
from agent.inspection import Fault, Measured, Part, Prediction, Reading, Shot
from agent.observation.picture import lossless
from agent.observation.seen import Seen
from agent.record.album import Album, NoRoomError, open_index, place
from agent.record.gallery import Gallery
from agent.record.index import RecordIndex
from agent.record.record import Record, worth_keeping
from agent.record.table import IMAGES, INDEX, Kept, Review, Worth
from agent.sections import KeepImages

FILLER = Path(__file__).parents[1] / "record_filler.py"
GOOD = photograph(np.random.default_rng(1))
PNG = lossless(GOOD)
COST = Album.cost(PNG, b"")
MAP = np.zeros((8, 8), np.float32)
KEEP = KeepImages(mb=1000, leave_free_mb=0, one_of=10)
UTC = "2026-11-21T09:30:00.000000Z"


def reading(score: float) -> Prediction:
    return Prediction(raw=score, score=score, p_value=0.5, anomaly_map=MAP)


def shot(n: int, triggered_ns: int = 0) -> Shot:
    return Shot(Part("boot", n), "top", triggered_ns, GOOD)


def seen(shots: Sequence[Shot], readings: Sequence[Reading]) -> Seen:
    """One part as the hot path hands it over."""
    verdicts = [decide(read, Policy(1.0)) for read in readings]
    return Seen(shots, readings, [Measured(one.camera) for one in shots], verdicts, strictest(verdicts))


def offer(record: Record, n: int, read: Reading, triggered_ns: int = 0) -> None:
    record.offer(seen([shot(n, triggered_ns)], [read]))


def offer_of_cameras(record: Record, n: int, scores: dict[str, float]) -> None:
    """A part that several cameras have seen."""
    shots = [Shot(Part("boot", n), camera, 0, GOOD) for camera in scores]
    record.offer(seen(shots, [reading(score) for score in scores.values()]))


def files(folder: Path) -> list[Path]:
    return sorted((folder / IMAGES).rglob("*.*"))


def listed(folder: Path) -> list[tuple[str, str]]:
    """Kind and part of all that is listed, newest first."""
    return [(row.kind.name, row.part) for row in rows(folder)]


def rows(folder: Path) -> list[Kept]:
    """All that is listed, newest first."""
    with Gallery(folder) as gallery:
        return [row for row, _, _ in gallery.search(None, "", "", None, 10_000)[1]]


def judge(folder: Path, number: int, judgment: str, defect: str = "") -> None:
    with Gallery(folder) as gallery:
        gallery.review(number, Review(judgment, defect, "", "Ada", UTC))


@contextmanager
def album(folder: Path, keep: KeepImages = KEEP) -> Iterator[tuple[Album, RecordIndex]]:
    with open_index(folder) as index:
        yield Album(folder, index, keep), index


def add(one: Album, worth: Worth, produced_s: float = 0.0) -> int:
    """One more image; its number."""
    number = one.next_number()
    file = place(number, worth, UTC, f"boot/{number}", "top")
    one.add(kept(number, worth, COST, file, produced_s), PNG, b"")
    return number


# ---------------------------------------------------------------- what is kept


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
    with Record(tmp_path, KEEP, CONTRACT, "bundle") as record:
        offer(record, 7, reading(2.0))

    (file,) = files(tmp_path)
    with Gallery(tmp_path) as gallery:
        ((row, _, has_heat),) = gallery.search(Worth.REJECT, "", "", None, 10)[1]
    assert np.array_equal(cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB), GOOD)
    assert file.name == f"1_reject_{row.time.replace('-', '').replace(':', '')}_boot-7_top.png"
    assert (row.part, row.score, row.cause, row.bundle_id, has_heat) == ("boot/7", 2.0, "score", "bundle", True)


def test_a_fault_without_an_image_is_listed_without_one(tmp_path: Path) -> None:
    with Record(tmp_path, KEEP, CONTRACT, "bundle") as record:
        record.offer(seen([Shot(Part("boot", 1), "top", 0, Fault("no frame"))], [Fault("no frame")]))

    assert listed(tmp_path) == [("FAULT", "boot/1")]
    assert files(tmp_path) == []


def test_offers_beyond_what_memory_holds_are_dropped_and_counted_and_nobody_waits(tmp_path: Path) -> None:
    blocked = tmp_path / "record"
    blocked.write_text("a file where the folder should be: nothing can be written")

    with Record(blocked, KEEP, CONTRACT, "bundle") as record:
        [offer(record, n, reading(2.0)) for n in range(20)]
        wait_until(lambda: record.trouble)

        assert record.drops["record queue"] == 12  # 20 less the 8 that wait
        record.check()


# ---------------------------------------------------------------- several cameras

CAMERAS = {"top": 0.2, "side": 2.0, "back": 0.3}


def test_all_pictures_of_a_part_are_kept_and_it_is_listed_once_with_the_one_that_decided(tmp_path: Path) -> None:
    with Record(tmp_path, KEEP, CONTRACT, "bundle") as record:
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

    with Record(blocked, KEEP, CONTRACT, "bundle") as record:
        [offer_of_cameras(record, n, CAMERAS) for n in range(10)]
        wait_until(lambda: record.trouble)

        assert record.drops["record queue"] == 8  # 10 less two parts: 6 of the 8 images


@pytest.mark.parametrize(("judgment", "judged"), [("false", {1, 2, 3}), ("true", {1})], ids=["good", "defect"])
def test_a_good_part_is_good_in_all_its_pictures_and_a_defect_is_known_to_be_in_one(
    tmp_path: Path, judgment: str, judged: set[int]
) -> None:
    with Record(tmp_path, KEEP, CONTRACT, "bundle") as record:
        offer_of_cameras(record, 7, CAMERAS)

    judge(tmp_path, 1, "false")
    judge(tmp_path, 1, judgment)  # the last one counts

    with Gallery(tmp_path) as gallery, RecordIndex(tmp_path) as index:
        assert {kept.id for kept, _ in gallery.reviewed()} == judged
        assert index.least_worth(10, at_most=Worth.REJECT) == []  # those beside it are worth as much as the one that was judged


def test_a_record_of_one_camera_from_before_is_read_as_it_was(tmp_path: Path) -> None:
    with Record(tmp_path, KEEP, CONTRACT, "bundle") as record:
        offer(record, 7, reading(2.0))
    with closing(sqlite3.connect(tmp_path / INDEX)) as db:
        db.executescript("DROP INDEX by_deciding; ALTER TABLE kept DROP COLUMN beside; PRAGMA user_version = 1;")

    assert listed(tmp_path) == [("REJECT", "boot/7")]


def test_pictures_found_again_after_the_index_was_lost_belong_to_their_part(tmp_path: Path) -> None:
    with Record(tmp_path, KEEP, CONTRACT, "bundle") as record:
        offer_of_cameras(record, 7, CAMERAS)
        offer_of_cameras(record, 8, CAMERAS)
    (tmp_path / INDEX).write_bytes(b"no database" * 1000)

    with open_index(tmp_path), Gallery(tmp_path) as gallery:
        beside = [kept.camera for kept, _ in gallery.beside(1)]

    assert [row.part for row in rows(tmp_path)] == ["boot/8", "boot/7"]
    assert beside == ["top", "back"]


# ---------------------------------------------------------------- the budget


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

    with Record(tmp_path, KEEP, CONTRACT, "bundle") as record:
        [offer(record, 1, reading(2.0), at_ns) for at_ns in (0, 30 * second, night, night + 30 * second)]

    with RecordIndex(tmp_path) as index:
        assert index.total()[2] == 60.0


def test_a_restart_goes_on_with_the_hours_and_the_numbers(tmp_path: Path) -> None:
    second = 1_000_000_000
    with Record(tmp_path, KEEP, CONTRACT, "bundle") as record:
        [offer(record, n, reading(2.0), n * second) for n in range(3)]

    with Record(tmp_path, KEEP, CONTRACT, "bundle") as record:
        [offer(record, n, reading(2.0), n * second) for n in range(3, 5)]

    with RecordIndex(tmp_path) as index:
        assert index.total()[2] == 3.0  # 2 s and 1 s
    assert [row.id for row in rows(tmp_path)] == [5, 4, 3, 2, 1]


# ---------------------------------------------------------------- S1, S3, S4, S5


def test_s1_a_disk_too_full_costs_images_first_is_told_and_recovers_alone(tmp_path: Path) -> None:
    with album(tmp_path) as (one, _):
        [add(one, Worth.REJECT) for _ in range(3)]
    more_than_any_disk_mb = 1e12

    with Record(tmp_path, replace(KEEP, leave_free_mb=more_than_any_disk_mb), CONTRACT, "bundle") as record:
        offer(record, 9, reading(2.0))
        wait_until(lambda: record.trouble)

        assert "left to the events" in record.trouble
        assert record.drops["record disk"] == 1
        assert listed(tmp_path) == []
        record.check()


def test_s1_a_file_that_cannot_be_written_is_neither_listed_nor_left_behind_and_the_next_one_is_kept(tmp_path: Path) -> None:
    record = Record(tmp_path, KEEP, CONTRACT, "bundle")
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
