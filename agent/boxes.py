"""PURE  How a photograph fits into the network's input: which part of it is seen, and where in the input it lies."""

from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Fit = Literal["stretch", "pad", "crop"]
"""`stretch` scales the axes on their own, `pad` keeps the aspect with borders, `crop` keeps it by cutting the longer axis at the
centre."""

_Value = TypeVar("_Value", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Box:
    """A place in a picture, px."""

    x: int
    y: int
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height

    def of(self, picture: NDArray[_Value]) -> NDArray[_Value]:
        """What is there: a view."""
        return picture[self.y : self.y + self.height, self.x : self.x + self.width]


def boxes(photograph: tuple[int, int], network_input: tuple[int, int], fit: Fit) -> tuple[Box, Box]:
    """What of the photograph is seen, and where in the input it comes. Sizes: (width, height), px.

    >>> boxes((200, 100), (64, 64), "pad")
    (Box(x=0, y=0, width=200, height=100), Box(x=0, y=16, width=64, height=32))
    >>> boxes((200, 100), (64, 64), "crop")
    (Box(x=50, y=0, width=100, height=100), Box(x=0, y=0, width=64, height=64))
    """
    seen, place = Box(0, 0, *photograph), Box(0, 0, *network_input)
    if fit == "crop":
        return _centred(place, min(seen.width / place.width, seen.height / place.height), seen), place
    if fit == "pad":
        return seen, _centred(seen, min(place.width / seen.width, place.height / seen.height), place)
    return seen, place


def _centred(box: Box, scale: float, within: Box) -> Box:
    width, height = max(1, round(box.width * scale)), max(1, round(box.height * scale))
    return Box((within.width - width) // 2, (within.height - height) // 2, width, height)
