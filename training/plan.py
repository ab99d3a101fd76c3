"""What a distillation is asked to do."""

from dataclasses import dataclass
from typing import Any

from agent.error import InputError

PYRAMID, PDN_S, PDN_M = STUDENTS = "pyramid", "pdn-s", "pdn-m"


class DistillError(InputError):
    """A distillation that cannot begin or go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """name: timm's. weights: a file, or None for the hub. stated: mean, std (one for all colors), licence, timm's options."""

    name: str
    weights: str | None
    stated: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that decides the student. images: folders or `procedural`, equal shares. crop: side in px. student: one of STUDENTS."""

    teachers: tuple[Teacher, ...]
    images: tuple[str, ...]
    steps: int = 1800
    batch: int = 16
    crop: int = 128
    seed: int = 0
    licence: str = "unknown"
    student: str = PYRAMID
