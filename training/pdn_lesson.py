"""Teachers to EfficientAD's PDN-S or PDN-M: what it describes each 4 px is what they say there.

Batzner et al., arXiv 2303.14535, Algorithm 3.

Differs from the paper:
- Teachers are any networks with features of stride 8, not one WideResNet-101; each channel is brought to mean 0 and deviation
  1, and each teacher weighs the same, however many channels it has.
- They see the picture as it is, not at twice its side, and their features are not averaged over 3x3: as patches of their own
  these find more (docs/decisions.md 20). Stride 16 looks at so much of the picture that 33 px can hardly tell it.
- Channels are reduced to 384 by a seeded random projection, orthonormal where it reduces, not by averaging neighbors: channels
  next to each other have nothing in common, and a projection keeps distances, which is what the description is for.
- Statistics come from some hundred crops instead of 10 000 pictures, and the optimizer is AdamW on one cycle with a four times
  higher rate, which batch normalization behind all convolutions but the last makes possible: hundreds of steps on a processor,
  not 60 000 on a GPU. In the end the normalization is folded into the convolutions; the file has the paper's layers only.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from training.crops import Source
from training.lesson import FARTHEST, Lesson, Normalize, channels_last, half_precision
from training.pdn import OUTPUTS, STRIDE, Pdn, PdnM, PdnS
from training.plan import PDN_M, PDN_S, Plan
from training.pretrained import IMAGENET_MEAN, IMAGENET_STD

PDNS: dict[str, type[PdnS | PdnM]] = {PDN_S: PdnS, PDN_M: PdnM}
NAMES = {PDN_S: "PDN-S", PDN_M: "PDN-M"}
_LEVELS = (8,)  # of the teachers
_EVERY = 2  # places between those that statistics are taken from


class PdnLesson(Lesson):
    """A PDN, padded so that its grid is the teachers'; nothing but the network itself is learned."""

    rate, decay = 4e-4, 1e-5

    def __init__(self, plan: Plan, sources: Sequence[Source]) -> None:
        super().__init__(plan, sources, _LEVELS)
        self.network = f"{NAMES[plan.student]} of EfficientAD, {OUTPUTS} channels of stride {STRIDE}; to be used without padding"
        self._student = _normalized(channels_last(PDNS[plan.student](padded=True)))
        self._see = Normalize(IMAGENET_MEAN, IMAGENET_STD)
        widths = [width for level in range(len(_LEVELS)) for width in self.widths[level]]
        self.learner = nn.ModuleDict({"student": self._student})
        self.learner.register_buffer("mixing", _mixing(widths, OUTPUTS))
        for name, channels in (("told", sum(widths)), ("mixed", OUTPUTS)):
            self.learner.register_buffer(f"{name}_mean", torch.zeros(1, channels, 1, 1))
            self.learner.register_buffer(f"{name}_deviation", torch.ones(1, channels, 1, 1))

    def whiten(self, batches: Iterator[Any]) -> None:
        told = torch.cat([self._lecture(images)[:, :, ::_EVERY, ::_EVERY] for images in batches])
        self._take("told", told)
        self._take("mixed", self._mixed(told))

    def loss(self, images: Any) -> Tensor:
        wanted = self._whitened("mixed", self._mixed(self._lecture(images)))
        with half_precision(self.device):
            answer = self._student(self._see(images, self.device))
        return F.mse_loss(answer.float(), wanted)

    def student_state(self) -> dict[str, Tensor]:
        return _folded(self._student).state_dict()

    def _take(self, name: str, features: Tensor) -> None:
        self.learner.get_buffer(f"{name}_mean").copy_(features.mean(dim=(0, 2, 3), keepdim=True))
        self.learner.get_buffer(f"{name}_deviation").copy_(features.std(dim=(0, 2, 3), keepdim=True).clamp(min=1e-4))

    def _whitened(self, name: str, features: Tensor) -> Tensor:
        return (features - self.learner.get_buffer(f"{name}_mean")) / self.learner.get_buffer(f"{name}_deviation")

    def _lecture(self, images: Any) -> Tensor:
        """(B, all channels, H/4, W/4): the teachers' features, between their places interpolated."""
        (level,) = self.lecture(images)
        grid = [side // STRIDE for side in images.shape[1:3]]
        return F.interpolate(level, size=grid, mode="bilinear", align_corners=False)

    def _mixed(self, told: Tensor) -> Tensor:
        """(B, 384, h, w) of (B, all channels, h, w)."""
        whitened = self._whitened("told", told).clamp(-FARTHEST, FARTHEST)
        mixed: Tensor = F.conv2d(whitened, self.learner.get_buffer("mixing"))
        return mixed


class _Normalized(nn.Module):
    """A convolution and batch normalization behind it."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv, self.norm = conv, nn.BatchNorm2d(conv.out_channels)

    def forward(self, features: Tensor) -> Tensor:
        normalized: Tensor = self.norm(self.conv(features))
        return normalized


def _normalized(pdn: Pdn) -> Pdn:
    """With batch normalization behind each convolution but the last."""
    for name, conv in list(pdn.named_children()):
        if isinstance(conv, nn.Conv2d) and conv is not pdn.head:
            setattr(pdn, name, _Normalized(conv))
    return pdn


def _folded(normalized: Pdn) -> Pdn:
    """A plain PDN that answers as the normalized one does in eval mode."""
    pdn = copy.deepcopy(normalized).eval()
    for name, block in list(pdn.named_children()):
        if isinstance(block, _Normalized):
            setattr(pdn, name, fuse_conv_bn_eval(block.conv, block.norm))
    return pdn


def _mixing(widths: Sequence[int], outputs: int) -> Tensor:
    """(outputs, all channels, 1, 1): a random projection; each group of channels has the same share in it."""
    total = sum(widths)
    columns = torch.randn(total, outputs) / total**0.5
    if total > outputs:
        columns, _ = torch.linalg.qr(columns)
    shares = torch.cat([torch.full((width,), width**-0.5) for width in widths])
    mixing: Tensor = (columns * shares[:, None]).T[:, :, None, None].contiguous()
    return mixing
