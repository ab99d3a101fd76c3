"""Teachers to a pyramid: ResNet-18 up to stride 16, matched to them at strides 4, 8 and 16.

A 1x1 adapter per stride maps its features to those of all teachers, each channel brought to mean 0 and deviation 1; the
adapters are thrown away.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.crops import Source
from training.lesson import FARTHEST, Lesson, Normalize, channels_last, half_precision
from training.plan import Plan
from training.pretrained import IMAGENET_MEAN, IMAGENET_STD, RANDOM, load_backbone

_NETWORK, _STRIDES = "resnet18", (4, 8, 16)


class PyramidLesson(Lesson):
    """The student and its adapters."""

    network = f"timm {_NETWORK}, features of stride {', '.join(map(str, _STRIDES))}"
    rate, decay = 2e-3, 0.01

    def __init__(self, plan: Plan, sources: Sequence[Source]) -> None:
        super().__init__(plan, sources, _STRIDES)
        student, _ = load_backbone(_NETWORK, RANDOM, plan.seed, strides=_STRIDES)
        self._student = channels_last(student.network).requires_grad_(True)
        self._see = Normalize(IMAGENET_MEAN, IMAGENET_STD)
        widths = [sum(level) for level in self.widths]
        self._adapters = nn.ModuleList([nn.Conv2d(own, wide, 1) for own, wide in zip(student.channels, widths, strict=True)])
        self.learner = nn.ModuleDict({"student": self._student, "adapters": self._adapters})
        for k, wide in enumerate(widths):
            self.learner.register_buffer(f"mean_{k}", torch.zeros(1, wide, 1, 1))
            self.learner.register_buffer(f"deviation_{k}", torch.ones(1, wide, 1, 1))

    def whiten(self, batches: Iterator[Any]) -> None:
        levels = [torch.cat(level) for level in zip(*(self.lecture(images) for images in batches), strict=True)]
        for level, (mean, deviation) in zip(levels, self._statistics(), strict=True):
            mean.copy_(level.mean(dim=(0, 2, 3), keepdim=True))
            deviation.copy_(level.std(dim=(0, 2, 3), keepdim=True).clamp(min=1e-4))

    def loss(self, images: Any) -> Tensor:
        wanted = [
            ((level - mean) / deviation).clamp(-FARTHEST, FARTHEST)
            for level, (mean, deviation) in zip(self.lecture(images), self._statistics(), strict=True)
        ]
        with half_precision(self.device):
            seen = self._see(images, self.device)
            answers = [a(x) for a, x in zip(self._adapters, self._student(seen), strict=True)]
        losses = [F.mse_loss(answer.float(), level) for answer, level in zip(answers, wanted, strict=True)]
        return torch.stack(losses).mean()

    def _statistics(self) -> list[tuple[Tensor, Tensor]]:
        """Mean and deviation of each channel, per level."""
        levels = range(len(_STRIDES))
        return [(self.learner.get_buffer(f"mean_{k}"), self.learner.get_buffer(f"deviation_{k}")) for k in levels]

    def student_state(self) -> dict[str, Tensor]:
        return dict(self._student.state_dict())
