"""Teachers to EfficientAD's PDN-S: what it describes each 4 px is what they say there of a picture twice as large.

Batzner et al., arXiv 2303.14535, Algorithm 3.

Differs from the paper:
- Teachers are any networks with features of stride 8, not one WideResNet-101; each channel is brought to mean 0 and deviation
  1, and each teacher weighs the same, however many channels it has. What the paper takes from stride 16 as well looks at so
  much of the picture that 33 px can hardly tell it: in a thousand steps it is noise in the loss.
- Channels are reduced to 384 by a seeded random projection, orthonormal where it reduces, not by averaging neighbors: channels
  next to each other have nothing in common, and a projection keeps distances, which is what the description is for.
- Statistics come from some hundred crops instead of 10 000 pictures, and the optimizer is AdamW on one cycle with a four times
  higher rate, which batch normalization behind the first three convolutions makes possible: hundreds of steps on a processor,
  not 60 000 on a GPU. In the end the normalization is folded into the convolutions; the file has the paper's layers only.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from training.backbone import IMAGENET_MEAN, IMAGENET_STD
from training.crops import Source
from training.lesson import FARTHEST, Lesson, Normalize, channels_last, half_precision
from training.pdn import OUTPUTS, STRIDE, PdnS
from training.plan import Plan

_LEVELS = (8,)  # of the teachers, at twice the side: one place sees about as far as PDN's 33 px
_EVERY = 2  # places between those that statistics are taken from


class PdnLesson(Lesson):
    """PDN-S, padded so that its grid is the teachers'; nothing but the network itself is learned."""

    network = f"PDN-S of EfficientAD, {OUTPUTS} channels of stride {STRIDE}; to be used without padding"
    rate, decay = 4e-4, 1e-5

    def __init__(self, plan: Plan, sources: Sequence[Source]) -> None:
        super().__init__(plan, sources, _LEVELS)
        self._student: _NormalizedPdnS = channels_last(_NormalizedPdnS()).train()
        self._see = Normalize(IMAGENET_MEAN, IMAGENET_STD)
        widths = [width for level in range(len(_LEVELS)) for width in self.widths[level]]
        self._mixing = _mixing(widths, OUTPUTS)
        self._mean, self._deviation = torch.zeros(1, sum(widths), 1, 1), torch.ones(1, sum(widths), 1, 1)
        self._center, self._spread = torch.zeros(1, OUTPUTS, 1, 1), torch.ones(1, OUTPUTS, 1, 1)
        self.statistics = {"mean": self._mean, "deviation": self._deviation, "center": self._center, "spread": self._spread}
        self.modules = {"student": self._student}
        self.begin()

    def whiten(self, batches: Iterator[Any]) -> None:
        told = torch.cat([self._lecture(images)[:, :, ::_EVERY, ::_EVERY] for images in batches])
        self._mean.copy_(told.mean(dim=(0, 2, 3), keepdim=True))
        self._deviation.copy_(told.std(dim=(0, 2, 3), keepdim=True).clamp(min=1e-4))
        mixed = self._mixed(told)
        self._center.copy_(mixed.mean(dim=(0, 2, 3), keepdim=True))
        self._spread.copy_(mixed.std(dim=(0, 2, 3), keepdim=True).clamp(min=1e-4))

    def loss(self, images: Any) -> Tensor:
        wanted = (self._mixed(self._lecture(images)) - self._center) / self._spread
        with half_precision():
            answer = self._student(self._see(images))
        return F.mse_loss(answer.float(), wanted)

    def student_state(self) -> dict[str, Tensor]:
        return self._student.folded()

    def _lecture(self, images: Any) -> Tensor:
        """(B, all channels, H/4, W/4): the teachers' features of the images at twice their side, locally averaged."""
        height, width = images.shape[1:3]
        larger = np.stack([cv2.resize(image, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR) for image in images])
        (level,) = self.lecture(larger)
        return F.avg_pool2d(level, 3, stride=1, padding=1)

    def _mixed(self, told: Tensor) -> Tensor:
        """(B, 384, h, w) of (B, all channels, h, w)."""
        whitened = ((told - self._mean) / self._deviation).clamp(-FARTHEST, FARTHEST)
        mixed: Tensor = F.conv2d(whitened, self._mixing)
        return mixed


class _NormalizedPdnS(nn.Module):
    """PDN-S, padded, with batch normalization behind each convolution but the last."""

    def __init__(self) -> None:
        super().__init__()
        self.pdn = PdnS(padded=True)
        self.norm1, self.norm2, self.norm3 = (nn.BatchNorm2d(c.out_channels) for c in self._convs())

    def forward(self, images: Tensor) -> Tensor:
        pdn = self.pdn
        x = pdn.pool(pdn.relu(self.norm1(pdn.conv1(images))))
        x = pdn.pool(pdn.relu(self.norm2(pdn.conv2(x))))
        described: Tensor = pdn.conv4(pdn.relu(self.norm3(pdn.conv3(x))))
        return described

    def folded(self) -> dict[str, Tensor]:
        """The state of a PdnS that answers as this one does in eval mode."""
        pdn = PdnS(padded=True)
        pdn.conv4.load_state_dict(self.pdn.conv4.state_dict())
        targets = (pdn.conv1, pdn.conv2, pdn.conv3)
        for target, conv, norm in zip(targets, self._convs(), (self.norm1, self.norm2, self.norm3), strict=True):
            target.load_state_dict(fuse_conv_bn_eval(copy.deepcopy(conv).eval(), copy.deepcopy(norm).eval()).state_dict())
        return dict(pdn.state_dict())

    def _convs(self) -> tuple[nn.Conv2d, ...]:
        return self.pdn.conv1, self.pdn.conv2, self.pdn.conv3


def _mixing(widths: Sequence[int], outputs: int) -> Tensor:
    """(outputs, all channels, 1, 1): a random projection; each group of channels has the same share in it."""
    total = sum(widths)
    columns = torch.randn(total, outputs) / total**0.5
    if total > outputs:
        columns, _ = torch.linalg.qr(columns)
    shares = torch.cat([torch.full((width,), width**-0.5) for width in widths])
    mixing: Tensor = (columns * shares[:, None]).T[:, :, None, None].contiguous()
    return mixing
