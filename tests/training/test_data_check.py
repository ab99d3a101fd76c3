"""`kensa data check`: each fault of a data set is one finding, and the exit status says whether one is an error."""

import io
import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_dataset import plate, save, save_dataset, scratched
from small_layouts import save_grey, save_loco, save_mvtec3d, save_visa

from kensa import main
from training.data_check import check, data_command, explain
from training.data_faults import Seen, nearly_equal
from training.photographs import Photograph
from training.progress import Lines


def first_good(root: Path) -> Path:
    return root / "train" / "good" / "000.png"


def unreadable(root: Path) -> None:
    first_good(root).write_text("no picture")


def odd_size(root: Path) -> None:
    save(root / "test" / "good" / "large.png", plate(7, 300, 200))


def duplicate(root: Path) -> None:
    shutil.copy(first_good(root), root / "train" / "good" / "copy.png")


def leak(root: Path) -> None:
    shutil.copy(first_good(root), root / "test" / "good" / "copy.png")


def saved_again(root: Path, to: str) -> None:
    bgr = cv2.cvtColor(plate(0), cv2.COLOR_RGB2BGR)
    (root / to).write_bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes())


def near_duplicate(root: Path) -> None:
    saved_again(root, "train/good/again.jpg")


def near_leak(root: Path) -> None:
    saved_again(root, "test/good/again.jpg")


def grey_one(root: Path) -> None:
    save_grey(root / "train" / "good" / "grey.png", plate(77)[..., :1])


