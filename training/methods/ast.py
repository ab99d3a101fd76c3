"""AST: a student of another make follows the teacher's flow on good parts only; where it cannot, the part is strange.

Rudolph et al., "Asymmetric Student-Teacher Networks for Industrial Anomaly Detection", WACV 2023, arXiv 2210.07829: section
3.1 teacher, 3.2 student; depth and foreground are in training/depth_channels.py. The teacher is a flow, so what it has not
seen throws it far off; the student is none, so it does not land there too merely by being built alike.

Differs from the paper:
- The default is what comes with Kensa: the embedded backbone's stride 16 on 384 px. The paper's is `--set stride=32
  --backbone tf_efficientnet_b5`, 768 px, weights from elsewhere; the grid is 24x24 in both.
- RGB, too, takes the public code's teacher (soft clamp 1.9, 64 channels). The paper's for RGB are said to be 3 and 1024, which
  is not confirmed; a public run with 1.9 and 64 reaches 99.0 of 99.1 % on MVTec AD, at a sixteenth of the teacher's cost.
- Depth is prepared at the size of the network's input, not at the camera's. A corner of the background that was not measured
  takes the mean of the others.
- An image without any foreground is judged everywhere: an absent part must not pass as a perfect one.
- The score is of the native map, of which the mask is a factor once; the public evaluation enlarges it and masks it again.
- The smaller last batch of an epoch is used.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.backbone import Backbone
from training.depth_channels import CHANNELS, depth_channels
from training.descend import Course, batch_of, descend, steps_of
from training.flows import TwoSidedCoupling
from training.kept import Kept
from training.methods import Method, Parts
from training.pretrained import EMBEDDED
from training.progress import Progress

_GRID = 24  # places a side, as in the paper
_KERNELS = (3, 3, 3, 5)  # of the teacher's blocks
_CONDITION = 32  # channels of the positional encoding: half of them for x, then half for y
_LONGEST = 1e4  # wavelength of the positional encoding / 2 pi
_RESIDUALS = 4
_DECAY = 1e-5  # of the weights


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """modality: what it looks at. stride: of the backbone's features; `embedded` has 16, the paper's have 32.

    epochs: over the good parts, for the teacher and again for the student; None is the paper's, 240 for RGB and 72 with depth.
    batch: images per step. rate: of learning. alpha: largest log scale of a teacher's block. teacher_width, student_width:
    channels inside them. score: of the map; None is what the paper's results follow, mean for RGB and max with depth.
    """

    suited: ClassVar[str] = EMBEDDED

    modality: Literal["rgb", "depth", "rgb+depth"] = "rgb"
    stride: Literal[16, 32] = 16
    epochs: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    batch: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 8
    rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 2e-4
    alpha: Annotated[float, msgspec.Meta(gt=0, le=10)] = 1.9
    teacher_width: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 64
    student_width: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 1024
    score: Literal["mean", "max"] | None = None

    @property
    def levels(self) -> tuple[int, ...]:
        return (self.stride,)

    tileable: ClassVar[bool] = False  # its flow knows the place in the whole picture

    @property
    def image_size(self) -> int:
        return _GRID * self.stride

    @property
    def depth(self) -> bool:
        """Whether it needs the depth of each pixel."""
        return self.modality != "rgb"

    def build(self, backbone: Backbone, seed: int) -> "AST":
        return AST(backbone, self, seed)


class Teacher(nn.Module):
    """A conditional flow, section 3.1; starts as a permutation."""

    def __init__(self, channels: int, hidden: int, alpha: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            TwoSidedCoupling(torch.randperm(channels), _CONDITION, hidden, kernel, alpha) for kernel in _KERNELS
        )

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, h, w) to noise of that shape, and the log-determinant (B, h, w)."""
        position = _position_of(features)
        log_det = features.new_zeros(())
        for block in self.blocks:
            features, enlarged = block(features, position)
            log_det = log_det + enlarged
        return features, log_det


class Student(nn.Module):
    """Convolutions and residual blocks, section 3.2."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels + _CONDITION, hidden, kernel_size=3, padding=1)
        self.residuals = nn.ModuleList(_residual(hidden) for _ in range(_RESIDUALS))
        self.leave = nn.Conv2d(hidden, channels, kernel_size=3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to what it takes for the teacher's noise, of that shape."""
        inside = F.leaky_relu(self.enter(torch.cat([features, _position_of(features)], dim=1)))
        for residual in self.residuals:
            inside = inside + residual(inside)
        answer: Tensor = self.leave(inside)
        return answer


