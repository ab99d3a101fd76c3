"""Photograph to network input and anomaly map back to photograph: the same code in training, calibration and on the device."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.boxes import Box, Fit, boxes
from agent.error import InputError
from agent.inspection import AnomalyMap, Depth, Image
from agent.roi import Roi
from agent.shrink import Shrink, alone
from agent.tiles import Tiles

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
"""(H, W, 3) RGB as a camera or a file gives it, 8 or 16 bit."""


@dataclass(frozen=True, slots=True, eq=False)
class PixelsWithDepth:
    """What a camera gives that measures depth too; both of one size."""

    pixels: Pixels
    depth: Depth


IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
_FILL = 0  # grey level of padded borders

Side = Annotated[int, msgspec.Meta(ge=1, le=32_768)]
"""Of a prepared image, px."""


class RefusedImageError(InputError, ValueError):
    """An image that the model was not made for, or that is no image; the message names what was expected."""


class InputContract(msgspec.Struct, frozen=True):
    """Which images a model accepts, and how they become its input.

    Sizes in px, aspect is width / height. width, height: of the prepared image. fit: as in agent/boxes.py; borders are black.
    white_level: the value of a 16-bit image that becomes 255 (8-bit images are taken as they are). depth: needed too.
    roi: what of the image is inspected, None for all of it. tiles: in which the prepared image is given to the graph, None for
    whole.
    """

    width: Side
    height: Side
    min_width: int
    max_width: int
    min_height: int
    max_height: int
    min_aspect: float
    max_aspect: float
    fit: Fit = "stretch"
    white_level: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 65535
    depth: bool = False
    roi: Roi | None = None
    tiles: Tiles | None = None

    def __post_init__(self) -> None:
        if self.tiles is not None and (self.tiles.width, self.tiles.height) != (self.width, self.height):
            found = f"tiles over {self.tiles.width}x{self.tiles.height} px"
            raise ValueError(f"{found}, expected them over the prepared image, {self.width}x{self.height}")

    @property
    def graph_size(self) -> tuple[int, int]:
        """Width and height of the graph's input, px: of a tile where there are tiles."""
        return (self.width, self.height) if self.tiles is None else (self.tiles.size, self.tiles.size)

    def boxes(self, width: int, height: int) -> tuple[Box, Box]:
        """What of a photograph of that size is seen, and where in the prepared image it comes."""
        return boxes((width, height), (self.width, self.height), self.fit)

    def check(self, width: int, height: int) -> None:
        """Raises RefusedImageError for an image size outside the contract."""
        if not (self.min_width <= width <= self.max_width and self.min_height <= height <= self.max_height):
            raise RefusedImageError(
                f"image is {width}x{height} px, expected {self.min_width}-{self.max_width} x "
                f"{self.min_height}-{self.max_height}: is this the camera and the resolution of the training photographs?"
            )
        if not self.min_aspect <= width / height <= self.max_aspect:
            raise RefusedImageError(
                f"image is {width}x{height} px, aspect {width / height:.3f}, expected {self.min_aspect:.3f} to "
                f"{self.max_aspect:.3f}: is it turned or cropped differently from the training photographs?"
            )


def read_image(path: Path) -> Pixels:
    """The photograph as (H, W, 3) RGB, 8 or 16 bit as stored, grey replicated, turned as its EXIF tag says. Raises
    RefusedImageError."""
    if path.is_symlink() and not path.exists():
        raise RefusedImageError(f"{path}: a link that leads nowhere: is a drive missing? Else remove it")
    if path.exists() and not path.is_file():  # reading a pipe would wait for ever
        raise RefusedImageError(f"{path}: a folder, pipe or device, expected a photograph: rename or remove it")
    try:
        encoded = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    except OSError as e:
        raise RefusedImageError(f"{path}: cannot be read: {e.strerror}") from e
    if encoded.size == 0:
        raise RefusedImageError(f"{path}: the file is empty, expected an image")
    try:
        image = cv2.imdecode(encoded, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as e:
        raise RefusedImageError(f"{path}: cannot be decoded: {e.err}") from e
    if image is None:
        raise RefusedImageError(f"{path}: not an image that can be decoded (or a damaged one)")
    if image.dtype == np.uint8:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    if image.dtype == np.uint16:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint16)
    raise RefusedImageError(f"{path}: {image.dtype} pixels, expected 8 or 16 bit integers")


def read_depth(path: Path) -> Depth:
    """Depth from a float32 TIFF in metres: one channel, or the three of x, y, z (MVTec 3D-AD), of which the last is taken.

    What is not a positive number was not measured and becomes 0. Raises RefusedImageError.
    """
    try:
        encoded = np.frombuffer(path.read_bytes(), dtype=np.uint8)
        found = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED) if encoded.size else None
    except OSError as e:
        raise RefusedImageError(f"{path}: the depth cannot be read: {e.strerror}") from e
    except cv2.error as e:
        raise RefusedImageError(f"{path}: the depth cannot be decoded: {e.err}") from e
    if found is None or found.dtype != np.float32 or (found.ndim == 3 and found.shape[2] != 3):
        what = "nothing that can be decoded" if found is None else f"{found.shape} {found.dtype}"
        raise RefusedImageError(f"{path}: {what}, expected depth in metres as a float32 TIFF of one channel or of x, y, z")
    z = found if found.ndim == 2 else found[:, :, 0]  # OpenCV turns the order of three channels round
    return np.where(np.isfinite(z) & (z > 0), z, np.float32(0))


