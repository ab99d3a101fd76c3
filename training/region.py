"""A region of interest as people draw it, a mask or polygons, to the one that a bundle carries."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import cv2
import msgspec
import numpy as np

from agent.drivers import SectionError, convert
from agent.preprocess import InputContract, RefusedImageError, inspected_cells, looked_at, read_image
from agent.roi import Roi, roi_of
from agent.yaml_file import located, read_yaml
from training.data import DataError, Photograph

_COARSEST = 16  # px of a cell of the coarsest map that decides
_YAML = frozenset({".yaml", ".yml"})

Polygon = Annotated[list[tuple[float, float]], msgspec.Meta(min_length=3)]


class Outline(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Polygons of points (x, y) in px of the photographs. inspect: all of the picture without any. ignore: cut out of it.

    size: width and height of the photographs they were drawn on, needed only where photographs differ in size.
    """

    inspect: list[Polygon] = []
    ignore: list[Polygon] = []
    size: tuple[int, int] | None = None


def region(drawn: str | Outline, photographs: Sequence[Photograph]) -> Roi:
    """The region in a mask (a picture, white is inspected), in a YAML file of an Outline, or in an Outline.

    Raises DataError, ConfigError.
    """
    if isinstance(drawn, Outline):
        return _from_outline(drawn, photographs)
    file = Path(drawn)
    if file.suffix.lower() in _YAML:
        return _from_outline(_read_outline(file), photographs)
    try:
        mask = read_image(file)
    except RefusedImageError as e:
        raise DataError(f"region of interest: {e}") from e
    return roi_of((mask.max(axis=2) > np.iinfo(mask.dtype).max // 2).astype(np.uint8) * 255)


def check_region(contract: InputContract) -> None:
    """Raises DataError for a region drawn for other pictures, or too small to decide anything."""
    if contract.roi is None:
        return
    try:
        contract.check(*contract.roi.size)
    except RefusedImageError as e:
        raise DataError(f"region of interest: its {e}: draw it on one of the photographs") from e
    cells = inspected_cells(contract, contract.height // _COARSEST, contract.width // _COARSEST)
    if not (cells.any() and looked_at(contract).any()):
        raise DataError(
            f"region of interest: no cell of {_COARSEST}x{_COARSEST} px of the network's {contract.width}x{contract.height} px "
            "has its centre in it: draw it larger, or choose a larger --image-size"
        )


def _read_outline(file: Path) -> Outline:
    content, lines = read_yaml(file)
    try:
        outline: Outline = convert(content, Outline)
    except SectionError as e:
        raise located(e, file, lines) from e
    return outline


def _from_outline(outline: Outline, photographs: Sequence[Photograph]) -> Roi:
    sizes = {(p.width, p.height) for p in photographs}
    if outline.size is None and len(sizes) > 1:
        raise DataError(f"region of interest: the photographs have {len(sizes)} sizes: say on which `size` it was drawn")
    width, height = outline.size or next(iter(sizes))
    for x, y in (point for polygon in (*outline.inspect, *outline.ignore) for point in polygon):
        if not (0 <= x <= width and 0 <= y <= height):
            raise DataError(f"region of interest: point ({x:g}, {y:g}) lies outside of the photograph, {width}x{height} px")
    mask = np.full((height, width), 0 if outline.inspect else 255, dtype=np.uint8)
    _paint(mask, outline.inspect, 255)
    _paint(mask, outline.ignore, 0)
    if not mask.any():
        raise DataError("region of interest: nothing is left to inspect")
    return roi_of(mask)


def _paint(mask: np.ndarray, polygons: list[Polygon], value: int) -> None:
    for polygon in polygons:
        cv2.fillPoly(mask, [np.rint(np.array(polygon)).astype(np.int32)], value)
