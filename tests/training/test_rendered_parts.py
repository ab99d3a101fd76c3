"""Drawn parts are reproducible, vary naturally, and a defect differs from good only where its mask says."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from training.rendered_parts import DEFECTS, RenderedPart, draw, write_dataset

SEEDS = range(6)
# The lens blurs over 2 px of the canvas, slopes take 1 px, bilinear warping 1 px; the mask's edge is half a px.
REACH = np.ones((11, 11), np.uint8)


def part_of(seed: int, defect: str | None = None, width: int = 640, height: int = 480) -> RenderedPart:
    return draw(np.random.default_rng(seed), defect, width, height)


def pictures(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}


@pytest.mark.parametrize("defect", [None, *DEFECTS])
def test_the_same_seed_draws_the_same_picture(defect: str | None) -> None:
    first, second = part_of(3, defect), part_of(3, defect)

    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.mask, second.mask)


def test_two_good_parts_differ_by_more_than_noise() -> None:
    first, second = part_of(1).image.astype(float), part_of(2).image.astype(float)

    # Noise alone, 2.2 levels, would differ by 2.5 on average.
    assert np.abs(first - second).mean() > 4


def test_one_generator_draws_one_part_after_another() -> None:
    rng = np.random.default_rng(1)

    first, second = draw(rng), draw(rng)

    assert not np.array_equal(first.image, second.image)


def test_a_good_part_has_an_empty_mask() -> None:
    part = part_of(0)

    assert part.defect is None
    assert not part.mask.any()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_changes_no_pixel_outside_its_mask(defect: str, seed: int) -> None:
    good, flawed = part_of(seed), part_of(seed, defect)

    changed = (good.image != flawed.image).any(-1)
    outside = cv2.dilate(flawed.mask, REACH) == 0

    assert not (changed & outside).any()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_can_be_seen_in_its_mask(defect: str, seed: int) -> None:
    good, flawed = part_of(seed), part_of(seed, defect)

    difference = np.abs(good.image.astype(int) - flawed.image).max(-1)[flawed.mask > 0]

    # Tenfold the sensor's noise of 2.2 levels, in the tenth of the mask that shows it best.
    assert np.quantile(difference, 0.9) > 22


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("defect", DEFECTS)
def test_a_mask_is_binary_and_covers_something_but_less_than_a_quarter(defect: str, seed: int) -> None:
    part = part_of(seed, defect)

    assert part.defect == defect
    assert set(np.unique(part.mask)) == {0, 255}
    assert 0 < (part.mask > 0).mean() < 0.25


@pytest.mark.parametrize(("width", "height"), [(640, 480), (320, 240), (256, 256), (1280, 720)])
def test_a_part_has_the_size_asked_for(width: int, height: int) -> None:
    part = part_of(0, "dent", width, height)

    assert part.image.shape == (height, width, 3)
    assert part.mask.shape == (height, width)
    assert (part.image.dtype, part.mask.dtype) == (np.uint8, np.uint8)
    assert part.mask.any()


def test_images_are_rgb() -> None:
    red_fuse = part_of(0).image[140:180, 330:350].mean((0, 1))

    assert red_fuse[0] > red_fuse[2] + 40


def test_an_unknown_defect_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'rust'.*scratch, dent, stain, missing_print, wrong_order"):
        part_of(0, "rust")


def test_a_dataset_has_the_layout_of_mvtec_ad(tmp_path: Path) -> None:
    write_dataset(tmp_path, seed=0, train_good=2, test_good=1, defects_each=1, width=160, height=120)

    assert pictures(tmp_path) == {
        "train/good/000.png",
        "train/good/001.png",
        "test/good/000.png",
        *(f"test/{defect}/000.png" for defect in DEFECTS),
        *(f"ground_truth/{defect}/000_mask.png" for defect in DEFECTS),
    }


def test_a_part_of_a_dataset_does_not_depend_on_how_many_are_drawn(tmp_path: Path) -> None:
    write_dataset(tmp_path / "few", seed=5, train_good=1, test_good=1, defects_each=1, width=160, height=120)
    write_dataset(tmp_path / "more", seed=5, train_good=3, test_good=2, defects_each=2, width=160, height=120)

    few = {name: (tmp_path / "few" / name).read_bytes() for name in pictures(tmp_path / "few")}
    same = {name: (tmp_path / "more" / name).read_bytes() for name in few}
    assert few == same


def test_the_kinds_of_a_dataset_share_no_part(tmp_path: Path) -> None:
    write_dataset(tmp_path, seed=0, train_good=2, test_good=2, defects_each=1, width=160, height=120)

    pictured = {path.read_bytes() for path in [*tmp_path.glob("train/*/*.png"), *tmp_path.glob("test/*/*.png")]}
    assert len(pictured) == 4 + len(DEFECTS)


def test_a_written_picture_reads_back_in_the_right_colors(tmp_path: Path) -> None:
    write_dataset(tmp_path, seed=0, train_good=1, test_good=0, defects_each=0)

    red_fuse_bgr = cv2.imread(str(tmp_path / "train/good/000.png"))[140:180, 330:350].mean((0, 1))

    assert red_fuse_bgr[2] > red_fuse_bgr[0] + 40
