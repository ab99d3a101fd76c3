"""PDN-S, the patch description network of EfficientAD: four convolutions that describe 33 x 33 px each 4 px.

Batzner et al., "EfficientAD: Accurate Visual Anomaly Detection at Millisecond-Level Latencies", WACV 2024, arXiv 2303.14535,
table 6.
"""

from torch import Tensor, nn

OUTPUTS, STRIDE = 384, 4


class PdnS(nn.Module):
    """(B, 3, H, W) to (B, outputs, H/4 - 8, W/4 - 8), or (B, outputs, H/4, W/4) where padded, as it was distilled.

    Starts from He's initialization without biases: the network has no normalization, and its signal must not fade.
    """

    def __init__(self, outputs: int = OUTPUTS, padded: bool = False) -> None:
        super().__init__()
        pad = int(padded)
        self.conv1 = nn.Conv2d(3, 128, 4, padding=3 * pad)
        self.conv2 = nn.Conv2d(128, 256, 4, padding=3 * pad)
        self.conv3 = nn.Conv2d(256, 256, 3, padding=pad)
        self.conv4 = nn.Conv2d(256, outputs, 4)
        self.pool = nn.AvgPool2d(2, 2, padding=pad, count_include_pad=True)
        self.relu = nn.ReLU()
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        x = self.pool(self.relu(self.conv1(images)))
        x = self.pool(self.relu(self.conv2(x)))
        described: Tensor = self.conv4(self.relu(self.conv3(x)))
        return described
