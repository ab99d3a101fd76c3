"""Folders of photographs: what is accepted, how it is split, and how what is wrong is named."""

import hashlib
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_dataset import plate, save, save_dataset
from small_layouts import save_mvtec3d

from training.data import (
    DataError,
    Photograph,
    divided,
    good_parts,
    input_contract,
    load,
    load_original,
    unseen_parts,
    way_to_hold_out,
)
from training.drawings import read_mask


def plain_folder(root: Path, n: int = 8) -> Path:
    for k in range(n):
        save(root / f"{k}.png", plate(k))
    return root


def photograph(width: int, height: int, brightest: int = 0) -> Photograph:
    return Photograph(Path(f"{width}x{height}.png"), "", width, height, brightest)


def empty_folder(root: Path) -> None:
    root.mkdir()


def train_without_good(root: Path) -> None:
    (root / "train" / "good").mkdir(parents=True)


def something_else(root: Path) -> None:
    save(root / "pictures" / "0.png", plate(0))


def photographs_of_a_telephone(root: Path) -> None:
    root.mkdir()
    [(root / f"IMG_{k}.HEIC").write_bytes(b"ftypheic") for k in range(3)]


def all_held_out_by_hand(root: Path) -> None:
    save(root / "train" / "good" / "0.png", plate(0))
    [save(root / "validation" / "good" / f"{k}.png", plate(500 + k)) for k in range(4)]


def too_few(root: Path) -> None:
    plain_folder(root, 3)


def text_named_png(root: Path) -> None:
    (plain_folder(root) / "notes.png").write_text("this is no picture")


def broken_file(root: Path) -> None:
    whole = (plain_folder(root) / "0.png").read_bytes()
    (root / "broken.png").write_bytes(whole[:40])


def empty_file(root: Path) -> None:
    (plain_folder(root) / "empty.png").touch()


def thumbnail(root: Path) -> None:
    save(plain_folder(root) / "thumbnail.png", plate(99, 20, 18))


def turned_strip(root: Path) -> None:
    save(plain_folder(root) / "strip.png", plate(99, 96, 17))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda root: None, "no such folder"),
        (empty_folder, "the folder is empty"),
        (train_without_good, "no good photographs"),
        (something_else, r"unknown layout, .* found photographs in pictures/ \(1\): name the folder of the good ones"),
        (photographs_of_a_telephone, r"unknown layout, .* found 3 \.HEIC, which is not read: save them as JPEG or PNG"),
        (all_held_out_by_hand, "1 good photographs to learn from beside 4 others"),
        (too_few, "3 different good photographs"),
        (text_named_png, "notes.png"),
        (broken_file, "broken.png"),
        (empty_file, "empty.png: the file is empty"),
        (thumbnail, "thumbnail.png: 20x18 px"),
        (turned_strip, "strip.png: 96x17 px"),
    ],
    ids=[
        "missing",
        "empty",
        "no-good",
        "unknown-layout",
        "heic",
        "held-out",
        "too-few",
        "text",
        "broken",
        "empty-file",
        "thumbnail",
        "aspect",
    ],
)
def test_what_cannot_be_used_is_named_with_its_reason(tmp_path: Path, make, named: str) -> None:
    make(tmp_path / "data")

    with pytest.raises(DataError, match=named):
        good_parts(tmp_path / "data", seed=0)


def test_ten_of_many_bad_files_are_listed_and_all_are_counted(tmp_path: Path) -> None:
    plain_folder(tmp_path)
    [(tmp_path / f"bad{k:02}.png").write_text("no") for k in range(12)]

    with pytest.raises(DataError, match=r"(?s)^12 photograph.*bad09.*and 2 more") as caught:
        good_parts(tmp_path, seed=0)

    assert "bad10" not in str(caught.value)


def test_calibration_parts_are_never_learned_from(dataset: Path) -> None:
    parts = good_parts(dataset, seed=0)

    assert len(parts.train) == 6
    assert len(parts.calibration) == 6
    assert {p.sha256 for p in parts.train}.isdisjoint(p.sha256 for p in parts.calibration)


def test_the_split_is_decided_by_the_seed(dataset: Path) -> None:
    assert good_parts(dataset, seed=3) == good_parts(dataset, seed=3)
    assert good_parts(dataset, seed=3).train != good_parts(dataset, seed=4).train