class AST(Method):
    """Teacher and student on the same features."""

    bf16_islands = ("teacher",)
    """A flow, never in INT8: it multiplies exponentials. In bfloat16 only the convolutions of its subnets round, whose answer is
    scaled by a small learned factor and bounded before; the worst score moved by 2.5 % of the range, student in INT8 included."""

    def __init__(self, backbone: Backbone, config: Config, seed: int) -> None:
        super().__init__()
        self.backbone = backbone
        self._config = config
        self._seed = seed
        self._pooling = config.score or ("max" if config.depth else "mean")
        channels = {"rgb": backbone.channels[0], "depth": CHANNELS, "rgb+depth": backbone.channels[0] + CHANNELS}[config.modality]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.teacher = Teacher(channels, config.teacher_width, config.alpha)
            self.student = Student(channels, config.student_width)

    def fit(self, good: Parts, progress: Progress, checkpoints: Path | None = None) -> None:
        def features_of(k: int) -> tuple[Tensor, ...]:
            return self.features(good.batch([k]), good.depth([k]) if self._config.depth else None)

        def noise_of(k: int) -> tuple[Tensor, ...]:
            return (self.teacher(known.batch([k])[0])[0],)

        known, noises = Kept(features_of, good.device), Kept(noise_of, good.device)
        of_teacher = self._course("teacher", len(good), lambda batch: self.teacher_loss(*known.batch(batch)))
        descend(of_teacher, progress, checkpoints)
        of_student = self._course(
            "student", len(good), lambda batch: self.student_loss(*known.batch(batch), *noises.batch(batch))
        )
        descend(of_student, progress, checkpoints)

    def teacher_loss(self, features: Tensor, mask: Tensor) -> Tensor:
        """Negative log-likelihood of the features, mean over places; without its constant. See `features` for the shapes."""
        with torch.autocast(features.device.type, enabled=False):  # it multiplies exponentials
            noise, log_det = self.teacher(features)
        per_place: Tensor = mask[:, 0] * (0.5 * noise.square().sum(dim=1) - log_det)  # (B, h, w)
        return per_place.mean()

    def student_loss(self, features: Tensor, mask: Tensor, noise: Tensor) -> Tensor:
        """Distance to the teacher's noise (B, C, h, w), mean over places. See `features` for the shapes."""
        return _distance(noise, self.student(features).float(), mask).mean()

    def features(self, images: Tensor, depth: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) normalized and (B, H, W) in metres to features (B, C, h, w) and the part's soft mask (B, 1, h, w).

        RGB has no mask, that is, one of ones. Raises ValueError where depth is needed and not given.
        """
        if self._config.modality == "rgb":
            (level,) = self.backbone(images)
            return level, torch.ones_like(level[:, :1])
        if depth is None:
            raise ValueError(f"expected depth (B, H, W) beside the images, found none: modality is {self._config.modality!r}")
        if self._config.modality == "depth":
            height, width = depth.shape[1:]
            return depth_channels(depth, (height // self._config.stride, width // self._config.stride))
        (level,) = self.backbone(images)
        surface, mask = depth_channels(depth, (level.shape[2], level.shape[3]))
        return torch.cat([level, surface], dim=1), mask

    def forward(self, images: Tensor, depth: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) normalized and (B, H, W) in metres to (B, h, w): distance of the student to the teacher, masked."""
        features, mask = self.features(images, depth)
        return _distance(self.teacher(features)[0], self.student(features), mask)

    def judge(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) normalized and (B, H, W) in metres to raw score (B,), mean or max of the map, and map (B, h, w)."""
        anomaly_map = self(*inputs)
        cells = self.inspected(anomaly_map)
        return cells.mean(dim=1) if self._pooling == "mean" else cells.amax(dim=1), self.shown(anomaly_map)

    def _course(self, learner: Literal["teacher", "student"], count: int, loss: Callable[[list[int]], Tensor]) -> Course:
        """count: of good parts. loss: of those with these numbers."""
        config, network = self._config, self.teacher if learner == "teacher" else self.student
        return Course(
            stage=learner,
            learner=network,
            optimizer=torch.optim.Adam(network.parameters(), lr=config.rate, weight_decay=_DECAY),
            steps=steps_of(config.epochs or (72 if config.depth else 240), count, config.batch),
            seed=self._seed,
            loss=lambda step: loss(batch_of(step, count, config.batch, self._seed)),
            half=True,
        )


def positional_encoding(height: int, width: int) -> Tensor:
    """(32, height, width): sine and cosine in turn of 8 wavelengths, first along x, then along y."""
    half = _CONDITION // 2
    rates = _LONGEST ** (-torch.arange(0, half, 2) / half)  # (8,)
    along_x, along_y = (
        torch.stack([(rates[:, None] * torch.arange(n)).sin(), (rates[:, None] * torch.arange(n)).cos()], dim=1).flatten(0, 1)
        for n in (width, height)
    )  # (16, width), (16, height)
    return torch.cat([along_x[:, None, :].expand(half, height, width), along_y[:, :, None].expand(half, height, width)])


def _position_of(features: Tensor) -> Tensor:
    """(B, C, h, w) to (B, 32, h, w)."""
    position = positional_encoding(features.shape[2], features.shape[3]).to(features)
    return position.expand(len(features), -1, -1, -1)


def _residual(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, kernel_size=3, padding=1),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(),
        nn.Conv2d(channels, channels, kernel_size=3, padding=1),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(),
    )


def _distance(noise: Tensor, answer: Tensor, mask: Tensor) -> Tensor:
    """Of the student's answer to the teacher's noise (B, C, h, w), masked: (B, h, w)."""
    return mask[:, 0] * (noise - answer).square().mean(dim=1)
