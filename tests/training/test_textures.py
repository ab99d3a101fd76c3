"""Drawn textures: seeded, varied, fast enough that drawing never holds up the learning."""

import time

import numpy as np
import pytest

from training import textures
from training.textures import draw_texture

SEEDS = range(12)


def test_the_same_seed_draws_the_same_texture_and_another_seed_another() -> None:
    first, second, other = (draw_texture(np.random.default_rng(seed)) for seed in (3, 3, 4))

    assert np.array_equal(first, second)
    assert first.shape != other.shape or not np.array_equal(first, other)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_texture_is_a_picture_with_something_in_it(seed: int) -> None:
    picture = draw_texture(np.random.default_rng(seed))

    assert (picture.dtype, picture.shape[2]) == (np.uint8, 3)
    assert min(picture.shape[:2]) >= textures.CANVAS_PX
    assert picture.std() > 2


@pytest.mark.parametrize("kind", sorted(set(textures._KINDS), key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__)
def test_each_kind_is_finite_and_mostly_within_the_range_of_a_picture(kind) -> None:
    drawn = np.stack([kind(np.random.default_rng(seed)) for seed in range(6)])

    assert drawn.dtype == np.float32
    assert drawn.shape[1:] == (textures.CANVAS_PX, textures.CANVAS_PX, 3)
    assert np.isfinite(drawn).all()
    assert ((drawn > -0.02) & (drawn < 1.02)).mean() > 0.5  # the rest is clipped: overexposed, as in photographs


def test_drawing_takes_a_few_milliseconds_per_crop() -> None:
    times_ms = []
    for seed in SEEDS:
        start = time.perf_counter()
        draw_texture(np.random.default_rng(seed))
        times_ms.append((time.perf_counter() - start) * 1e3)

    assert np.median(times_ms) / 16 < 25  # 16 crops per texture; about 3 ms on an idle core, a shared one may be far slower
