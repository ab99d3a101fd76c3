"""STFPM: a student that has seen only good parts does not see in a defect what its teacher sees.

Wang et al., "Student-Teacher Feature Pyramid Matching for Anomaly Detection", BMVC 2021, arXiv 2103.04257: section 3.1
framework and loss, 3.2 anomaly map.

Differs from the paper:
- The loss is d^2 averaged over batch and positions, without the factor 0.5, as in the official code. A step is 8 photographs,
  not 32, at 4 times its rate of 0.4: a course of as many epochs comes a fifth to a third nearer to the teacher on good parts
  held out (docs/decisions.md 16), and 20 photographs are more than one step. 30 epochs of these are as many steps as the
  paper's 100; a student that is taught for longer comes to see through defects as well.
- After the last step the student's BatchNorm statistics are taken anew over all good parts: at such a rate the running ones
  are of weights that it no longer has.
- The map is the geometric mean of the levels' maps instead of their product: the same ranking of places, but of the order of
  a single level's values, where the product of three is 1e-6 and vanishes in half precision.
- The levels meet on the finest of their own grids (64 x 64 at 256 px), as in the official code; the score is the maximum there,
  of a mean in which a level counts by how well it alone tells painted damage on the parts it was taught from (docs/decisions.md
  27). In the map all levels count alike.
- No part is held out to choose an epoch: the last one is kept. The student starts as timm starts a network, the last gain of
  each residual branch at zero: it comes nearer to the teacher than from open ones, with which the official code begins.
"""

import math
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from agent.preprocess import inspected
from training.backbone import Backbone
from training.damage import KINDS, damage
from training.descend import Course, batch_of, descend, steps_of
from training.methods import Method, Parts
from training.metrics import image_auroc
from training.pretrained import EMBEDDED
from training.progress import Progress

_MOMENTUM, _DECAY = 0.9, 1e-4
_SHORTEST = 1e-12  # of a feature vector, before it is divided by its length
_PAINTED = 200  # parts at most, by which the levels are weighed
_LEAST = 1e-6  # added to a level's map, far below what good parts have: its logarithm must exist


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """epochs: over the good parts. batch: images per step. rate: of the learning, constant."""

    levels: ClassVar[tuple[int, ...]] = (4, 8, 16)
    suited: ClassVar[str] = EMBEDDED
    tileable: ClassVar[bool] = True
    image_size: ClassVar[int] = 256
    depth: ClassVar[bool] = False

    epochs: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 30
    batch: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 8
    rate: Annotated[float, msgspec.Meta(gt=0, le=10)] = 1.6

    def build(self, backbone: Backbone, seed: int) -> "Stfpm":
        return Stfpm(backbone, self, seed)


