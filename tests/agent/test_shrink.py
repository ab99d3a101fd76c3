"""Photographs shrunk by several cores: the same bits, no waiting for a helper that has no time, no thread left behind."""

import threading
from collections.abc import Iterator
from fractions import Fraction
from typing import Literal

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.inspection import Image
from agent.preprocess import InputContract, prepare
from agent.shrink import Helpers, alone, strips

BIG = (1080, 1920)  # 1.5 rows of pixels to each of 720
SIZES = st.tuples(*[st.integers(1, 700)] * 2, *[st.sampled_from([16, 24, 32, 64, 100, 128])] * 2)


def noise(height: int, width: int) -> Image:
    return np.random.default_rng(height * 10_000 + width).integers(0, 256, (height, width, 3), np.uint8)


def as_opencv_does(image: Image, size: tuple[int, int]) -> Image:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


@pytest.fixture(scope="module", params=[1, 3], ids=["one helper", "three helpers"])
def helpers(request: pytest.FixtureRequest) -> Iterator[Helpers]:
    with Helpers(request.param, worthwhile_bytes=0) as opened:
        yield opened


@given(SIZES)
@example((540, 960, 128, 128))  # halves and quarters
@example((512, 640, 128, 128))  # whole pixels
@example((541, 333, 64, 64))  # no cut falls between rows
@example((98, 98, 64, 64))  # 98 is no number of which OpenCV's doubles hold all multiples
def test_every_bit_is_as_opencv_shrinks_the_whole(helpers: Helpers, sizes: tuple[int, int, int, int]) -> None:
    height, width, h, w = sizes
    image, size = noise(height, width), (min(w, width), min(h, height))

    found = helpers(image, size)

    assert np.array_equal(found, as_opencv_does(image, size))


@given(SIZES, st.integers(0, 50), st.integers(0, 50))
def test_a_crop_is_shrunk_as_its_copy_is(helpers: Helpers, sizes: tuple[int, int, int, int], x: int, y: int) -> None:
    height, width, h, w = sizes
    crop, size = noise(height + 50, width + 50)[y : y + height, x : x + width], (min(w, width), min(h, height))

    found = helpers(crop, size)

    assert np.array_equal(found, as_opencv_does(crop.copy(), size))


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("size", [(540, 960), (541, 333), (200, 900)], ids=str)
def test_the_network_is_given_the_same_pixels(
    helpers: Helpers, fit: Literal["stretch", "pad", "crop"], size: tuple[int, int]
) -> None:
    contract, image = InputContract(256, 256, 1, 999, 1, 999, 0.1, 9.0, fit=fit), noise(*size)

    found = prepare(image, contract, helpers)

    assert np.array_equal(found, prepare(image, contract))


@pytest.mark.parametrize(
    "image", [np.zeros((540, 960, 3), np.uint8), np.full((540, 960, 3), 255, np.uint8)], ids=["black", "white"]
)
def test_flat_photographs_stay_flat(helpers: Helpers, image: Image) -> None:
    assert np.array_equal(helpers(image, (128, 128)), np.broadcast_to(image[0, 0], (128, 128, 3)))


@pytest.mark.parametrize("most", [2, 4])
@given(st.integers(1, 5000), st.integers(1, 640))
def test_strips_follow_each_other_and_begin_between_rows_of_both(most: int, before: int, after: int) -> None:
    after = min(before, after)

    found = strips(before, after, most)

    assert 1 <= len(found) <= most
    assert [a.start for a, _ in found] == [0, *(a.stop for a, _ in found[:-1])]
    assert found[-1][0].stop == before
    assert {Fraction(a.stop, b.stop) for a, b in found} == {Fraction(before, after)}


@pytest.mark.parametrize("height", [480, 720, 960, 1024, 1080, 1200, 1536, 2048, 2160, 3000, 3648], ids=str)
def test_the_usual_cameras_are_shrunk_in_halves_or_more_for_networks_of_256_px(height: int) -> None:
    assert len(strips(height, 256, 4)) >= 2


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Lets OpenCV shrink only when two threads ask it at the same time; names of these threads. A helper gets an error."""
    resize, met, names = cv2.resize, threading.Barrier(2, timeout=20), set()

    def seen(*args: object, **kwargs: object) -> object:
        names.add(threading.current_thread().name)
        met.wait()
        return resize(*args, **kwargs) if threading.current_thread() is threading.main_thread() else resize(None, None)

    monkeypatch.setattr(cv2, "resize", seen)
    return names


def test_what_goes_wrong_in_a_helper_is_an_error_of_whoever_asked(together: set[str]) -> None:
    with Helpers(1) as helpers, pytest.raises(cv2.error):
        helpers(noise(*BIG), (256, 256))

    assert together == {threading.main_thread().name, "shrink 0"}


def test_nobody_waits_for_a_helper_that_is_busy() -> None:
    image = noise(*BIG)
    never_started = Helpers(1)  # as one that gets no core

    found = never_started(image, (256, 256))

    assert np.array_equal(found, alone(image, (256, 256)))


def test_a_small_photograph_or_one_of_whole_pixels_wakes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.shrink.strips", lambda *_: pytest.fail("cut"))
    helpers = Helpers(1)

    assert helpers(noise(480, 640), (256, 256)).shape == helpers(noise(1024, 1280), (256, 256)).shape == (256, 256, 3)


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()

    with Helpers(3) as helpers:
        helpers(noise(*BIG), (256, 256))

    assert threading.active_count() == before


def test_without_helpers_there_is_no_thread() -> None:
    before = threading.active_count()

    with Helpers(0) as helpers:
        found = helpers(noise(*BIG), (256, 256))
        threads = threading.active_count()

    assert threads == before
    assert np.array_equal(found, alone(noise(*BIG), (256, 256)))
