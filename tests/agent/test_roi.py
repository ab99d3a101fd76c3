"""What lies outside the region of interest cannot be seen; what lies inside is seen as ever."""

from typing import Literal

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.preprocess import InputContract, enlarge, inspected_cells, prepare, prepare_depth
from agent.roi import Roi, roi_of

Fit = Literal["stretch", "pad", "crop"]
BLACK = cv2.imencode(".png", np.zeros((8, 8), np.uint8))[1].tobytes()
fits = st.sampled_from(["stretch", "pad", "crop"])


def disc(width: int, height: int) -> np.ndarray:
    """A mask with a disc in its middle."""
    mask = np.zeros((height, width), np.uint8)
    return cv2.circle(mask, (width // 2, height // 2), min(width, height) // 3, 255, -1)


def contract(roi: Roi | None, fit: Fit = "stretch") -> InputContract:
    return InputContract(64, 64, 16, 512, 16, 512, 0.1, 10.0, fit=fit, roi=roi)


@given(fit=fits, seed=st.integers(0, 2**32 - 1), width=st.integers(48, 200), height=st.integers(48, 200))
def test_content_outside_never_changes_the_input_by_a_bit(fit: Fit, seed: int, width: int, height: int) -> None:
    random = np.random.default_rng(seed)
    limited = contract(roi_of(disc(100, 80)), fit)
    assert limited.roi is not None
    inside = limited.roi.mask(width, height)[..., np.newaxis] > 0
    image, other = (random.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(2))

    same = prepare(np.where(inside, image, other), limited)

    assert np.array_equal(prepare(image, limited), same)


def test_a_region_of_everything_is_no_region() -> None:
    image = np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)
    everything = contract(roi_of(np.full((80, 100), 255, np.uint8)))

    assert np.array_equal(prepare(image, everything), prepare(image, contract(None)))
    assert inspected_cells(everything, 8, 8).all()


def test_depth_outside_was_not_measured() -> None:
    limited = contract(roi_of(disc(100, 80)))

    depth = prepare_depth(np.full((80, 100), 0.5, np.float32), (100, 80), limited)

    assert depth[32, 32] == 0.5
    assert depth[0, 0] == 0.0


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
def test_the_cells_that_decide_are_those_whose_place_in_the_photograph_is_inside(fit: Fit) -> None:
    limited = contract(roi_of(disc(100, 80)), fit)
    cells = inspected_cells(limited, 8, 8)
    marked = np.where(cells, np.float32(1), np.float32(0)).repeat(8, axis=0).repeat(8, axis=1)

    over_photograph = enlarge(marked, (100, 80), contract(None, fit)) > 0.5

    mask = disc(100, 80) > 0
    assert (over_photograph & mask).sum() / (over_photograph | mask).sum() > 0.75  # a disc of four cells of 8 px and its rim


def test_the_map_shows_nothing_outside() -> None:
    limited = contract(roi_of(disc(100, 80)))
    anomaly_map = np.linspace(1, 2, 64, dtype=np.float32).reshape(8, 8)

    whole = enlarge(anomaly_map, (100, 80), limited)

    assert (whole[disc(100, 80) == 0] == 1.0).all()
    assert whole[40, 60] > 1.0


def test_a_region_outlives_the_manifest() -> None:
    limited = contract(roi_of(disc(100, 80), fill=(1, 2, 3)))

    again = msgspec.json.decode(msgspec.json.encode(limited), type=InputContract)

    assert again == limited
    assert again.roi is not None
    assert again.roi.size == (100, 80)


@pytest.mark.parametrize(
    ("png", "what"),
    [
        (b"", "no picture"),
        (b"\x89PNG broken", "no picture"),
        (cv2.imencode(".png", np.zeros((8, 8), np.uint8))[1].tobytes(), "empty"),
    ],
    ids=["no bytes", "broken", "all black"],
)
def test_a_region_that_is_none_is_refused(png: bytes, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        Roi(png)
