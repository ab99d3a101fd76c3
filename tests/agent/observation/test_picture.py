"""What a screen gets: small, in the photograph's proportions, whatever the photograph."""

import cv2
import numpy as np
import pytest

from agent.observation.picture import small_photograph


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1280, 1024), (640, 512)),
        ((2448, 2048), (816, 682)),
        ((1001, 700), (1001, 700)),
        ((64, 64), (64, 64)),
        ((1603, 1), (1603, 1)),
        ((5000, 3), (1666, 1)),
    ],
    ids=["SXGA", "five megapixels", "little wider than the screen", "small", "one row", "three rows"],
)
def test_a_photograph_is_shrunk_by_a_whole_number(size: tuple[int, int], expected: tuple[int, int]) -> None:
    width, height = size

    shown = cv2.imdecode(np.frombuffer(small_photograph(np.full((height, width, 3), 90, np.uint8)), np.uint8), cv2.IMREAD_COLOR)

    assert (shown.shape[1], shown.shape[0]) == expected
    assert abs(float(shown.mean()) - 90) <= 2  # of 255; what a JPEG may change


def test_a_small_defect_is_still_there_when_the_photograph_is_shrunk() -> None:
    image = np.zeros((1024, 1280, 3), np.uint8)
    image[511, 641] = 255  # one pixel: a picture that takes every second one would lose it

    shown = cv2.imdecode(np.frombuffer(small_photograph(image), np.uint8), cv2.IMREAD_COLOR)

    assert shown.max() > 20  # a quarter of 255, less what a JPEG takes
