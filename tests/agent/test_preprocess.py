"""Photographs in, network input out, and the map back over the right place."""

import os
import struct
from pathlib import Path
from typing import Literal

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agent.preprocess import InputContract, RefusedImageError, enlarge, prepare, read_image, to_8_bit

Fit = Literal["stretch", "pad", "crop"]
SQUARE = InputContract(64, 64, min_width=16, max_width=512, min_height=16, max_height=512, min_aspect=0.1, max_aspect=10.0)
fits = st.sampled_from(["stretch", "pad", "crop"])
sides = st.integers(48, 200)
inner_cells = st.integers(1, 6)


def contract(fit: Fit, width: int = 64, height: int = 64) -> InputContract:
    return msgspec.structs.replace(SQUARE, fit=fit, width=width, height=height)


def grey(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels.astype(np.uint8)[..., np.newaxis], 3, axis=2)


def jpeg_with_orientation(image: np.ndarray, orientation: int) -> bytes:
    """A JPEG whose Exif block, written here byte by byte, holds only the orientation tag (0x0112)."""
    encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
    directory = struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    block = b"Exif\0\0" + b"MM\0*" + struct.pack(">I", 8) + directory
    return encoded[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + encoded[2:]


def place_of_cell(row: int, column: int, size: tuple[int, int], fit: Fit) -> tuple[float, float]:
    """x, y in the photograph of the centre of a cell of an 8x8 map over a 64x64 input, from the definition of each fit."""
    width, height = size
    scale_x, scale_y = {
        "stretch": (width / 64, height / 64),
        "pad": (max(width, height) / 64,) * 2,
        "crop": (min(width, height) / 64,) * 2,
    }[fit]
    x, y = 8 * (column + 0.5), 8 * (row + 0.5)
    return (x - 32) * scale_x + width / 2, (y - 32) * scale_y + height / 2


def place_of_peak(anomaly_map: np.ndarray) -> tuple[float, float]:
    """x, y of the middle of the brightest pixels, with pixel centres at halves."""
    rows, columns = np.nonzero(anomaly_map == anomaly_map.max())
    return float(columns.mean()) + 0.5, float(rows.mean()) + 0.5


def blocks_of_8(image: np.ndarray) -> np.ndarray:
    """(8, 8) float32: the mean of each 8x8 block of a 64x64 input."""
    return image.astype(np.float32).reshape(8, 8, 8, 8, 3).mean(axis=(1, 3, 4))


def test_shrinking_averages_what_it_drops() -> None:
    checkerboard = grey(255 * (np.indices((128, 128)).sum(axis=0) % 2))

    prepared = prepare(checkerboard, SQUARE)

    assert np.unique(prepared).tolist() in ([127], [128])  # 127.5, rounded either way


def test_an_axis_that_shrinks_is_averaged_also_where_the_other_one_grows() -> None:
    noise = grey(np.random.default_rng(3).integers(0, 256, (48, 384)))

    prepared = prepare(noise, SQUARE)

    averaged_std = 73.9 / np.sqrt(384 / 64)  # of uniform noise; cv2's INTER_AREA alone takes a few pixels only: over 45 here
    assert prepared.shape == (64, 64, 3)
    assert prepared.std() <= averaged_std + 1


def test_growing_is_smooth() -> None:
    edge = grey(np.repeat([[0] * 8 + [240] * 8], 16, axis=0))

    prepared = prepare(edge, SQUARE)

    steps = np.diff(prepared[0, :, 0].astype(int))
    assert (steps >= 0).all()
    assert steps.max() <= 240 / 4 + 1  # four times larger: one old step becomes four


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
def test_an_image_of_the_right_size_is_not_changed(fit: Fit) -> None:
    image = np.random.default_rng(4).integers(0, 256, (64, 64, 3), dtype=np.uint8)

    prepared = prepare(image, contract(fit))

    assert np.array_equal(prepared, image)


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("size", [(64, 64), (100, 70), (70, 100), (32, 200)], ids=str)
def test_read_only_images_are_accepted(fit: Fit, size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 9, dtype=np.uint8)
    image.flags.writeable = False

    prepared = prepare(image, contract(fit))

    assert prepared.shape == (64, 64, 3)
    assert prepared.max() == 9


def test_pad_keeps_the_aspect_between_black_borders() -> None:
    image = np.full((50, 100, 3), 200, dtype=np.uint8)

    prepared = prepare(image, contract("pad"))

    assert np.unique(prepared[16:48]).tolist() == [200]
    assert np.unique(np.concatenate([prepared[:16], prepared[48:]])).tolist() == [0]


def test_crop_keeps_the_aspect_and_looks_at_the_middle() -> None:
    image = np.zeros((50, 100, 3), dtype=np.uint8)
    image[:, 25:75] = 200

    prepared = prepare(image, contract("crop"))

    assert np.unique(prepared).tolist() == [200]


@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_a_very_flat_network_input_can_be_filled_from_any_accepted_image(fit: Fit) -> None:
    flat = contract(fit, width=512, height=4)

    prepared = prepare(np.full((40, 40, 3), 7, dtype=np.uint8), flat)

    assert prepared.shape == (4, 512, 3)


@given(row=inner_cells, column=inner_cells, width=sides, height=sides, fit=fits)
def test_a_strange_cell_is_shown_over_the_place_it_was_computed_from(
    row: int, column: int, width: int, height: int, fit: Fit
) -> None:
    x, y = place_of_cell(row, column, (width, height), fit)
    half_cell = 4 * max(width, height) / 64
    assume(half_cell < x < width - half_cell)
    assume(half_cell < y < height - half_cell)
    anomaly_map = np.zeros((8, 8), dtype=np.float32)
    anomaly_map[row, column] = 1.0

    enlarged = enlarge(anomaly_map, (width, height), contract(fit))

    assert enlarged.shape == (height, width)
    assert enlarged.dtype == np.float32
    one_px = max(1.0, max(width, height) / 64) + 0.5  # of the photograph and of the input: borders are whole pixels in both
    assert place_of_peak(enlarged) == pytest.approx((x, y), abs=one_px)


@given(x=st.integers(10, 90), y=st.integers(10, 90), width=sides, height=sides, fit=fits)
def test_a_bright_spot_comes_back_where_the_photograph_has_it(x: int, y: int, width: int, height: int, fit: Fit) -> None:
    centre_x, centre_y = x * width / 100, y * height / 100
    cut = (max(width, height) - min(width, height)) / 2 if fit == "crop" else 0.0
    assume(width < height or cut + 12 < centre_x < width - cut - 12)
    assume(height < width or cut + 12 < centre_y < height - cut - 12)
    image = cv2.circle(np.zeros((height, width, 3), np.uint8), (round(centre_x), round(centre_y)), 10, (255, 255, 255), -1)

    enlarged = enlarge(blocks_of_8(prepare(image, contract(fit))), (width, height), contract(fit))

    one_cell = max(width, height) / 8
    assert place_of_peak(enlarged) == pytest.approx((centre_x, centre_y), abs=one_cell)


def test_what_a_crop_never_looked_at_gets_the_maps_minimum() -> None:
    anomaly_map = np.full((8, 8), 5.0, dtype=np.float32)
    anomaly_map[0, 0] = 2.0

    enlarged = enlarge(anomaly_map, (100, 50), contract("crop"))

    assert np.unique(enlarged[:, :25]).tolist() == [2.0]
    assert np.unique(enlarged[:, 75:]).tolist() == [2.0]
    assert enlarged[:, 25:75].max() == 5.0


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((64, 15, 3), r"image is 15x64 px, expected 16-512 x 16-512: is this the camera"),
        ((513, 64, 3), r"image is 64x513 px, expected 16-512 x 16-512"),
        ((400, 20, 3), r"image is 20x400 px, aspect 0\.050, expected 0\.100 to 10\.000: is it turned"),
        ((20, 400, 3), r"image is 400x20 px, aspect 20\.000, expected"),
        ((64, 64), r"expected \(H, W, 3\) uint8 RGB, got \(64, 64\) uint8"),
        ((64, 64, 4), r"expected \(H, W, 3\) uint8 RGB, got \(64, 64, 4\) uint8"),
        ((0, 64, 3), r"image is 64x0 px"),
    ],
    ids=["too narrow", "too high", "too upright", "too flat", "one channel", "four channels", "no pixels"],
)
def test_an_image_outside_the_contract_is_refused_with_its_size_and_what_was_expected(shape: tuple[int, ...], says: str) -> None:
    with pytest.raises(RefusedImageError, match=says):
        prepare(np.zeros(shape, dtype=np.uint8), SQUARE)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.int8, np.bool_], ids=lambda t: t.__name__)