def prepare_depth(depth: Depth, size: tuple[int, int], contract: InputContract) -> Depth:
    """The network's second input, (contract.height, contract.width) float32 metres, in the place of the prepared image.

    size: (width, height) of the image. Neighbors are never mixed: half-way between a part and a hole there is nothing.
    Raises RefusedImageError for depth of another size.
    """
    width, height = size
    if depth.shape != (height, width):
        raise RefusedImageError(f"depth is {depth.shape[1]}x{depth.shape[0]} px, its image {width}x{height}: expected one size")
    if contract.roi is not None:
        depth = contract.roi.hide_depth(depth)
    seen, place = contract.boxes(width, height)
    padded = np.zeros((contract.height, contract.width), dtype=np.float32)
    place.of(padded)[:] = cv2.resize(seen.of(depth), place.size, interpolation=cv2.INTER_NEAREST_EXACT)
    return padded


def white_level(brightest: int) -> int:
    """The full scale of a camera of 10, 12, 14 or 16 bit, the smallest that holds its brightest value.

    >>> white_level(0), white_level(1024)
    (1023, 4095)
    """
    return next(level for level in (1023, 4095, 16383, 65535) if level >= brightest)


def to_8_bit(image: Pixels, white_level: int) -> Image:
    """The image in 8 bit: 0 stays 0, white_level becomes 255, what is brighter saturates; never stretched per image."""
    if image.dtype == np.uint8:
        return np.asarray(image, dtype=np.uint8)
    scaled = image.astype(np.float32) * (255.0 / white_level)
    return np.asarray(np.clip(np.rint(scaled), 0, 255), dtype=np.uint8)


def prepare(image: Image, contract: InputContract, shrink: Shrink = alone) -> Image:
    """The network's input, (contract.height, contract.width, 3) uint8 RGB.

    image: (H, W, 3) uint8 RGB. shrink: who does that, with the same result. Raises RefusedImageError for any other array and for
    a size outside the contract.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise RefusedImageError(f"expected (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
    height, width = image.shape[:2]
    contract.check(width, height)
    if contract.roi is not None:
        image = contract.roi.hide(image)
    seen, place = contract.boxes(width, height)
    resized = _resize(seen.of(image), place.size, shrink)
    if contract.fit != "pad":
        return resized
    padded = np.full((contract.height, contract.width, 3), _FILL, dtype=np.uint8)
    place.of(padded)[:] = resized
    return padded


def enlarge(anomaly_map: AnomalyMap, size: tuple[int, int], contract: InputContract) -> AnomalyMap:
    """The map over the photograph: bilinear, half-pixel centres; the only way from native map to picture.

    size: (width, height) of the photograph in px. Returns (height, width) float32; what was not looked at (outside of a
    crop, outside of the region of interest) gets the map's minimum.
    """
    whole = _over_photograph(anomaly_map, size, contract)
    if contract.roi is None:
        return whole
    return np.where(contract.roi.mask(*size) > 0, whole, anomaly_map.min())


def inspected_cells(contract: InputContract, h: int, w: int) -> NDArray[np.bool_]:
    """(h, w), True for the cells of a graph's map whose centre lies within the region of interest; without one all are.

    With tiles all are too, since one graph serves each of them: the region then decides which tiles are looked at.
    """
    if contract.roi is None or contract.tiles is not None:
        return np.ones((h, w), dtype=np.bool_)
    rows = ((np.arange(h) + 0.5) * contract.height / h).astype(int)
    columns = ((np.arange(w) + 0.5) * contract.width / w).astype(int)
    return np.asarray(inspected(contract)[np.ix_(rows, columns)])


def looked_at(contract: InputContract) -> NDArray[np.bool_]:
    """Of each tile, whether any of it lies within the region of interest."""
    if contract.tiles is None:
        return np.ones(1, dtype=np.bool_)
    over_input = inspected(contract).view(np.uint8)
    return np.array([contract.tiles.cut(over_input, k).any() for k in range(len(contract.tiles))])


def inspected(contract: InputContract) -> NDArray[np.bool_]:
    """(height, width) of the prepared image, True within the region of interest; without one all are."""
    if contract.roi is None:
        return np.ones((contract.height, contract.width), dtype=np.bool_)
    width, height = contract.roi.size
    seen, place = contract.boxes(width, height)
    over_input = np.zeros((contract.height, contract.width), dtype=np.uint8)
    mask = seen.of(contract.roi.mask(width, height))
    place.of(over_input)[:] = cv2.resize(mask, place.size, interpolation=cv2.INTER_NEAREST_EXACT)
    return over_input > 0


def _over_photograph(anomaly_map: AnomalyMap, size: tuple[int, int], contract: InputContract) -> AnomalyMap:
    """The map over the photograph, whatever the region of interest."""
    width, height = size
    seen, place = contract.boxes(width, height)
    if contract.fit == "pad":
        anomaly_map = place.of(_linear(anomaly_map, (contract.width, contract.height)))
    over_seen = _linear(anomaly_map, seen.size)
    if contract.fit != "crop":
        return over_seen
    whole = np.full((height, width), anomaly_map.min(), dtype=np.float32)
    seen.of(whole)[:] = over_seen
    return whole


def _resize(image: Image, size: tuple[int, int], shrink: Shrink) -> Image:
    """Shrinking axes by area, then growing axes bilinearly: INTER_AREA does not antialias when one axis grows."""
    height, width = image.shape[:2]
    smaller = (min(width, size[0]), min(height, size[1]))
    if smaller != (width, height):
        image = shrink(image, smaller)
    if smaller != size:
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    return image


def _linear(anomaly_map: AnomalyMap, size: tuple[int, int]) -> AnomalyMap:
    return np.asarray(cv2.resize(anomaly_map, size, interpolation=cv2.INTER_LINEAR), dtype=np.float32)
