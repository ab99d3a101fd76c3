"""The patch description networks of EfficientAD: four or six convolutions that describe 33 x 33 px each 4 px.

Batzner et al., "EfficientAD: Accurate Visual Anomaly Detection at Millisecond-Level Latencies", WACV 2024, arXiv 2303.14535,
tables 6 and 7.
"""

from torch import Tensor, nn

OUTPUTS, STRIDE = 384, 4


class Pdn(nn.Module):
    """(B, 3, H, W) to (B, outputs, H/4 - 8, W/4 - 8), or (B, outputs, H/4, W/4) where padded, as it was distilled.

    Starts from He's initialization without biases: the network has no normalization, and its signal must not fade.
    """

    def __init__(self, padded: bool) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(2, 2, padding=int(padded), count_include_pad=True)
        self.relu = nn.ReLU()

    @property
    def head(self) -> nn.Conv2d:
        """The last convolution."""
        raise NotImplementedError

    def trunk(self, images: Tensor) -> Tensor:
        """What the last convolution is given."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        described: Tensor = self.head(self.trunk(images))
        return described

    def _initialize(self) -> None:
        for conv in self.modules():
            if isinstance(conv, nn.Conv2d):
                nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
                nn.init.zeros_(conv.bias)  # type: ignore[arg-type]


class PdnS(Pdn):
    """The small one, 2.69 M parameters with 384 outputs."""

    def __init__(self, outputs: int = OUTPUTS, padded: bool = False) -> None:
        super().__init__(padded)
        pad = int(padded)
        self.conv1 = nn.Conv2d(3, 128, 4, padding=3 * pad)
        self.conv2 = nn.Conv2d(128, 256, 4, padding=3 * pad)
        self.conv3 = nn.Conv2d(256, 256, 3, padding=pad)
        self.conv4 = nn.Conv2d(256, outputs, 4)
        self._initialize()

    @property
    def head(self) -> nn.Conv2d:
        return self.conv4

    def trunk(self, images: Tensor) -> Tensor:
        x = self.pool(self.relu(self.conv1(images)))
        x = self.pool(self.relu(self.conv2(x)))
        activated: Tensor = self.relu(self.conv3(x))
        return activated


class PdnM(Pdn):
    """The medium one, 8.03 M parameters with 384 outputs."""

    def __init__(self, outputs: int = OUTPUTS, padded: bool = False) -> None:
        super().__init__(padded)
        pad = int(padded)
        self.conv1 = nn.Conv2d(3, 256, 4, padding=3 * pad)
        self.conv2 = nn.Conv2d(256, 512, 4, padding=3 * pad)
        self.conv3 = nn.Conv2d(512, 512, 1)
        self.conv4 = nn.Conv2d(512, 512, 3, padding=pad)
        self.conv5 = nn.Conv2d(512, outputs, 4)
        self.conv6 = nn.Conv2d(outputs, outputs, 1)
        self._initialize()

    @property
    def head(self) -> nn.Conv2d:
        return self.conv6

    def trunk(self, images: Tensor) -> Tensor:
        x = self.pool(self.relu(self.conv1(images)))
        x = self.pool(self.relu(self.conv2(x)))
        x = self.relu(self.conv4(self.relu(self.conv3(x))))
        activated: Tensor = self.relu(self.conv5(x))
        return activated
