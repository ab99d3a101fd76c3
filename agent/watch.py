"""What is wrong with a photograph before anybody asks whether its part is: frozen, dark, blurred, another color, moved. Pure.

A model that never saw a covered lens may find nothing strange in black pixels. So a photograph is compared first with how those
of good parts looked, as the bundle tells it, with margins so wide that no part, good or bad, should be taken for a fault of the
camera: what is found here is far from anything the model was made for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.inspection import Image

_WIDTH = 512  # px, at least, of the picture that is measured if the image has that many
_SIDE = 32  # px, of the small picture by which a moved camera is found
_WHITE = 247
_LEAST_BRIGHTNESS = 0.5  # of the lowest of good parts
_MORE_WHITE = 0.25  # of the pixels, than any good part had
_LEAST_CONTRAST = 0.4  # of the lowest of good parts
_LEAST_SHARPNESS = 0.4
_OTHER_COLOR = 20.0  # grey levels beyond those of good parts
_PARTS_ARE_ALIKE = 0.7  # correlation; parts that lie anyhow say nothing about the camera's place
_LEAST_LIKENESS = 0.25  # correlation below the lowest of good parts


Box = tuple[float, float, float, float]
"""Left, top, right, bottom, as shares of a photograph."""

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


class Range(msgspec.Struct, frozen=True):
    """The lowest and the highest that good parts had."""

    low: float
    high: float


class Usual(msgspec.Struct, frozen=True):
    """How photographs of good parts look, in grey levels 0 to 255.

    brightness, contrast: mean and deviation. white: share of pixels that are. sharpness: of edges, relative to the contrast.
    red, blue: mean beyond that of green. picture: mean of 32x32 small grey pictures, row by row; likeness: correlation with it.
    within: where; a model that is blind to the surroundings is not disturbed by them either.
    """

    brightness: Range
    contrast: Range
    white: Range
    sharpness: Range
    red: Range
    blue: Range
    likeness: Range
    picture: Annotated[tuple[float, ...], msgspec.Meta(min_length=_SIDE * _SIDE, max_length=_SIDE * _SIDE)]
    within: Box = WHOLE


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One photograph, measured as in Usual. small: (32, 32) float32 grey."""

    brightness: float
    contrast: float
    white: float
    sharpness: float
    red: float
    blue: float
    small: NDArray[np.float32]


def look_of(image: Image, within: Box = WHOLE) -> Look:
    """image: (H, W, 3) uint8 RGB, at its own size. within: what of it is measured."""
    image = _cut(image, within)
    height, width = image.shape[:2]
    k = max(1, min(width // _WIDTH, height // 3))  # a whole number, for which OpenCV has a fast way
    if k > 1:
        whole = np.ascontiguousarray(image[: height // k * k, : width // k * k])
        image = np.asarray(cv2.resize(whole, (width // k, height // k), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    red, green, blue = (float(mean) for mean in cv2.mean(image)[:3])
    contrast = float(grey.std())
    edges = float(cv2.Laplacian(grey, cv2.CV_32F).std())
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    return Look(
        brightness=float(grey.mean()),
        contrast=contrast,
        white=float((grey >= _WHITE).mean()),
        sharpness=edges / max(contrast, 1.0),
        red=red - green,
        blue=blue - green,
        small=small,
    )


def usual_of(looks: Sequence[Look], within: Box = WHOLE) -> Usual:
    """Of at least one photograph. within: what of each was measured."""
    picture = np.mean([look.small for look in looks], axis=0)
    names = ("brightness", "contrast", "white", "sharpness", "red", "blue")
    ranges = {name: _range([getattr(look, name) for look in looks]) for name in names}
    likeness = _range([_correlation(look.small, picture) for look in looks])
    return Usual(**ranges, likeness=likeness, picture=tuple(round(float(value), 2) for value in picture.ravel()), within=within)


def what_is_wrong(image: Image, usual: Usual) -> str:
    """Why this is no photograph to be judged, for people; empty where nothing is wrong."""
    look = look_of(image, usual.within)
    if look.brightness < _LEAST_BRIGHTNESS * usual.brightness.low:
        return f"too dark: mean {look.brightness:.0f} of 255, {_of(usual.brightness)}: is the light on, the lens free?"
    if look.white > usual.white.high + _MORE_WHITE:
        return f"too bright: {look.white:.0%} white, good parts at most {usual.white.high:.0%}: look at light and exposure"
    if look.contrast < _LEAST_CONTRAST * usual.contrast.low:
        return f"nothing to be seen: contrast {look.contrast:.1f}, {_of(usual.contrast)}: is the lens covered?"
    for color, found, expected in (("red", look.red, usual.red), ("blue", look.blue, usual.blue)):
        if not expected.low - _OTHER_COLOR <= found <= expected.high + _OTHER_COLOR:
            what = f"other colors: {color} is {found:+.0f} against green, {_of(expected)}"
            return f"{what}: is the order of the channels or the light another one?"
    if look.sharpness < _LEAST_SHARPNESS * usual.sharpness.low:
        return f"out of focus: sharpness {look.sharpness:.2f}, {_of(usual.sharpness)}: look at lens and distance"
    likeness = _correlation(look.small, np.reshape(np.array(usual.picture, np.float32), (_SIDE, _SIDE)))
    if usual.likeness.low > _PARTS_ARE_ALIKE and likeness < usual.likeness.low - _LEAST_LIKENESS:
        return f"another scene: likeness {likeness:.2f}, {_of(usual.likeness)}: was the camera moved?"
    return ""


@dataclass(frozen=True, slots=True, eq=False)
class Repeats:
    """How often in a row a camera has given the same pixels.

    >>> image = np.zeros((2, 2), np.uint8)
    >>> Repeats().after(image).after(image.copy()).times
    2
    """

    image: NDArray[Any] | None = None
    times: int = 0

    def after(self, image: NDArray[Any]) -> "Repeats":
        """The state once this image has come too."""
        return Repeats(image, self.times + 1 if self.image is not None and _equal(self.image, image) else 1)


def _cut(image: Image, within: Box) -> Image:
    """At least one pixel of it."""
    if within == WHOLE:
        return image
    height, width = image.shape[:2]
    left, top = int(within[0] * width), int(within[1] * height)
    right, bottom = math.ceil(within[2] * width), math.ceil(within[3] * height)
    return np.ascontiguousarray(image[top : max(bottom, top + 1), left : max(right, left + 1)])


def _equal(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """A sensor's noise shows in the first rows; only frozen images are compared whole."""
    return np.array_equal(one[:4], other[:4]) and np.array_equal(one, other)


def _range(values: Sequence[float]) -> Range:
    return Range(round(min(values), 4), round(max(values), 4))


def _of(usual: Range) -> str:
    return f"good parts had {usual.low:.3g} to {usual.high:.3g}"


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """-1 to 1; 0 where one of them is the same everywhere."""
    a, b = one - one.mean(), other - other.mean()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / norm if norm > 0 else 0.0
