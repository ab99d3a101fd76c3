"""The defects that people have drawn: a mask of a whole part, or the regions of MVTec LOCO."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.preprocess import Pixels, RefusedImageError, read_image
from training.layouts.listing import DataError
from training.photographs import Photograph


def read_mask(photograph: Photograph) -> NDArray[np.bool_] | None:
    """(height, width), True on the defect; all False for a good part, None where nobody has drawn it."""
    if photograph.defect is None:
        return np.zeros((photograph.height, photograph.width), dtype=np.bool_)
    if photograph.regions:
        merged: NDArray[np.bool_] = np.any([mask for mask, _ in read_regions(photograph)], axis=0)
        return merged
    if photograph.mask is None:
        return None
    red, green, blue = np.moveaxis(_read_drawing(photograph.mask, photograph), 2, 0)
    mask: NDArray[np.bool_] = (red | green | blue) > 0  # a tenth of the time of any(axis=2)
    return mask if mask.any() else None


def read_regions(photograph: Photograph) -> list[tuple[NDArray[np.bool_], int]]:
    """Each region of the defect as a (height, width) mask and its saturation area, px; empty without regions.

    MVTec LOCO: that many px found count as the whole region; sPRO of it is min(px found / saturation area, 1).
    """
    found = []
    for region in photograph.regions:
        mask = _read_drawing(region.path, photograph)[..., 0] == region.pixel_value
        area = int(mask.sum())
        if region.relative_saturation:
            saturated = int(region.saturation_threshold * area)
        else:
            saturated = min(int(region.saturation_threshold), area)
        found.append((mask, max(1, saturated)))
    return found


def _read_drawing(path: Path, photograph: Photograph) -> Pixels:
    """A mask as it is stored; DataError where it is none or of another size than its photograph."""
    try:
        drawn = read_image(path)
    except RefusedImageError as e:
        raise DataError(str(e)) from e
    height, width = drawn.shape[:2]
    if (width, height) != (photograph.width, photograph.height):
        raise DataError(
            f"{path}: {width}x{height} px, its photograph {photograph.path} is {photograph.width}x{photograph.height}"
        )
    return drawn
