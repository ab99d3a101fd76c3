"""EfficientAD's autoencoder: what a part looks like as a whole, rebuilt from 64 numbers.

Batzner et al., arXiv 2303.14535, section 3.3. For larger inputs than 256 px the decoder's sizes grow, as in anomalib.
"""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from training.pdn import OUTPUTS

SMALLEST_PX = 256  # what the 8x8 convolution of the bottleneck needs


class Autoencoder(nn.Module):
    """Rebuilds the teacher's description of a whole part from 64 numbers; 1.10 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 32, 64, 64, 64)
        self.encoder = nn.ModuleList([nn.Conv2d(c, d, 4, stride=2, padding=1) for c, d in pairwise(widths)])
        self.bottleneck = nn.Conv2d(64, 64, 8)
        self.decoder = nn.ModuleList([nn.Conv2d(64, 64, 4, padding=2) for _ in range(6)])
        self.last = nn.Conv2d(64, 64, 3, padding=1)
        self.head = nn.Conv2d(64, OUTPUTS, 3, padding=1)

    def forward(self, images: Tensor, size: tuple[int, int], dropout: float = 0.0) -> Tensor:
        """(B, 3, H, W) normalized, H and W at least 256, to (B, 384, *size). dropout: in the decoder, for learning."""
        height, width = images.shape[2:]
        x = images
        for conv in self.encoder:
            x = F.relu(conv(x))
        x = self.bottleneck(x)
        for conv, (share, less) in zip(self.decoder, ((64, 1), (32, 0), (16, 1), (8, 0), (4, 1), (2, 1)), strict=True):
            x = F.relu(conv(_resized(x, (height // share - less, width // share - less))))
            x = F.dropout(x, dropout) if dropout else x
        rebuilt: Tensor = self.head(F.relu(self.last(_resized(x, size))))
        return rebuilt


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
