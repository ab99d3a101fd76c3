"""The region of interest: which pixels of a photograph are inspected; what lies outside never reaches the network."""

from functools import lru_cache

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.inspection import Depth, Image

Mask = NDArray[np.uint8]
"""(H, W) uint8, 255 where the part is inspected, 0 elsewhere."""

_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_PIXELS = 1 << 28


class Roi(msgspec.Struct, frozen=True):
    """A mask drawn for photographs of its own size, stretched over those of another size; relative, as the part is.

    png: the mask as an 8-bit grey PNG, above 127 is inside. fill: the color (RGB) that takes the place of the pixels outside;
    the default is the mean of photographs, for which networks see nothing.
    """

    png: bytes
    fill: tuple[int, int, int] = (124, 116, 104)

    def __post_init__(self) -> None:
        if not _drawn(self.png).any():
            raise ValueError("the region of interest is empty: expected a mask with white where the part is inspected")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the photographs it was drawn for, px."""
        height, width = _drawn(self.png).shape
        return width, height

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of what is inspected, as shares of a photograph."""
        drawn = _drawn(self.png)
        height, width = drawn.shape
        x, y, w, h = cv2.boundingRect(drawn)
        return x / width, y / height, (x + w) / width, (y + h) / height

    def mask(self, width: int, height: int) -> Mask:
        """Over a photograph of that size, read-only."""
        return _stretched(self.png, width, height)

    def hide(self, image: Image) -> Image:
        """The image with every pixel outside replaced, so that what is there cannot change a score by a bit."""
        height, width = image.shape[:2]
        hidden = np.empty_like(image)
        hidden[:] = self.fill
        return np.asarray(cv2.copyTo(image, self.mask(width, height), hidden), dtype=np.uint8)

    def hide_depth(self, depth: Depth) -> Depth:
        """The depth, 0 (not measured) outside."""
        height, width = depth.shape
        return np.where(self.mask(width, height) > 0, depth, np.float32(0))


def roi_of(mask: Mask, fill: tuple[int, int, int] | None = None) -> Roi:
    """The region where the mask is above 127.

    >>> roi_of(np.uint8([[0, 255], [0, 255]])).mask(4, 2).tolist()
    [[0, 0, 255, 255], [0, 0, 255, 255]]
    """
    png = cv2.imencode(".png", np.where(mask > 127, 255, 0).astype(np.uint8))[1].tobytes()
    return Roi(png) if fill is None else Roi(png, fill)


@lru_cache(maxsize=8)
def _drawn(png: bytes) -> Mask:
    """The mask in its own size. Raises ValueError where the bytes are no picture, or one larger than any photograph."""
    encoded = np.frombuffer(png, dtype=np.uint8)
    try:
        found = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE) if png.startswith(_PNG) and _pixels(png) <= _MOST_PIXELS else None
    except cv2.error as e:
        raise ValueError(f"the region of interest cannot be decoded: {e.err}") from e
    if found is None:
        raise ValueError("the region of interest is no picture that can be decoded, expected a grey PNG")
    mask = np.where(found > 127, 255, 0).astype(np.uint8)
    mask.flags.writeable = False
    return mask


def _pixels(png: bytes) -> int:
    """As its head says: before anything is decoded, for a few bytes may claim to be gigabytes."""
    return int.from_bytes(png[16:20], "big") * int.from_bytes(png[20:24], "big")


@lru_cache(maxsize=8)
def _stretched(png: bytes, width: int, height: int) -> Mask:
    drawn = _drawn(png)
    if drawn.shape == (height, width):
        return drawn
    mask = np.asarray(cv2.resize(drawn, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), dtype=np.uint8)
    mask.flags.writeable = False
    return mask
