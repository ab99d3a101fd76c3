"""FastFlow: a flow turns the features of good parts into white noise; what does not become noise is strange.

Yu et al., "FastFlow: Unsupervised Anomaly Detection and Localization via 2D Normalizing Flows", arXiv 2111.07677: section
3.2 features, 3.3 the 2D flow; there is no official code, the step is the community's (gathierry/FastFlow, FrEIA).

Differs from the paper:
- 100 epochs instead of 500, the last step kept, and a decay of the convolutions that counts: as under a Gaussian prior with the
  variance that they start from. The public 1e-5 is nothing beside a loss summed over a whole level: the coarse levels learn
  the photographs by heart, good parts that were held out become unlikely after an early peak (docs/decisions.md, 17), and
  the paper's figures are reached only by choosing the best epoch on the test set.
- Features of a convolutional network pass a layer norm over (C, h, w) jointly, as in the public code, but without its
  learned affine: training is steadier, and the weights do not depend on the image size.
- One subnet per step (the paper draws two): so the paper's counts of parameters are met. With ViTs they are not, 7.1 M
  against 14.8 M.
- The likelihood is exp(-0.5 mean_c z^2), of the mean over channels; levels are averaged on the finest native grid, and
  the score is the maximum there instead of at the size of the image.
- A step is 8 photographs instead of 32, at the same rate: likelier good parts for the same work. The smaller last batch of an
  epoch is used.
"""

from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.backbone import Backbone
from training.descend import Course, batch_of, descend, steps_of
from training.flows import OneSidedCoupling
from training.methods import Method, Parts
from training.pretrained import EMBEDDED
from training.progress import Progress

_PRECISION = 3.0  # times the inputs of a convolution: one over the variance with which torch draws its weights
_EPSILON = 1e-5  # of the layer norm's variance, as torch's
_NARROW = 256  # channels of the widest level up to which every step has 3x3 convolutions; ResNet-18's


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """epochs: over the good parts. batch: images per step; each takes 90 MB with ResNet-18 at 256 px. rate: of the
    learning, constant.

    Of each level's flow, None is what suits such a backbone: steps (8; ViT 20), kernels (3x3 in all; wide networks and ViT
    alternate with 1x1), hidden channels of the subnets as a share of their input (1; ViT 0.16).
    """

    levels: ClassVar[tuple[int, ...]] = (4, 8, 16)
    suited: ClassVar[str] = EMBEDDED
    tileable: ClassVar[bool] = True
    image_size: ClassVar[int] = 256
    depth: ClassVar[bool] = False

    epochs: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    batch: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 8
    rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1e-3
    steps: Annotated[int, msgspec.Meta(ge=1, le=100)] | None = None
    kernels: Literal["3-3", "3-1"] | None = None
    hidden: Annotated[float, msgspec.Meta(gt=0, le=4)] | None = None

    def build(self, backbone: Backbone, seed: int) -> "FastFlow":
        return FastFlow(backbone, self, seed)


