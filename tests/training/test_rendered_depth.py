"""Drawn depth: what a camera above the belt would measure, and defects that no picture shows."""

from pathlib import Path

import numpy as np
import pytest
from numpy.random import SeedSequence, default_rng

from agent.preprocess import read_depth
from training.data import good_parts, unseen_parts
from training.rendered_depth import DEPTH_DEFECTS, draw_with_depth, write_depth_dataset
from training.rendered_parts import draw

SEED = SeedSequence(0, spawn_key=(1, 2))


def test_a_part_stands_above_its_belt_by_some_millimetres() -> None:
    _, depth = draw_with_depth(SEED, None, 320, 240)

    measured = depth[depth > 0]
    belt, plate = np.percentile(measured, 95), np.percentile(measured, 30)
    assert depth.dtype == np.float32
    assert depth.shape == (240, 320)
    assert belt == pytest.approx(0.5, abs=0.001)
    assert 0.007 < belt - plate < 0.03  # beyond what AST takes for background


def test_some_pixels_were_not_measured() -> None:
    _, depth = draw_with_depth(SEED, None, 320, 240)

    assert 0.001 < (depth == 0).mean() < 0.1


@pytest.mark.parametrize("defect", DEPTH_DEFECTS)
def test_the_picture_of_a_bent_part_is_that_of_a_good_one_and_its_depth_is_not(defect: str) -> None:
    good, flat = draw_with_depth(SEED, None, 320, 240)

    bent, depth = draw_with_depth(SEED, defect, 320, 240)

    both = (flat > 0) & (depth > 0) & (bent.mask > 0)
    moved = float(np.median(flat[both] - depth[both]))
    assert np.array_equal(bent.image, good.image)
    assert {"bulge": moved, "sunken": -moved}[defect] > 0.0005
    assert 0.005 < (bent.mask > 0).mean() < 0.2


def test_the_picture_is_the_one_that_is_drawn_without_depth() -> None:
    part, _ = draw_with_depth(SEED, "scratch", 320, 240)

    assert np.array_equal(part.image, draw(default_rng(SeedSequence(0, spawn_key=(1, 2))), "scratch", 320, 240).image)


def test_the_same_seed_measures_the_same() -> None:
    assert np.array_equal(draw_with_depth(SEED, "bulge", 160, 120)[1], draw_with_depth(SEED, "bulge", 160, 120)[1])


def test_an_unknown_defect_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown defect 'hole'"):
        draw_with_depth(SEED, "hole", 160, 120)


def test_a_data_set_has_the_layout_of_mvtec_3d(tmp_path: Path) -> None:
    write_depth_dataset(tmp_path, 0, train_good=4, test_good=1, defects_each=1, width=160, height=120)

    train, test = good_parts(tmp_path, seed=0), unseen_parts(tmp_path)

    assert {p.path.parent.name for p in train.train} == {"rgb"}
    assert {p.defect for p in test} == {None, "bulge", "sunken", "dent", "missing_print", "scratch", "stain", "wrong_order"}
    assert all(p.depth is not None and read_depth(p.depth).shape == (120, 160) for p in test)
    assert all(p.mask is not None for p in test if p.defect)
