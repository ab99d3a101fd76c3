"""The grid of tiles into which a large image with small defects is cut."""

from typing import Annotated

import msgspec

from agent.inspection import Image

Count = Annotated[int, msgspec.Meta(ge=1, le=32_768)]


class Tiles(msgspec.Struct, frozen=True):
    """A grid of square tiles over the prepared image. size: of a tile, step: from one to the next, px; they overlap by the rest.

    >>> tiles = Tiles(columns=3, rows=2, size=256, step=224)
    >>> tiles.width, tiles.height, len(tiles)
    (704, 480, 6)
    """

    columns: Count
    rows: Count
    size: Count
    step: Count

    def __len__(self) -> int:
        return self.columns * self.rows

    @property
    def width(self) -> int:
        """Of the prepared image, px."""
        return self.size + (self.columns - 1) * self.step

    @property
    def height(self) -> int:
        return self.size + (self.rows - 1) * self.step

    def place(self, k: int) -> tuple[int, int]:
        """x, y of the k-th tile in the prepared image, row by row."""
        return (k % self.columns) * self.step, (k // self.columns) * self.step

    def cut(self, prepared: Image, k: int) -> Image:
        """(size, size, ...) of the prepared image, a view."""
        x, y = self.place(k)
        return prepared[y : y + self.size, x : x + self.size]