class Flow(nn.Module):
    """The steps of one level. channels: of the level."""

    def __init__(self, channels: int, steps: int, kernels: tuple[int, int], hidden: float) -> None:
        super().__init__()
        inside = max(1, int((channels - channels // 2) * hidden))
        self.steps = nn.ModuleList(
            OneSidedCoupling(torch.randperm(channels), inside, kernel=kernels[k % 2]) for k in range(steps)
        )

    def forward(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, h, w) to noise of that shape, and the log-determinant (B, h, w)."""
        log_det = level.new_zeros(())
        for step in self.steps:
            level, enlarged = step(level)
            log_det = log_det + enlarged
        return level, log_det


class FastFlow(Method):
    """One independent flow per level of the backbone."""

    bf16_islands = ("flows",)
    """INT8 moved scores by 5 to 13 % of the range, or AU-PRO by 0.6 to 1.4 points, whatever else was in float (docs/decisions.md,
    28). In bfloat16 only the convolutions of the subnets round, whose answer is scaled by 0.1 and bounded: no level moved a
    score by more than 1 % of the range. What multiplies exponentials has no trained layer and stays in float32."""

    def __init__(self, backbone: Backbone, config: Config, seed: int) -> None:
        super().__init__()
        self.backbone = backbone
        self._config = config
        self._seed = seed
        wide = backbone.is_transformer or max(backbone.channels) > _NARROW
        steps = config.steps or (20 if backbone.is_transformer else 8)
        kernels = (3, 1) if (config.kernels or ("3-1" if wide else "3-3")) == "3-1" else (3, 3)
        hidden = config.hidden or (0.16 if backbone.is_transformer else 1.0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.flows = nn.ModuleList(Flow(channels, steps, kernels, hidden) for channels in backbone.channels)

    def fit(self, good: Parts, progress: Progress, checkpoints: Path | None = None) -> None:
        config, count = self._config, len(good)
        course = Course(
            stage="flow",
            learner=self.flows,
            optimizer=torch.optim.Adam(held_to_their_start(self.flows, count), lr=config.rate),
            steps=steps_of(config.epochs, count, config.batch),
            seed=self._seed,
            loss=lambda step: self.loss(good.batch(batch_of(step, count, config.batch, self._seed))),
            half=True,
        )
        descend(course, progress, checkpoints)

    def loss(self, images: Tensor) -> Tensor:
        """Negative log-likelihood of the features, summed over levels, mean over the batch; without its constant.

        images: (B, 3, H, W) normalized. The backbone may compute in half precision, the flow never does: it multiplies
        exponentials.
        """
        with torch.no_grad():
            levels = self.features(images)
        with torch.autocast(images.device.type, enabled=False):
            flowed = [flow(level.float()) for flow, level in zip(self.flows, levels, strict=True)]
        per_level = [0.5 * noise.square().flatten(1).sum(dim=1) - log_det.flatten(1).sum(dim=1) for noise, log_det in flowed]
        return torch.stack(per_level).sum(dim=0).mean()

    def features(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalized to (B, C, h, w) of each level, normed; a ViT's come with their own norm."""
        levels = self.backbone(images)
        if self.backbone.is_transformer:
            return list(levels)
        return [layer_normed(level) for level in levels]

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalized to (B, h, w) of the finest level: minus the mean likelihood of the levels, in [-1, 0]."""
        levels = self.features(images)
        noises = [flow(level)[0] for flow, level in zip(self.flows, levels, strict=True)]
        likelihoods = [(-0.5 * noise.square().mean(dim=1, keepdim=True)).exp() for noise in noises]  # (B, 1, h, w) each
        size = levels[0].shape[2:]
        grown = [F.interpolate(likelihood, size=size, mode="bilinear", align_corners=False) for likelihood in likelihoods]
        return -torch.cat(grown, dim=1).mean(dim=1)


def layer_normed(level: Tensor) -> Tensor:
    """(B, C, h, w) with mean 0 and deviation 1 over (C, h, w), a layer norm without its affine.

    The means are taken one axis after the other: runtimes add up what they are given in one float32, which over a whole level
    is off by 3e-5 of the variance, and by 1.5e-3 of (threshold - median) in the score.
    """
    centered = level - _mean(level)
    return centered * torch.rsqrt(_mean(centered.square()) + _EPSILON)


def _mean(level: Tensor) -> Tensor:
    """(B, C, h, w) to (B, 1, 1, 1)."""
    return level.mean(dim=3, keepdim=True).mean(dim=2, keepdim=True).mean(dim=1, keepdim=True)


def held_to_their_start(flows: nn.Module, count: int) -> list[dict[str, Any]]:
    """What is learned, in groups for the optimizer: a convolution's weights decay as under a Gaussian prior with the variance
    that they start with, gains and offsets not at all.

    count: of the good parts. The loss is that of one of them, so the decay is one part's share of the prior.
    """
    by_decay: defaultdict[float, list[nn.Parameter]] = defaultdict(list)
    for module in flows.modules():
        for parameter in module.parameters(recurse=False):
            held = isinstance(module, nn.Conv2d) and parameter is module.weight
            by_decay[_PRECISION * parameter[0].numel() / count if held else 0.0].append(parameter)
    return [{"params": parameters, "weight_decay": decay} for decay, parameters in by_decay.items()]
