"""Methods: how a model learns what good looks like. One per file; a file's name is what `--method` takes.

The contract: a method's file has a frozen msgspec `Config` (its settings, unknown keys forbidden) whose
`build(backbone, seed)` gives an unfitted Method. Fitted or loaded, everything it knows is in its `state_dict`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from agent.preprocess import InputContract
from training.backbone import Backbone
from training.data import Photograph, load
from training.progress import Progress


@dataclass(frozen=True, slots=True)
class Parts:
    """Good parts to learn from, in a fixed order, read from disk when asked for.

    normalize: (B, H, W, 3) uint8 to the backbone's (B, 3, H, W) float32.
    """

    photographs: Sequence[Photograph]
    contract: InputContract
    normalize: Callable[[Tensor], Tensor]

    def __len__(self) -> int:
        return len(self.photographs)

    def batch(self, indices: Sequence[int]) -> Tensor:
        """(B, 3, H, W) float32, normalized."""
        images = np.stack([load(self.photographs[k], self.contract) for k in indices])
        return self.normalize(torch.from_numpy(images))


class Method(nn.Module):
    """A network that says of each place of an image how strange it is."""

    def fit(self, good: Parts, progress: Progress) -> None:
        """Learns from good parts only; all chance comes from the seed given to `build`."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalized to (B, h, w), larger is stranger; the same in train and eval mode."""
        raise NotImplementedError


class MethodConfig(Protocol):
    """The settings of a method."""

    def build(self, backbone: Backbone, seed: int) -> Method: ...
