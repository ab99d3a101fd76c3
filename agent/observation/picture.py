"""What a screen gets of a part: a small photograph, and the heat map to lay over it."""

import cv2
import numpy as np

from agent.inspection import AnomalyMap, Image
from agent.preprocess import InputContract, enlarge

_ABOUT_PX = 800  # wide, where a panel of 1280x800 shows a photograph 753 wide
_WIDEST_HEAT_PX = 160  # the browser enlarges it smoothly
_QUALITY = 82
_FULL_SCORE = 1.5  # a map this strong is coloured fully; 1 is the threshold


def small_photograph(image: Image, about_px: int = _ABOUT_PX) -> bytes:
    """JPEG of an (H, W, 3) RGB image, shrunk to two thirds to one and a half times `about_px` wide if it is wider than that.

    By a whole number: that takes OpenCV a twentieth of the time, and one processor instead of all of them.
    """
    n = max(1, min(round(image.shape[1] / about_px), image.shape[0]))
    height, width = image.shape[0] // n, image.shape[1] // n
    small = cv2.resize(image[: height * n, : width * n], (width, height), interpolation=cv2.INTER_AREA) if n > 1 else image
    return _encoded(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])


def heat_over(image: Image, anomaly_map: AnomalyMap, score: float, contract: InputContract) -> bytes:
    """Transparent PNG in the photograph's proportions: yellow to red where it is strange, and only as strong as the score.

    A map knows no scale of its own that holds for all methods; its strongest place is what the score speaks of.
    """
    width, height = _within(image, _WIDEST_HEAT_PX)
    large = enlarge(anomaly_map, (width, height), contract)
    low, high = float(np.median(anomaly_map)), float(anomaly_map.max())
    strength = min(max(score, 0.0), _FULL_SCORE) / _FULL_SCORE
    heat = np.clip((large - low) / (high - low), 0, 1) * strength if high > low else np.zeros_like(large)
    painted = np.empty((height, width, 4), np.uint8)  # blue, green, red, opacity
    painted[..., 0] = 0
    painted[..., 1] = (220 * (1 - heat)).astype(np.uint8)
    painted[..., 2] = 255
    painted[..., 3] = (235 * np.clip((heat - 0.15) / 0.6, 0, 1)).astype(np.uint8)
    return _encoded(".png", painted, [cv2.IMWRITE_PNG_COMPRESSION, 1])


def lossless(image: Image) -> bytes:
    """PNG of an (H, W, 3) RGB image: what a model is trained on later must not carry the blocks of a JPEG."""
    return _encoded(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])


def _within(image: Image, widest_px: int) -> tuple[int, int]:
    height, width = image.shape[:2]
    share = min(1.0, widest_px / width)
    return max(1, round(width * share)), max(1, round(height * share))


def _encoded(suffix: str, image: np.ndarray, options: list[int]) -> bytes:
    done, content = cv2.imencode(suffix, image, options)
    if not done:
        raise ValueError(f"expected an image that can be written as {suffix}, got {image.shape} {image.dtype}")
    return content.tobytes()
