"""What is wrong with a photograph: found where a camera is at fault, and not where a part is."""

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from agent.inspection import Image
from agent.watch import Repeats, Usual, look_of, usual_of, what_is_wrong

images = arrays.arrays(np.uint8, st.tuples(st.integers(3, 40), st.integers(3, 40), st.just(3)))


def part(seed: int, shift: int = 0) -> Image:
    """(240, 320, 3): an orange ring with marks on grey ground, with a sensor's noise and a place of its own by a few px."""
    random = np.random.default_rng(seed)
    image = np.full((240, 320, 3), 60, np.uint8)
    x, y = 150 + shift + int(random.integers(-3, 4)), 120 + int(random.integers(-3, 4))
    cv2.circle(image, (x, y), 80, (200, 130, 40), -1)
    cv2.circle(image, (x, y), 35, (70, 70, 70), -1)
    cv2.putText(image, "K7", (x - 20, y - 45), cv2.FONT_HERSHEY_SIMPLEX, 1, (250, 250, 250), 2)
    return np.clip(image + random.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


USUAL = usual_of([look_of(part(seed)) for seed in range(30)])


def with_defect(image: Image) -> Image:
    damaged = image.copy()
    cv2.line(damaged, (90, 90), (220, 150), (20, 20, 20), 6)
    cv2.circle(damaged, (190, 160), 22, (240, 240, 240), -1)
    return damaged


@given(st.integers(1000, 100_000))
@settings(max_examples=30)  # a busy machine
def test_good_parts_that_were_not_among_those_measured_have_nothing_wrong(seed: int) -> None:
    assert what_is_wrong(part(seed), USUAL) == ""


def test_a_part_with_a_defect_is_the_models_business() -> None:
    assert what_is_wrong(with_defect(part(77)), USUAL) == ""


@pytest.mark.parametrize(
    ("spoiled", "says"),
    [
        pytest.param(np.zeros_like, "too dark", id="light off"),
        pytest.param(lambda image: (image * 0.3).astype(np.uint8), "too dark", id="a third of the light"),
        pytest.param(lambda image: np.full_like(image, 255), "too bright", id="saturated"),
        pytest.param(lambda image: np.clip(image * 6.0, 0, 255).astype(np.uint8), "too bright", id="overexposed"),
        pytest.param(lambda image: np.full_like(image, 90), "nothing to be seen", id="covered"),
        pytest.param(lambda image: image[..., ::-1].copy(), "other colors", id="channels in another order"),
        pytest.param(lambda image: cv2.GaussianBlur(image, (0, 0), 6), "out of focus", id="blurred"),
        pytest.param(lambda image: part(9, shift=70), "another scene", id="moved"),
        pytest.param(
            lambda image: np.ascontiguousarray(np.rot90(image, 2)), "", id="turned by 180 degrees is the models business"
        ),
    ],
)
def test_c7_a_photograph_unlike_all_others_is_told_of_with_the_reason(spoiled, says: str) -> None:
    wrong = what_is_wrong(spoiled(part(123)), USUAL)

    assert wrong.startswith(says)


@given(images)
def test_every_image_can_be_looked_at_and_is_as_usual_as_itself(image: Image) -> None:
    assert what_is_wrong(image, usual_of([look_of(image)])) == ""


@given(images, images)
def test_more_good_parts_never_make_the_guard_stricter_but_for_the_place(image: Image, other: Image) -> None:
    """The place is told from the mean picture, which another part changes; it is left out here."""
    alone = usual_of([look_of(image)])
    both = msgspec.structs.replace(usual_of([look_of(image), look_of(other)]), likeness=alone.likeness, picture=alone.picture)

    assert what_is_wrong(image, both) == ""


def test_what_lies_around_the_region_is_no_fault_of_the_camera_and_what_lies_in_it_is() -> None:
    within = (0.25, 0.25, 0.75, 0.75)
    usual = usual_of([look_of(part(seed), within) for seed in range(30)], within)
    height, width = part(5).shape[:2]
    is_inside = np.zeros((height, width, 1), bool)
    is_inside[height // 4 : height - height // 4, width // 4 : width - width // 4] = True

    assert what_is_wrong(np.where(is_inside, part(5), np.uint8(255)), usual) == ""
    assert what_is_wrong(np.where(is_inside, np.uint8(0), part(5)), usual).startswith("too dark")
    assert what_is_wrong(part(5), usual) == ""


def test_what_is_usual_travels_as_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(USUAL), type=Usual) == USUAL


@given(st.lists(st.sampled_from([0, 1]), min_size=1, max_size=30))
def test_c4_repeats_counts_equal_images_in_a_row(levels: list[int]) -> None:
    repeats = Repeats()
    for level in levels:
        repeats = repeats.after(np.full((6, 6), level, np.uint8))

    last = levels[-1]
    reverse = levels[::-1]
    assert repeats.times == (reverse.index(1 - last) if 1 - last in reverse else len(levels))


@pytest.mark.parametrize("place", [(0, 0), (5, 5)], ids=["first row", "last row"])
def test_c4_one_pixel_that_differs_is_another_image(place: tuple[int, int]) -> None:
    image = np.zeros((6, 6), np.uint8)
    other = image.copy()
    other[place] = 1

    assert Repeats().after(image).after(other).times == 1
