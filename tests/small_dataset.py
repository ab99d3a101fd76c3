"""Tiny drawn parts in the MVTec layout, and the recipe that learns them in a second."""

from pathlib import Path

import cv2
import numpy as np

from training.recipe import Recipe


def plate(seed: int, width: int = 96, height: int = 80) -> np.ndarray:
    """A grey plate with a hole, (H, W, 3) uint8; each seed has other noise, light and a slightly other place."""
    random = np.random.default_rng(seed)
    image = np.full((height, width, 3), random.uniform(120, 135))
    center = (width // 2 + int(random.integers(-2, 3)), height // 2)
    cv2.circle(image, center, height // 4, (60.0, 70.0, 80.0), -1)
    return np.clip(image + random.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


def scratched(image: np.ndarray) -> np.ndarray:
    damaged = image.copy()
    cv2.line(damaged, (5, 10), (50, 14), (250, 240, 30), 4)
    return damaged


def save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes())
    return path


def save_dataset(root: Path, n_good: int = 12, n_test: int = 4) -> Path:
    """MVTec layout: train/good, test/good, test/scratch, ground_truth/scratch."""
    for k in range(n_good):
        save(root / "train" / "good" / f"{k:03}.png", plate(k))
    for k in range(n_test):
        save(root / "test" / "good" / f"{k:03}.png", plate(1000 + k))
        clean = plate(2000 + k)
        save(root / "test" / "scratch" / f"{k:03}.png", scratched(clean))
        mask = (scratched(clean) != clean).any(axis=2, keepdims=True) * np.uint8([255, 255, 255])
        save(root / "ground_truth" / "scratch" / f"{k:03}_mask.png", mask)
    return root


def small_recipe(data: Path, out: Path, **changes: object) -> Recipe:
    settings = {"bank": 50, "pool": 400}
    return Recipe(
        **{"method": "patchcore", "data": str(data), "out": str(out), "weights": "random", "image_size": 64, "settings": settings}
        | changes
    )