def dark_one(root: Path) -> None:
    save(root / "train" / "good" / "dark.png", plate(77) // 4)


def in_a_sub_folder(root: Path) -> None:
    save(root / "train" / "good" / "night shift" / "000.png", plate(77))


def beside_the_test_classes(root: Path) -> None:
    save(root / "test" / "000.png", plate(77))


def of_a_telephone(root: Path) -> None:
    (root / "train" / "good" / "IMG_0815.HEIC").write_bytes(b"ftypheic")


def upright_one(root: Path) -> None:
    save(root / "train" / "good" / "upright.png", np.rot90(plate(77)))


def mask_missing(root: Path) -> None:
    (root / "ground_truth" / "scratch" / "001_mask.png").unlink()


def mask_empty(root: Path) -> None:
    save(root / "ground_truth" / "scratch" / "001_mask.png", np.zeros((80, 96, 3), np.uint8))


def mask_that_was_a_jpeg(root: Path) -> None:
    file = root / "ground_truth" / "scratch" / "001_mask.png"
    _, lossy = cv2.imencode(".jpg", cv2.imread(str(file)), [cv2.IMWRITE_JPEG_QUALITY, 60])
    file.write_bytes(cv2.imencode(".png", cv2.imdecode(lossy, cv2.IMREAD_COLOR))[1].tobytes())


def mask_of_another_size(root: Path) -> None:
    save(root / "ground_truth" / "scratch" / "001_mask.png", np.full((8, 9, 3), 255, np.uint8))


def mask_inverted(root: Path) -> None:
    file = root / "ground_truth" / "scratch" / "001_mask.png"
    save(file, 255 - cv2.imread(str(file)))


@pytest.mark.parametrize(
    ("damage", "kind", "weight", "file"),
    [
        (unreadable, "unreadable", "error", "train/good/000.png"),
        (odd_size, "odd-size", "warning", "test/good/large.png"),
        (duplicate, "duplicate", "warning", "train/good/copy.png"),
        (leak, "leak", "error", "test/good/copy.png"),
        (near_duplicate, "near-duplicate", "warning", "train/good/again.jpg"),
        (near_leak, "near-leak", "warning", "test/good/again.jpg"),
        (grey_one, "grey-and-color", "warning", "train/good/grey.png"),
        (dark_one, "brightness", "warning", "train/good/dark.png"),
        (in_a_sub_folder, "misplaced", "warning", "train/good/night shift/000.png"),
        (beside_the_test_classes, "misplaced", "warning", "test/000.png"),
        (of_a_telephone, "foreign-format", "warning", "train/good/IMG_0815.HEIC"),
        (upright_one, "turned", "warning", "train/good/upright.png"),
        (mask_missing, "mask-missing", "warning", "test/scratch/001.png"),
        (mask_that_was_a_jpeg, "mask-blurred", "warning", "ground_truth/scratch/001_mask.png"),
        (mask_inverted, "mask-inverted", "warning", "ground_truth/scratch/001_mask.png"),
        (mask_empty, "mask-empty", "warning", "test/scratch/001.png"),
        (mask_of_another_size, "mask-unusable", "error", "test/scratch/001.png"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_fault_is_one_finding_that_names_the_file(tmp_path: Path, damage, kind: str, weight: str, file: str) -> None:
    damage(save_dataset(tmp_path))

    found = check(tmp_path)

    finding = next(f for f in found.findings if f.kind == kind)
    assert (finding.weight, finding.files) == (weight, (str(tmp_path / file),))
    assert found.usable == (weight == "warning")


def test_a_test_set_in_another_light_than_the_fit_is_found(tmp_path: Path) -> None:
    good = sorted((save_dataset(tmp_path) / "test" / "good").glob("*.png"))
    [save(file, plate(50 + k) + 20) for k, file in enumerate(good)]

    finding = next(f for f in check(tmp_path).findings if f.kind == "light-not-learned")

    assert finding.files == tuple(map(str, good))
    assert "give it parts in every light of the line" in finding.message


def as_a_camera_of(bits: int, root: Path) -> None:
    """The photographs again as `Mono10`, `Mono12` and the like give them: in 16 bit, as many of them as they have."""
    files = [file for part in ("train", "test") for file in (root / part).rglob("*.png")]
    for file in files:
        file.write_bytes(cv2.imencode(".png", cv2.imread(str(file)).astype(np.uint16) << (bits - 8))[1].tobytes())


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_photographs_of_more_bits_have_the_findings_of_the_same_in_8(tmp_path: Path, bits: int) -> None:
    dark_one(save_dataset(tmp_path))
    save(tmp_path / "train" / "good" / "again.png", plate(0) + np.uint8(1))
    [save(file, plate(50 + k) + 20) for k, file in enumerate(sorted((tmp_path / "test" / "good").glob("*.png")))]
    in_8_bits = check(tmp_path)

    as_a_camera_of(bits, tmp_path)

    found = [(f.kind, f.files) for f in check(tmp_path).findings]
    assert found == [(f.kind, f.files) for f in in_8_bits.findings]
    assert {kind for kind, _ in found} == {"near-duplicate", "brightness", "light-not-learned"}


@pytest.mark.parametrize("make", [save_dataset, save_visa, save_mvtec3d])
def test_a_clean_data_set_has_no_finding(tmp_path: Path, make) -> None:
    found = check(make(tmp_path))

    assert found.findings == ()
    assert found.usable


def test_counts_and_what_the_threshold_can_rest_on_are_told(tmp_path: Path) -> None:
    text = explain(check(save_dataset(tmp_path)))

    assert "layout MVTec AD" in text
    assert "good 4, scratch 4" in text
    assert "pictures all 96x80 8 bit color" in text
    assert "6 good parts to learn from, 6 held out for the threshold" in text
    assert "at most 39.3 % of good parts rejected (95 % confidence); 1 % needs 299, 293 more" in text  # 1 - 0.05 ** (1 / 6)
    assert "to have them, put 299 more good photographs into validation/good: all there are held out" in text
    assert text.endswith("verdict: usable")


@pytest.mark.parametrize(
    ("make", "way"),
    [
        (save_visa, "add 1489 good photographs to those there are"),  # it holds none out; 5 x 299 and 6 there
        (
            save_mvtec3d,
            "put 297 more good photographs into validation/good/rgb, with their xyz in validation/good/xyz: all there",
        ),
    ],
)
def test_parts_are_sent_to_where_their_layout_looks(tmp_path: Path, make, way: str) -> None:
    assert f"to have them, {way}" in explain(check(make(tmp_path)))


def test_validation_parts_are_a_split_of_their_own(tmp_path: Path) -> None:
    assert check(save_loco(tmp_path)).counts["validation"] == {"good": 2}


def test_too_few_good_parts_are_not_usable(tmp_path: Path) -> None:
    [save(tmp_path / f"{k}.png", plate(k)) for k in range(3)]

    found = check(tmp_path)

    assert not found.usable
    assert "3 different good photographs, at least 4" in found.findings[0].message


@pytest.mark.parametrize(("damage", "status"), [(duplicate, 0), (leak, 2)], ids=["warning", "error"])
def test_the_status_is_2_only_where_an_error_is_listed(tmp_path: Path, damage, status: int, capsys) -> None:
    damage(save_dataset(tmp_path / "data"))
    file = tmp_path / "check.json"

    assert data_command(["check", str(tmp_path / "data"), "--json", str(file)]) == status

    assert json.loads(file.read_text())["usable"] == (status == 0)
    assert "verdict:" in capsys.readouterr().out


def test_a_test_set_without_defects_is_no_fault_to_a_fit(tmp_path: Path) -> None:
    shutil.rmtree(save_dataset(tmp_path) / "test" / "scratch")

    found = check(tmp_path)

    assert [(f.weight, f.kind) for f in found.findings] == [("warning", "one-sided")]
    assert "`kensa evaluate` will refuse it" in found.findings[0].message
    assert (found.usable, found.train) == (True, 6)


def test_classes_of_the_test_set_that_are_links_are_looked_into(tmp_path: Path) -> None:
    root = save_dataset(tmp_path / "data")
    leak(root)
    (root / "test" / "good").rename(tmp_path / "elsewhere")
    (root / "test" / "good").symlink_to(tmp_path / "elsewhere")

    found = check(root)

    assert found.counts["test"]["good"] == 5
    assert "a test picture must never be in the fit" in next(f.message for f in found.findings if f.kind == "refused")


def test_an_unknown_layout_is_one_line(tmp_path: Path, capsys) -> None:
    assert main(["data", "check", str(tmp_path)]) == 2

    assert "kensa data: " in capsys.readouterr().err


def test_the_reason_why_a_file_cannot_be_read_is_told_once(tmp_path: Path) -> None:
    unreadable(save_dataset(tmp_path))

    text = explain(check(tmp_path))

    assert text.count("000.png") == 1
    assert "000.png: not an image that can be decoded" in text


def test_a_name_that_is_not_utf_8_is_refused_in_words_that_can_be_printed(tmp_path: Path, capsys) -> None:
    save_dataset(tmp_path)
    first_good(tmp_path).rename(tmp_path / "train" / "good" / os.fsdecode(b"Pr\xfcfling.png"))

    assert data_command(["check", str(tmp_path), "--json", str(tmp_path / "check.json")]) == 2

    assert "ling.png: its name is not UTF-8" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (duplicate, "train/good/copy.png: like {}/train/good/000.png"),
        (leak, "test/good/copy.png: like {}/train/good/000.png"),
        (near_duplicate, "train/good/again.jpg: like {}/train/good/000.png"),
        (near_leak, "test/good/again.jpg: like {}/train/good/000.png"),
    ],
)
def test_a_picture_that_is_there_twice_is_named_with_the_other(tmp_path: Path, damage, named: str) -> None:
    damage(save_dataset(tmp_path))

    assert f"{tmp_path}/{named.format(tmp_path)}" in explain(check(tmp_path))


@pytest.mark.parametrize(("name", "told"), [("a\nb.png", "a\\nb.png"), ("a\x1b[2J.png", "a\\x1b[2J.png")], ids=["line", "escape"])
def test_a_name_that_would_break_a_table_is_refused_on_one_line(tmp_path: Path, name: str, told: str) -> None:
    save_dataset(tmp_path)
    first_good(tmp_path).rename(tmp_path / "train" / "good" / name)

    text = explain(check(tmp_path))

    assert f"{told}: its name has a line break or a control character: rename it" in text
    assert name not in text


@pytest.mark.parametrize("name", ["two\nlines", "Ri\udcdf"], ids=["line", "not-utf-8"])
def test_a_class_that_no_table_can_name_is_refused(tmp_path: Path, capsys, name: str) -> None:
    (save_dataset(tmp_path) / "test" / "scratch").rename(tmp_path / "test" / name)

    assert data_command(["check", str(tmp_path)]) == 2

    said = capsys.readouterr().out
    assert "error: 1 folder(s) cannot be used; repair or remove them:" in said
    assert ": rename it" in said


def class_emptied(root: Path) -> None:
    [file.unlink() for file in (root / "test" / "good").rglob("*.png")]


def depth_gone(root: Path) -> None:
    (root / "test" / "hole" / "xyz" / "001.tiff").unlink()


@pytest.mark.parametrize(
    ("make", "damage", "told", "train"),
    [
        (save_dataset, class_emptied, "test/good: no photographs in this class", 6),
        (save_mvtec3d, depth_gone, "expected its depth in", 4),
    ],
    ids=["MVTec AD", "MVTec 3D-AD"],
)
def test_a_test_set_that_is_not_whole_is_one_error_and_the_rest_is_told(
    tmp_path: Path, make, damage, told: str, train: int
) -> None:
    damage(make(tmp_path))

    found = check(tmp_path)

    assert [(f.weight, f.kind) for f in found.findings] == [("error", "test-refused")]
    assert told in found.findings[0].message
    assert (found.usable, found.train) == (False, train)


def test_depth_that_is_cut_off_is_an_error_that_names_its_file(tmp_path: Path) -> None:
    file = save_mvtec3d(tmp_path) / "train" / "good" / "xyz" / "003.tiff"
    file.write_bytes(file.read_bytes()[:2000])

    found = check(tmp_path)

    assert [(f.weight, f.kind, f.files) for f in found.findings] == [("error", "unreadable", (str(file),))]
    assert str(file) in explain(found)


def test_depth_of_another_size_than_its_photograph_is_an_error_that_names_its_file(tmp_path: Path) -> None:
    file = save_mvtec3d(tmp_path) / "train" / "good" / "xyz" / "003.tiff"
    save_grey(file, np.ones((79, 96, 3), np.float32))

    found = check(tmp_path)

    assert [(f.weight, f.kind, f.files) for f in found.findings] == [("error", "unreadable", (str(file),))]
    assert f"{file}: depth is 96x79 px, its image 96x80" in explain(found)


def test_spaces_and_letters_of_any_language_are_fit_for_a_name(tmp_path: Path) -> None:
    name = "Prüfling Größe 2\N{NARROW NO-BREAK SPACE}検査.png"  # as a Mac names its screenshots
    save_dataset(tmp_path)
    first_good(tmp_path).rename(tmp_path / "train" / "good" / name)

    assert check(tmp_path).findings == ()


def a_pipe(file: Path) -> None:
    os.mkfifo(file)


def a_link_to_a_drive_that_is_gone(file: Path) -> None:
    file.symlink_to("/media/stick/IMG_0815.JPG")


@pytest.mark.timeout(20)  # reading a pipe waits for ever
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (a_pipe, "a folder, pipe or device, expected a photograph: rename or remove it"),
        (Path.mkdir, "a folder, pipe or device, expected a photograph: rename or remove it"),
        (a_link_to_a_drive_that_is_gone, "a link that leads nowhere: is a drive missing? Else remove it"),
    ],
    ids=["pipe", "folder", "link"],
)
def test_what_is_no_file_is_refused_and_never_read(tmp_path: Path, make, reason: str) -> None:
    make(save_dataset(tmp_path) / "train" / "good" / "IMG_0815.jpg")

    (found,) = check(tmp_path).findings

    assert (found.weight, found.kind) == ("error", "unreadable")
    assert found.reasons == (f"{tmp_path}/train/good/IMG_0815.jpg: {reason}",)


