"""What sensors give to what Kensa works with: each layout of pixels to (H, W, 3) RGB."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.preprocess import Pixels


@dataclass(frozen=True, slots=True)
class _Layout:
    """Bytes of one pixel, its channels, and OpenCV's name of the way to RGB; None where it is RGB already."""

    dtype: str
    channels: int
    to_rgb: int | None


# A Bayer pattern is named by the first two pixels of the sensor's first row, as GenICam does.
LAYOUTS = {
    "rgb8": _Layout("u1", 3, None),
    "bgr8": _Layout("u1", 3, cv2.COLOR_BGR2RGB),
    "mono8": _Layout("u1", 1, cv2.COLOR_GRAY2RGB),
    "mono16": _Layout("<u2", 1, cv2.COLOR_GRAY2RGB),
    "bayer_rg8": _Layout("u1", 1, cv2.COLOR_BayerRGGB2RGB),
    "bayer_gr8": _Layout("u1", 1, cv2.COLOR_BayerGRBG2RGB),
    "bayer_gb8": _Layout("u1", 1, cv2.COLOR_BayerGBRG2RGB),
    "bayer_bg8": _Layout("u1", 1, cv2.COLOR_BayerBGGR2RGB),
}


def bytes_of(layout: str, width: int, height: int, padding: int = 0) -> int:
    """Of one frame, each row followed by `padding` bytes.

    >>> bytes_of("mono16", 4, 2), bytes_of("mono8", 5, 2, padding=3)
    (16, 16)
    """
    pixel = LAYOUTS[layout]
    return height * (width * pixel.channels * np.dtype(pixel.dtype).itemsize + padding)


def array_of(content: bytes | bytearray | memoryview, layout: str, width: int, height: int, padding: int = 0) -> NDArray[Any]:
    """The frame as (H, W) or (H, W, 3): a view of `content`, or a copy where `padding` bytes follow each row of it.

    Raises ValueError where it has not that many bytes.
    """
    if len(content) != (expected := bytes_of(layout, width, height, padding)):
        raise ValueError(f"{len(content)} bytes, expected {expected} of {width}x{height} {layout}")
    pixel = LAYOUTS[layout]
    shape = (height, width) if pixel.channels == 1 else (height, width, pixel.channels)
    rows = np.frombuffer(content, np.uint8).reshape(height, -1)[:, : bytes_of(layout, width, 1)]
    return np.ascontiguousarray(rows).view(pixel.dtype).reshape(shape)


def to_rgb(frame: NDArray[Any], layout: str) -> Pixels:
    """(H, W, 3) RGB, read-only, with the bits it came with."""
    code = LAYOUTS[layout].to_rgb
    pixels: Pixels = frame if code is None else cv2.cvtColor(frame, code)  # type: ignore[assignment]
    pixels.flags.writeable = False
    return pixels