def test_at_least_sixty_parts_are_held_out_when_there_are_enough(tmp_path: Path) -> None:
    plain_folder(tmp_path, 130)

    parts = good_parts(tmp_path, seed=0)

    assert (len(parts.train), len(parts.calibration)) == (70, 60)


def test_validation_parts_go_to_calibration_first(tmp_path: Path) -> None:
    save_dataset(tmp_path, n_good=9)
    [save(tmp_path / "validation" / "good" / f"{k}.png", plate(500 + k)) for k in range(3)]

    parts = good_parts(tmp_path, seed=0)

    assert [p.path.parent.parent.name for p in parts.calibration] == ["validation"] * 3 + ["train"] * 3
    assert len(parts.train) == 6


@pytest.mark.parametrize(
    ("needed", "by_hand", "total", "said", "more_by_hand", "more"),
    [
        (299, 0, 92, "put 299 more good photographs into validation/good", 299, 0),
        (299, 29, 239, "put 270 more good photographs into validation/good", 270, 0),
        (299, 0, 1400, "add 95 good photographs", 0, 95),
        (59, 0, 92, "add 26 good photographs", 0, 26),
        (99, 0, 92, "put 99 more good photographs into validation/good", 99, 0),
    ],
)
def test_who_does_as_told_has_so_many_held_out(
    tmp_path: Path, needed: int, by_hand: int, total: int, said: str, more_by_hand: int, more: int
) -> None:
    files = [tmp_path / f"{k:04}.png" for k in range(total + more_by_hand + more)]
    [file.touch() for file in files]
    parts = [Photograph(file, file.name, 32, 32, 0) for file in files]
    n_by_hand = by_hand + more_by_hand

    assert way_to_hold_out(needed, by_hand, total, "validation/good").startswith(said)

    assert len(divided(tmp_path, parts[:n_by_hand], parts[n_by_hand:], [], seed=0).calibration) == needed


def test_a_picture_that_is_twice_among_the_good_ones_is_used_once_and_reported(tmp_path: Path) -> None:
    plain_folder(tmp_path)
    shutil.copy(tmp_path / "3.png", tmp_path / "copy_of_3.png")

    parts = good_parts(tmp_path, seed=0)

    assert parts.duplicates == ((tmp_path / "copy_of_3.png", tmp_path / "3.png"),)
    assert len(parts.train) + len(parts.calibration) == 8


@pytest.mark.parametrize("place", ["test/good/leak.png", "test/scratch/leak.png"])
def test_a_good_picture_that_is_also_in_the_test_set_is_refused(tmp_path: Path, place: str) -> None:
    save_dataset(tmp_path)
    shutil.copy(tmp_path / "train" / "good" / "002.png", tmp_path / place)

    with pytest.raises(DataError, match=r"leak\.png: the same picture as .*002\.png"):
        good_parts(tmp_path, seed=0)


def test_defect_pictures_are_not_even_decoded_for_a_fit(tmp_path: Path) -> None:
    save_dataset(tmp_path)
    (tmp_path / "test" / "scratch" / "000.png").write_text("would raise if it were read")

    assert len(good_parts(tmp_path, seed=0).train) == 6


def test_sizes_of_the_photographs_are_widened_by_a_quarter_and_the_aspect_by_a_tenth() -> None:
    contract = input_contract([photograph(100, 100), photograph(200, 100)], size=64, fit="pad")

    assert (contract.min_width, contract.max_width) == (80, 250)
    assert (contract.min_height, contract.max_height) == (80, 125)
    assert (contract.min_aspect, contract.max_aspect) == pytest.approx((1 / 1.1, 2.2))
    assert (contract.width, contract.height, contract.fit) == (64, 64, "pad")


@pytest.mark.parametrize(("brightest", "white"), [(0, 1023), (1023, 1023), (1024, 4095), (16000, 16383), (65535, 65535)])
def test_the_white_level_is_the_smallest_full_scale_that_holds_the_brightest_pixel(brightest: int, white: int) -> None:
    assert input_contract([photograph(50, 50, 0), photograph(50, 50, brightest)], size=64).white_level == white