class Stfpm(Method):
    """The backbone as the teacher, and an untaught network of its shape as the student. weights: of the levels in the score."""

    weights: Tensor

    def __init__(self, backbone: Backbone, config: Config, seed: int) -> None:
        super().__init__()
        self.backbone = backbone
        self._config = config
        self._seed = seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            untaught = Backbone(backbone.name, backbone.options, config.levels)
        self.student: nn.Module = untaught.network.requires_grad_(True)
        self.register_buffer("weights", torch.full((len(config.levels),), 1.0 / len(config.levels)))

    def fit(self, good: Parts, progress: Progress, checkpoints: Path | None = None) -> None:
        config, count = self._config, len(good)
        self.to(memory_format=torch.channels_last)  # a processor's convolutions like it
        course = Course(
            stage="student",
            learner=self.student,
            optimizer=torch.optim.SGD(self.student.parameters(), lr=config.rate, momentum=_MOMENTUM, weight_decay=_DECAY),
            steps=steps_of(config.epochs, count, config.batch),
            seed=self._seed,
            loss=lambda step: self.loss(good.batch(batch_of(step, count, config.batch, self._seed))),
        )  # in full precision: at this rate, half diverges
        descend(course, progress, checkpoints)
        self._take_statistics(good, progress)
        self._weigh_levels(good, progress)
        self.to(memory_format=torch.contiguous_format)

    @torch.no_grad()
    def _take_statistics(self, good: Parts, progress: Progress) -> None:
        """BatchNorm's means and variances of the student as it is now: over all parts, those of each batch counting alike.

        Of several processes each goes through all of them, so that all have the same.
        """
        for module in self.student.modules():
            if isinstance(module, _BatchNorm):
                module.reset_running_stats()
                module.momentum = None  # torch: the mean over batches
        self.student.train()
        batches = math.ceil(len(good) / self._config.batch)
        for k in progress.track(range(batches), "statistics"):
            self.student(good.batch(range(k, len(good), batches)))
        self.student.eval()

    @torch.no_grad()
    def _weigh_levels(self, good: Parts, progress: Progress) -> None:
        """By (2 AUROC - 1)^4 of each level's maximum, good parts against the same with painted damage."""
        used = sorted({k * len(good) // _PAINTED for k in range(_PAINTED)})
        seen = inspected(good.contract) if good.contract.tiles is None else None
        maxima = []  # of a good part and of the same with damage: (levels, 2)
        for n, k in enumerate(progress.track(used, "levels")):
            (image,) = good.pixels([k]).cpu().numpy()
            inside = np.ones(image.shape[:2], np.bool_) if seen is None else seen
            painted = damage(image, KINDS[n % len(KINDS)], (self._seed, k), inside).image
            both = good.normalize(torch.from_numpy(np.stack([image, painted])).to(good.device))
            maxima.append(torch.stack([self.inspected(level).amax(dim=1) for level in self._grown(both).unbind(1)]).cpu().numpy())
        told = np.array([image_auroc(good_ones, bad_ones) for good_ones, bad_ones in np.stack(maxima).transpose(1, 2, 0)])
        worth = np.clip(2.0 * told - 1.0, 0.0, None) ** 4
        if worth.sum() > 0:
            self.weights.copy_(torch.from_numpy(worth / worth.sum()))

    def loss(self, images: Tensor) -> Tensor:
        """Squared distances of the directions of the features, mean over batch and positions, summed over levels.

        images: (B, 3, H, W) normalized.
        """
        return torch.stack([2.0 * level.mean() for level in self.level_maps(images)]).sum()

    def level_maps(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalized to (B, h, w) of each level, finest first: 1 - cosine, in [0, 1] behind a ReLU."""
        with torch.no_grad():
            taught = self.backbone(images)
        learned = self.student(images)
        return [_half_squared_distance(t, s) for t, s in zip(taught, learned, strict=True)]

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalized to (B, h, w) of the finest level: geometric mean of the levels' maps, in [0, 1]."""
        return self._grown(images).mean(dim=1).exp() - _LEAST

    def judge(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Raw score (B,), the maximum of the weighted mean, and map (B, h, w)."""
        grown = self._grown(*inputs)
        weighted = (grown * self.weights[:, None, None]).sum(dim=1).exp() - _LEAST
        return self.inspected(weighted).amax(dim=1), self.shown(grown.mean(dim=1).exp() - _LEAST)

    def _grown(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalized to (B, levels, h, w) of the finest level: logarithms of the levels' maps."""
        maps = [level[:, None] for level in self.level_maps(images)]
        size = maps[0].shape[2:]
        grown = [F.interpolate(level, size=size, mode="bilinear", align_corners=False) for level in maps]
        return (torch.cat(grown, dim=1) + _LEAST).log()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """In runs of before 2026-11-22 all levels count alike."""
        state_dict.setdefault(f"{prefix}weights", torch.full_like(self.weights, 1.0 / len(self.weights)))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _half_squared_distance(taught: Tensor, learned: Tensor) -> Tensor:
    """(B, h, w): half the squared distance of two (B, C, h, w) on the unit sphere. Where they agree, 1 - cosine would cancel."""
    return 0.5 * (_on_sphere(taught) - _on_sphere(learned)).square().sum(dim=1)


def _on_sphere(features: Tensor) -> Tensor:
    features = features.float()
    return features * features.square().sum(dim=1, keepdim=True).clamp(min=_SHORTEST).rsqrt()
