"""From a sensor's layout to RGB: the colors are where they belong, and no bit is lost."""

import numpy as np
import pytest

from agent.cameras._pixels import LAYOUTS, array_of, bytes_of, to_rgb

RED, GREEN, BLUE = 200, 120, 40
# The color of each pixel of a sensor's first two rows, by the name of its pattern.
MOSAICS = {
    "bayer_rg8": [[RED, GREEN], [GREEN, BLUE]],
    "bayer_gr8": [[GREEN, RED], [BLUE, GREEN]],
    "bayer_gb8": [[GREEN, BLUE], [RED, GREEN]],
    "bayer_bg8": [[BLUE, GREEN], [GREEN, RED]],
}


@pytest.mark.parametrize("layout", MOSAICS)
def test_a_bayer_pattern_gives_the_color_that_fell_on_it(layout: str) -> None:
    mosaic = np.tile(np.array(MOSAICS[layout], np.uint8), (8, 8))

    image = to_rgb(mosaic, layout)

    assert image[4:12, 4:12].reshape(-1, 3).tolist() == [[RED, GREEN, BLUE]] * 64


@pytest.mark.parametrize(("layout", "stored"), [("rgb8", [RED, GREEN, BLUE]), ("bgr8", [BLUE, GREEN, RED])])
def test_colors_are_red_green_blue_whatever_the_order_of_the_channels(layout: str, stored: list[int]) -> None:
    image = to_rgb(array_of(bytes(stored * 6), layout, 3, 2), layout)

    assert image.tolist() == [[[RED, GREEN, BLUE]] * 3] * 2


def test_twelve_bits_in_sixteen_stay_what_they_are() -> None:
    image = to_rgb(array_of(np.array([0, 1, 2048, 4095], "<u2").tobytes(), "mono16", 2, 2), "mono16")

    assert (image.dtype, image[..., 1].tolist()) == (np.uint16, [[0, 1], [2048, 4095]])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_read_only_rgb_of_its_size(layout: str) -> None:
    image = to_rgb(array_of(bytes(bytes_of(layout, 6, 4)), layout, 6, 4), layout)

    assert (image.shape, image.flags.writeable) == ((4, 6, 3), False)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bytes_behind_each_row_are_left_out(layout: str) -> None:
    plain = np.arange(bytes_of(layout, 6, 4), dtype=np.uint8).reshape(4, -1)
    padded = np.pad(plain, ((0, 0), (0, 3)), constant_values=255)

    assert np.array_equal(array_of(padded.tobytes(), layout, 6, 4, padding=3), array_of(plain.tobytes(), layout, 6, 4))


def test_a_frame_with_too_few_bytes_is_refused_with_what_was_expected() -> None:
    with pytest.raises(ValueError, match="11 bytes, expected 12 of 2x2 rgb8"):
        array_of(bytes(11), "rgb8", 2, 2)
