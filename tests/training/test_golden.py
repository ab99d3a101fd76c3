from pathlib import Path

import cv2
import numpy as np
import pytest
from small_dataset import plate

from training.golden import paint_blob, paint_scratch
from training.run import open_run


def test_golden_photographs_have_their_own_size_and_two_are_damaged(run_folder: Path) -> None:
    golden = open_run(run_folder).golden

    assert [p.name for p in golden] == [*(f"good_{k}.png" for k in range(4)), "damaged_0.png", "damaged_1.png"]
    assert {cv2.imread(str(p)).shape for p in golden} == {(80, 96, 3)}


@pytest.mark.parametrize("paint", [paint_blob, paint_scratch])
def test_painted_defects_are_seeded_small_and_visible(paint) -> None:
    image = plate(0, 200, 150)

    damaged = paint(image, np.random.default_rng(1))

    changed = (damaged != image).any(axis=2).mean()
    assert np.array_equal(damaged, paint(image, np.random.default_rng(1)))
    assert 0.002 < changed < 0.05
    assert np.abs(damaged.astype(int) - image).max() > 80
