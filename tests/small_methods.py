"""The smallest settings with which each method can be fitted in a second or two on tests/small_dataset.py's plates."""

from pathlib import Path

from small_dataset import small_recipe

from training.recipe import Recipe

SMALL: dict[str, dict[str, object]] = {
    "patchcore": {"settings": {"bank": 50, "pool": 400}},
    "stfpm": {"settings": {"epochs": 10, "batch": 4, "rate": 0.1}},
    "fastflow": {"settings": {"epochs": 6, "batch": 4, "steps": 2}},
    "efficientad": {"backbone": "pdn-s", "settings": {"autoencoder": False, "steps": 8}},
    "ast": {"settings": {"epochs": 4, "batch": 4, "student_width": 32, "teacher_width": 16}},
}


def recipe(method: str, data: Path, out: Path, **changes: object) -> Recipe:
    """The small recipe of a method, its backbone without knowledge."""
    return small_recipe(data, out, **{"method": method, **SMALL[method], **changes})