def test_a_16_bit_grey_photograph_is_scaled_by_its_camera_and_not_by_itself(tmp_path: Path) -> None:
    grey = plate(0)[..., 0].astype(np.uint16) * 16  # 12 bit
    [cv2.imwrite(str(tmp_path / f"{k}.png"), grey + k) for k in range(5)]
    parts = good_parts(tmp_path, seed=0)
    contract = input_contract(parts.train, size=64)

    original = load_original(parts.train[0], contract)

    assert contract.white_level == 4095
    assert original.shape == (80, 96, 3)
    assert np.abs(original[..., 0].astype(int) - plate(0)[..., 0]).max() <= 1  # 255 / 4095 against 1 / 16, and rounding
    assert load(parts.train[0], contract).shape == (64, 64, 3)


def test_a_photograph_is_turned_as_its_exif_tag_says(tmp_path: Path) -> None:
    plain_folder(tmp_path, 5)
    jpeg = cv2.imencode(".jpg", plate(0, width=80, height=96))[1].tobytes()
    tag = b"Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
    (tmp_path / "turned.jpg").write_bytes(jpeg[:2] + b"\xff\xe1" + (len(tag) + 2).to_bytes(2, "big") + tag + jpeg[2:])

    parts = good_parts(tmp_path, seed=0)

    assert {(p.width, p.height) for p in (*parts.train, *parts.calibration)} == {(96, 80)}


def test_test_parts_know_their_defect_and_their_mask(dataset: Path) -> None:
    parts = unseen_parts(dataset)

    assert [p.defect for p in parts] == [None] * 4 + ["scratch"] * 4
    assert not read_mask(parts[0]).any()
    assert read_mask(parts[-1]).shape == (80, 96)
    assert read_mask(parts[-1]).any()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("000.png", 255, True), ("000_mask.png", 1, True), ("000_mask.png", 0, False), ("other.png", 255, False)],
    ids=["plain-stem", "small-values", "empty", "missing"],
)
def test_a_mask_is_found_by_its_stem_and_an_empty_one_counts_as_missing(
    tmp_path: Path, name: str, value: int, expected: bool
) -> None:
    save_dataset(tmp_path)
    shutil.rmtree(tmp_path / "ground_truth")
    save(tmp_path / "ground_truth" / "scratch" / name, np.full((80, 96, 3), value, np.uint8))

    mask = read_mask(next(p for p in unseen_parts(tmp_path) if p.defect))

    assert (mask is not None) == expected


def test_a_mask_of_another_size_is_an_error_that_names_it(tmp_path: Path) -> None:
    save_dataset(tmp_path)
    save(tmp_path / "ground_truth" / "scratch" / "000_mask.png", np.full((10, 10, 3), 255, np.uint8))

    with pytest.raises(DataError, match=r"000_mask\.png: 10x10 px"):
        read_mask(next(p for p in unseen_parts(tmp_path) if p.defect))


def test_masks_that_fit_no_photograph_are_named_all_at_once_before_anything_is_inspected(tmp_path: Path) -> None:
    save_dataset(tmp_path)
    save(tmp_path / "ground_truth" / "scratch" / "000_mask.png", np.full((10, 10, 3), 255, np.uint8))
    (tmp_path / "ground_truth" / "scratch" / "002_mask.png").write_text("no picture")

    with pytest.raises(DataError) as told:
        unseen_parts(tmp_path)

    assert "000_mask.png: 10x10 px" in str(told.value)
    assert "002_mask.png: not an image" in str(told.value)


def test_a_data_set_without_a_test_folder_cannot_be_evaluated(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no test/ folder"):
        unseen_parts(plain_folder(tmp_path))


def test_depth_is_part_of_the_hash_where_it_was_used(tmp_path: Path) -> None:
    data = save_mvtec3d(tmp_path)
    before = good_parts(data, seed=0)
    plain, with_depth = before.data_sha256(), before.data_sha256(depth=True)

    file = before.calibration[0].depth
    assert file is not None
    file.write_bytes(before.train[0].path.read_bytes())

    after = good_parts(data, seed=0)
    assert after.data_sha256() == plain != with_depth
    assert after.data_sha256(depth=True) != with_depth


def test_the_hash_of_the_data_depends_on_what_is_used_for_what(dataset: Path) -> None:
    assert good_parts(dataset, seed=0).data_sha256() == good_parts(dataset, seed=0).data_sha256()
    assert good_parts(dataset, seed=0).data_sha256() != good_parts(dataset, seed=1).data_sha256()
    assert (
        good_parts(dataset, seed=0).train[0].sha256
        == hashlib.sha256((dataset / "train/good" / good_parts(dataset, seed=0).train[0].path.name).read_bytes()).hexdigest()
    )