def test_pixels_other_than_8_bit_are_refused(dtype: type) -> None:
    with pytest.raises(RefusedImageError, match="uint8 RGB, got"):
        prepare(np.zeros((64, 64, 3), dtype=dtype), SQUARE)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm"])
def test_a_colour_photograph_is_read_as_rgb(tmp_path: Path, suffix: str) -> None:
    cv2.imwrite(str(tmp_path / f"red{suffix}"), np.full((4, 5, 3), (0, 0, 250), dtype=np.uint8))  # cv2 writes BGR

    image = read_image(tmp_path / f"red{suffix}")

    assert image.shape == (4, 5, 3)
    assert image[0, 0].tolist() == [250, 0, 0]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16], ids=lambda t: t.__name__)
def test_a_grey_photograph_becomes_three_equal_channels(tmp_path: Path, dtype: type) -> None:
    pixels = np.arange(20, dtype=dtype).reshape(4, 5)
    cv2.imwrite(str(tmp_path / "grey.png"), pixels)

    image = read_image(tmp_path / "grey.png")

    assert image.dtype == dtype
    assert np.array_equal(image, np.repeat(pixels[..., np.newaxis], 3, axis=2))


def test_transparency_is_left_out(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "rgba.png"), np.full((4, 5, 4), (1, 2, 3, 0), dtype=np.uint8))

    image = read_image(tmp_path / "rgba.png")

    assert image[0, 0].tolist() == [3, 2, 1]


