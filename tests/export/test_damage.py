import numpy as np
import pytest
from small_dataset import plate

from export.damage import KINDS, damage, dented


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_where_its_mask_says_and_small(kind: str) -> None:
    image = plate(0, 256, 192)

    found = [damage(image, kind, (0, k)) for k in range(20)]

    changed = [np.abs(d.image.astype(int) - image).max(axis=2) for d in found]
    assert all((c[d.mask] >= 12).all() and (c[~d.mask] < 12).all() for c, d in zip(changed, found, strict=True))
    assert all(d.mask.mean() < 0.2 for d in found)
    assert sum(d.mask.any() for d in found) >= 15  # a few are painted in the color that was there


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_damage(kind: str) -> None:
    image = plate(0)

    first, again, other = (damage(image, kind, seed).image for seed in ((0, 1), (0, 1), (0, 2)))

    assert (first == again).all()
    assert (first != other).any()


def test_a_dent_moves_only_what_was_measured() -> None:
    depth, mask = np.array([[0.0, 0.5], [0.5, 0.5]], np.float32), np.array([[True, True], [False, False]])

    assert dented(depth, mask).tolist() == [[0.0, pytest.approx(0.504)], [0.5, 0.5]]