def test_parts_that_are_all_held_out_leave_none_to_learn_from(tmp_path: Path) -> None:
    save_dataset(tmp_path)
    shutil.copytree(tmp_path / "train" / "good", tmp_path / "validation" / "good")

    found = check(tmp_path)

    assert not found.usable
    assert "0 good photographs to learn from beside 12 others held out" in found.findings[0].message


def test_reading_is_shown_while_it_lasts(tmp_path: Path) -> None:
    seen = io.StringIO()

    check(save_dataset(tmp_path), progress=Lines(seen))

    assert seen.getvalue().startswith("photographs: 20 in ")


def test_two_parts_that_differ_in_one_scratch_are_no_near_duplicates(tmp_path: Path) -> None:
    save_dataset(tmp_path)
    save(tmp_path / "test" / "scratch" / "of_000.png", scratched(plate(0)))

    assert "near-leak" not in {f.kind for f in check(tmp_path).findings}


def test_photographs_of_which_none_can_be_read_are_named(tmp_path: Path, capsys) -> None:
    (tmp_path / "cut off.jpg").write_bytes(b"\xff\xd8\xff")

    assert data_command(["check", str(tmp_path)]) == 2

    said = capsys.readouterr().out
    assert "error: 1 cannot be read: repair or remove" in said
    assert "0 different good photographs, at least 4 are needed" in said


def test_near_duplicates_are_those_of_which_no_pixel_differs_much_however_many_there_are() -> None:
    random = np.random.default_rng(0)
    parts = random.uniform(0, 255, (400, 1, 1)) + random.normal(
        0, 30, (400, 32, 32)
    )  # in each light; more than one block of rows
    moved = parts[:200] + random.uniform(-1, 1, (200, 32, 32)) * random.uniform(2.9, 3.1, (200, 1, 1))  # the limit is 3
    thumbnails = np.concatenate([parts, moved]).astype(np.float32)
    photographs = [Photograph(Path(f"{k}.png"), str(k), 32, 32, 0) for k in range(600)]
    seen = [Seen("train", p, "", True, 0.0, t) for p, t in zip(photographs, thumbnails, strict=True)]

    (found,) = nearly_equal(seen)

    largest = [float(np.abs(thumbnails[:k] - thumbnails[k]).max(axis=(1, 2), initial=0).min(initial=np.inf)) for k in range(600)]
    assert found.files == tuple(f"{k}.png" for k, difference in enumerate(largest) if difference < 3)
    assert 0 < len(found.files) < 200
