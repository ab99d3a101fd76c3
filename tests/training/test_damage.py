import numpy as np
import pytest
from small_dataset import plate

from training.damage import KINDS, damage, dented

EVERYWHERE = np.ones((192, 256), np.bool_)


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_where_its_mask_says_and_small(kind: str) -> None:
    image = plate(0, 256, 192)

    found = [damage(image, kind, (0, k), EVERYWHERE) for k in range(20)]

    changed = [np.abs(d.image.astype(int) - image).max(axis=2) for d in found]
    assert all((c[d.mask] >= 12).all() and (c[~d.mask] < 12).all() for c, d in zip(changed, found, strict=True))
    assert all(d.mask.mean() < 0.2 for d in found)
    assert sum(d.mask.any() for d in found) >= 15  # a few are painted in the color that was there


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_painted_where_the_part_is_inspected_and_nowhere_else(kind: str) -> None:
    image, inside = plate(0, 256, 192), np.zeros((192, 256), np.bool_)
    inside[100:140, 200:256] = inside[20:40, :40] = True

    found = [damage(image, kind, (0, k), inside) for k in range(20)]

    assert all((d.image == image)[~inside].all() and not d.mask[~inside].any() for d in found)
    assert sum(d.mask.any() for d in found) >= 15  # a few are painted in the color that was there


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_damage(kind: str) -> None:
    image = plate(0, 256, 192)

    first, again, other = (damage(image, kind, seed, EVERYWHERE).image for seed in ((0, 1), (0, 1), (0, 2)))

    assert (first == again).all()
    assert (first != other).any()


def test_a_dent_moves_only_what_was_measured() -> None:
    depth, mask = np.array([[0.0, 0.5], [0.5, 0.5]], np.float32), np.array([[True, True], [False, False]])

    assert dented(depth, mask).tolist() == [[0.0, pytest.approx(0.504)], [0.5, 0.5]]
