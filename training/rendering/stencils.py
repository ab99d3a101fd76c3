"""Shapes on the canvas: stencils, drawn finer than it is, and fields, which lie on its pixels.

The layout of a part is in px of a 640 × 480 view. The canvas adds a margin for the pose to move in.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Stencil = NDArray[np.uint8]  # 0 or 255
Box = tuple[int, int, int, int]  # x0, y0, x1, y1
Text = tuple[str, int, int, float, int]  # text, x, y of its lower left, size, stroke

VIEW_PX, MARGIN_PX, FINE = (640, 480), 32, 2
CANVAS_PX = (VIEW_PX[0] + 2 * MARGIN_PX, VIEW_PX[1] + 2 * MARGIN_PX)


def blank() -> Stencil:
    """An empty one, FINE times as wide and high as the canvas."""
    return np.zeros((CANVAS_PX[1] * FINE, CANVAS_PX[0] * FINE), np.uint8)


def fine(*position_px: int) -> list[int]:
    """Coordinates of the layout to those of a stencil."""
    return [(v + MARGIN_PX) * FINE for v in position_px]


def rectangle(box_px: Box, corner_px: int) -> Stencil:
    """With round corners."""
    (x0, y0, x1, y1), r = fine(*box_px), corner_px * FINE
    stencil = blank()
    stencil[y0 + r : y1 - r, x0 + r : x1 - r] = 255
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1))
    return np.asarray(cv2.dilate(stencil, brush), np.uint8)


def discs(centers_px: tuple[tuple[int, int], ...], radius_px: int) -> Stencil:
    """All of one radius."""
    stencil = blank()
    for center in centers_px:
        cv2.circle(stencil, fine(*center), radius_px * FINE, 255, -1)
    return stencil


def written(texts: list[Text]) -> Stencil:
    """These texts."""
    stencil = blank()
    for text, x, y, size, stroke in texts:
        cv2.putText(stencil, text, fine(x, y), cv2.FONT_HERSHEY_SIMPLEX, size * FINE, 255, stroke, cv2.LINE_AA)
    return stencil


def where(condition: NDArray[np.bool_]) -> Stencil:
    """255 there, 0 elsewhere; of any size."""
    return np.asarray(condition, np.uint8) * np.uint8(255)


def share(stencil: Stencil) -> Field:
    """0 to 1."""
    return stencil.astype(np.float32) / np.float32(255)


def step(stencil: Stencil, rise_px: float, edge_px: float) -> Field:
    """A plateau, or a pit where rise is negative, with a round edge; px."""
    slope = np.minimum(cv2.distanceTransform(stencil, cv2.DIST_L2, 5) / (edge_px * FINE), 1)
    return np.asarray(rise_px * slope * (2 - slope), np.float32)


def shrink(fine: Field) -> Field:
    """From a stencil's size to that of the canvas."""
    return np.asarray(cv2.resize(fine, CANVAS_PX, interpolation=cv2.INTER_AREA), np.float32)


def distance(x_px: float, y_px: float, stretch: float = 1.0) -> Field:
    """Distance from a point of the layout, (H, W) px of the canvas."""
    y, x = np.ogrid[: CANVAS_PX[1], : CANVAS_PX[0]]
    squared = (x - x_px - MARGIN_PX) ** 2 + (stretch * (y - y_px - MARGIN_PX)) ** 2
    return np.asarray(np.sqrt(squared), np.float32)


def region(box_px: Box) -> tuple[slice, slice]:
    """Rows and columns of the canvas."""
    x0, y0, x1, y1 = (v + MARGIN_PX for v in box_px)
    return slice(y0, y1), slice(x0, x1)
