"""What every distillation has in common: teachers that speak, a student that learns in one cycle, and the file it leaves."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from agent.whole_file import write_whole
from training.crops import Source, batch
from training.descend import Course, fast_in_half
from training.plan import DistillError, Plan, Teacher
from training.pretrained import IMAGENET_MEAN, IMAGENET_STD, UNKNOWN, Stated, load_backbone

FARTHEST = 10.0  # deviations; a channel that is almost always silent must not rule the loss
_WARM_UP = 0.1
_WHITENING_BATCHES, _WHITENING_KEY = 12, 1_000_000_000  # steps far from those of training


class Lesson:
    """Teachers and what learns from them.

    A kind of student sets `learner` (student and adapters as modules, statistics of the teachers' features as buffers) and
    fills in the three methods below.
    """

    network: str  # for the card
    rate: float
    decay: float
    learner: nn.Module

    def whiten(self, batches: Iterator[Any]) -> None:
        """Takes the statistics of the teachers' features over the batches, (B, H, W, 3) uint8 each."""
        raise NotImplementedError

    def loss(self, images: Any) -> Tensor:
        """How far the student is from its teachers: 1 is what one that knows only the means would have."""
        raise NotImplementedError

    def student_state(self) -> dict[str, Tensor]:
        """What is kept in the end."""
        raise NotImplementedError

    def __init__(self, plan: Plan, sources: Sequence[Source], strides: tuple[int, ...]) -> None:
        self._plan, self._sources = plan, sources
        loaded = [load_backbone(t.name, t.weights, 0, _stated(t), strides) for t in plan.teachers]
        self.provenances = [provenance for _, provenance in loaded]
        self._teachers = [(channels_last(backbone), Normalize(p.mean, p.std)) for backbone, p in loaded]
        self.widths = [[backbone.channels[k] for backbone, _ in loaded] for k in range(len(strides))]  # per level and teacher
        described = [asdict(t) | {"weights": p.sha256} for t, p in zip(plan.teachers, self.provenances, strict=True)]
        decides = asdict(plan) | {"teachers": described, "images": [source.sha256 for source in sources]}
        self.decides = json.dumps(decides, sort_keys=True).encode()  # all that the student depends on

    def to(self, device: torch.device) -> None:
        self.learner.to(device)
        for teacher, _ in self._teachers:
            teacher.to(device)

    @property
    def device(self) -> torch.device:
        return next(self.learner.parameters()).device

    def begin(self) -> None:
        """The statistics, from crops that are not trained on."""
        plan = self._plan
        keys = range(_WHITENING_KEY, _WHITENING_KEY + _WHITENING_BATCHES)
        self.whiten(batch(self._sources, plan.seed, key, plan.batch, plan.crop) for key in keys)

    def course(self) -> Course:
        """AdamW on one cycle over all that learns."""
        plan = self._plan
        return Course(
            stage="student",
            learner=self.learner,
            optimizer=torch.optim.AdamW(self.learner.parameters(), lr=self.rate, weight_decay=self.decay),
            steps=plan.steps,
            seed=plan.seed,
            loss=lambda step: self.loss(batch(self._sources, plan.seed, step, plan.batch, plan.crop)),
            rate=lambda share: one_cycle(round(share * plan.steps), plan.steps),
        )

    def lecture(self, images: Any) -> list[Tensor]:
        """The teachers' features, concatenated per stride, as they are."""
        with torch.no_grad(), half_precision(self.device):
            told = [teacher(normalize(images, self.device)) for teacher, normalize in self._teachers]
        return [torch.cat([level.float() for level in levels], dim=1) for levels in zip(*told, strict=True)]

    def write_student(self, out: Path) -> None:
        """The student alone in float16, with what a reader must know of it."""
        state = self.student_state()
        halves = {key: value.half().contiguous() for key, value in state.items() if not key.endswith("num_batches_tracked")}
        told = {"mean": json.dumps(IMAGENET_MEAN), "std": json.dumps(IMAGENET_STD), "licence": self._plan.licence}
        write(out, _ordered(save(halves, told)))


class Normalize:
    """(B, H, W, 3) uint8 to (B, 3, H, W) float32 on the device."""

    def __init__(self, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        self._mean, self._std = torch.tensor(mean), torch.tensor(std)

    def __call__(self, images: Any, device: torch.device) -> Tensor:
        seen = (torch.from_numpy(images).float() / 255 - self._mean) / self._std
        return seen.permute(0, 3, 1, 2).to(device)  # channels last in memory


def one_cycle(step: int, steps: int) -> float:
    """Share of the highest learning rate: up in a line, down in half a cosine.

    >>> [round(one_cycle(k, 100), 2) for k in (0, 9, 10, 55, 99)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    rise = max(1, round(_WARM_UP * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def half_precision(device: torch.device) -> Any:
    """bfloat16 where the device computes in it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=fast_in_half(device))


def channels_last(module: Any) -> Any:
    return module.to(memory_format=torch.channels_last)


def write(file: Path, content: bytes) -> None:
    """Whole or not at all. Raises DistillError."""
    try:
        write_whole(file, content)
    except OSError as e:
        raise DistillError(f"{file}: cannot be written: {e.strerror or e}") from e


def _ordered(content: bytes) -> bytes:
    """The safetensors file with its header sorted: the library writes metadata in an order of chance."""
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return content[:8] + header.encode().ljust(length) + content[8 + length :]


def _stated(teacher: Teacher) -> Stated:
    options = {key: value for key, value in teacher.stated.items() if key not in {"mean", "std", "licence"}}
    mean, std = (None if (v := teacher.stated.get(key)) is None else (float(v),) * 3 for key in ("mean", "std"))
    return Stated(options, mean, std, teacher.stated.get("licence", UNKNOWN))