@pytest.mark.parametrize(
    ("orientation", "bright_side"),
    [(1, np.s_[:, :20]), (2, np.s_[:, -20:]), (3, np.s_[:, -20:]), (6, np.s_[:20, :]), (8, np.s_[-20:, :])],
    ids=["as it is", "mirrored", "upside down", "turned clockwise", "turned anticlockwise"],
)
def test_a_photograph_is_turned_as_its_exif_tag_says(tmp_path: Path, orientation: int, bright_side: tuple[slice, slice]) -> None:
    image = np.zeros((32, 48, 3), dtype=np.uint8)
    image[:, :24] = 200  # its left half
    (tmp_path / "turned.jpg").write_bytes(jpeg_with_orientation(image, orientation))

    turned = read_image(tmp_path / "turned.jpg")

    assert turned[bright_side].min() > 150
    assert turned.mean() == pytest.approx(100, abs=5)  # the other half stays dark; JPEG is not exact


@pytest.mark.parametrize(
    ("value", "white_level", "becomes"),
    [(0, 4095, 0), (4095, 4095, 255), (2048, 4095, 128), (9000, 4095, 255), (65535, 65535, 255), (257, 65535, 1)],
)
def test_16_bits_become_8_by_a_fixed_window(value: int, white_level: int, becomes: int) -> None:
    image = np.full((2, 2, 3), value, dtype=np.uint16)

    assert to_8_bit(image, white_level).tolist() == np.full((2, 2, 3), becomes).tolist()


def test_16_bits_are_never_stretched_by_what_else_is_in_the_picture() -> None:
    dark = np.full((2, 2, 3), 300, dtype=np.uint16)
    beside_white = dark.copy()
    beside_white[0, 0] = 65535

    assert to_8_bit(dark, 4095)[1, 1].tolist() == to_8_bit(beside_white, 4095)[1, 1].tolist()


def test_8_bits_are_taken_as_they_are_whatever_the_white_level() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)

    assert np.array_equal(to_8_bit(image, 4095), image)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty, expected an image"),
        (b"# notes\nthis is text, not a photograph\n", "not an image that can be decoded"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "not an image that can be decoded"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 10, "not an image that can be decoded"),
    ],
    ids=["empty", "text", "a PNG's first bytes", "a JPEG's first bytes"],
)
def test_a_file_that_is_no_image_is_refused_with_its_path_and_reason(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "photo.png"
    file.write_bytes(content)

    with pytest.raises(RefusedImageError, match=says) as refused:
        read_image(file)

    assert str(file) in str(refused.value)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
def test_a_photograph_cut_off_in_the_middle_is_refused(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    encoded = cv2.imencode(suffix, noise)[1].tobytes()
    (tmp_path / f"cut{suffix}").write_bytes(encoded[: len(encoded) // 2])

    with pytest.raises(RefusedImageError, match="damaged"):
        read_image(tmp_path / f"cut{suffix}")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gone.png", "cannot be read"),
        ("folder.png", "a folder, pipe or device, expected a photograph"),
        ("pipe.png", "a folder, pipe or device, expected a photograph"),
        ("link.png", "a link that leads nowhere"),
    ],
    ids=["gone", "folder", "pipe", "link"],
)
def test_what_is_no_file_is_refused_with_its_path_and_never_waited_for(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")

    with pytest.raises(RefusedImageError, match=f"{name}: {says}"):
        read_image(tmp_path / name)


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "depth.tif"), np.zeros((4, 5, 3), dtype=np.float32))

    with pytest.raises(RefusedImageError, match="float32 pixels, expected 8 or 16 bit integers"):
        read_image(tmp_path / "depth.tif")
