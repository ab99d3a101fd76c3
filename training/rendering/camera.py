"""Light on a surface and the camera that looks at it: lamp, pose, lens, sensor."""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.rendering.stencils import CANVAS_PX, VIEW_PX, Field
from training.rendering.surface import Surface


def shade(part: Surface, towards_lamp: NDArray[np.float64]) -> Field:
    """Light sent up to the camera, (H, W, 3) linear RGB: Lambert, Blinn, and Kajiya and Kay along machining marks."""
    light = towards_lamp / np.linalg.norm(towards_lamp)
    half = light + np.array([0, 0, 1])
    (lx, ly, lz), (hx, hy, hz) = map(float, light), map(float, half / np.linalg.norm(half))
    slope_x, slope_y = (cv2.Sobel(part.height, cv2.CV_32F, *axis, scale=1 / 8) for axis in ((1, 0), (0, 1)))
    steep = cv2.sqrt(1 + slope_x**2 + slope_y**2)
    facing = np.maximum(lz - lx * slope_x - ly * slope_y, 0) / steep
    mirror = cv2.pow(np.maximum(hz - hx * slope_x - hy * slope_y, 0) / steep, 32)
    groove_x, groove_y = part.groove[..., 0], part.groove[..., 1]
    along = groove_x * (hx + slope_x * hz) + groove_y * (hy + slope_y * hz)
    sheen = (groove_x**2 + groove_y**2) * cv2.pow(np.maximum(1 - along**2, 0), 10) * facing
    diffuse, shine = part.exposure * (0.2 + 0.9 * facing), part.exposure * (0.5 * sheen + part.gloss * mirror)
    return np.asarray(part.albedo * diffuse[..., None] + shine[..., None], np.float32)


def pose(rng: Generator, width: int, height: int) -> NDArray[np.float64]:
    """(2, 3) affine map from canvas to picture: up to 2 px, mostly under 1 and never over 2 degrees off."""
    scale = min(width / VIEW_PX[0], height / VIEW_PX[1])
    center = CANVAS_PX[0] / 2, CANVAS_PX[1] / 2
    view = np.asarray(cv2.getRotationMatrix2D(center, float(np.clip(rng.normal(0, 0.35), -2, 2)), scale), np.float64)
    view[:, 2] += np.array([width, height]) / 2 - center + rng.uniform(-2, 2, 2) * scale
    return view


def project(lit: Field, view: NDArray[np.float64], width: int, height: int) -> Field:
    """(height, width, 3) linear RGB through a lens that blurs slightly, and no finer than the picture can show."""
    blur_px = max(0.6, 0.45 / float(np.hypot(view[0, 0], view[0, 1])))
    seen = cv2.warpAffine(cv2.GaussianBlur(lit, (0, 0), blur_px), view, (width, height), borderMode=cv2.BORDER_REFLECT)
    return np.asarray(seen, np.float32)


def lamp(rng: Generator, width: int, height: int) -> Field:
    """How the light falls off over the picture, (height, width, 1): brightness, slant, vignetting."""
    y, x = np.linspace(-1, 1, height)[:, None, None], np.linspace(-1, 1, width)[:, None]
    slant_x, slant_y = rng.normal((-0.12, -0.09), 0.025)
    lamp = rng.normal(1, 0.03) * (1 + slant_x * x + slant_y * y) * (1 - 0.17 * (x**2 + y**2))
    return np.asarray(lamp, np.float32)


def expose(seen: Field, rng: Generator) -> NDArray[np.uint8]:
    """uint8 RGB with noise. The square root is the display's gamma and makes shot noise even (Anscombe)."""
    shown = 255 * np.sqrt(seen) + 2.2 * rng.standard_normal(seen.shape, np.float32)
    return np.asarray(np.clip(shown, 0, 255), np.uint8)
