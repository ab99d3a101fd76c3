"""EfficientAD: a student that only knows good parts, where it disagrees with its teacher and with an autoencoder.

Batzner et al., "EfficientAD: Accurate Visual Anomaly Detection at Millisecond-Level Latencies", WACV 2024, arXiv
2303.14535: section 3.1 patch descriptions, 3.2 student and hard feature loss, 3.3 autoencoder, 3.4 map normalization; its
Algorithms 1 and 2. The autoencoder sees the whole part at once, so it also finds what is wrong only in its place or number.

Differs from the paper:
- The natural images of the penalty are any folder of photographs, shrunk to 288 px; where none is named they are drawn
  textures (training/textures.py). Either way the middle half of each axis becomes the input.
- The teacher's mean and deviation are of the parts learned from, gathered in one reading: per part in float64, then combined.
- The quantiles are of the native maps, of good parts that nothing else was learned from. The score is the maximum of the
  native map. The PDN knows no padding, so its grid lacks a ring of 4 places, which then repeats the outermost ones: the map
  covers the picture, to 1.5 px. (The official code fills the ring with 0, which outranks nine of ten good places.)
- As in the official code, the student's second half also pulls at the autoencoder, which is not detached.
- The PDN's learned half starts from He's initialization; the drop of the rate comes after 95 % of any number of steps.
- Images larger than 256 px may be learned, but then the bottleneck of the autoencoder keeps some places.
"""

from pathlib import Path
from typing import Annotated, ClassVar

import cv2
import msgspec
import numpy as np
import torch
from numpy.random import Generator, default_rng
from torch import Tensor, nn
from torch.nn import functional as F

from agent.drivers import SectionError
from training.autoencoder import SMALLEST_PX, Autoencoder
from training.backbone import Backbone, BackboneError
from training.crops import PROCEDURAL, Source, open_source
from training.descend import Course, batch_of, descend
from training.methods import Method, Parts
from training.pdn import OUTPUTS, STRIDE, PdnM, PdnS
from training.pretrained import EMBEDDED_PDN
from training.progress import Progress
from training.textures import Picture

_ST, _STAE = slice(0, OUTPUTS), slice(OUTPUTS, 2 * OUTPUTS)  # of the student's outputs: predicts teacher, autoencoder
_HARD = 0.999  # quantile above which a distance drives the student
_LOW, _HIGH = 0.9, 0.995  # quantiles of a good map that become 0 and 0.1
_RING = 4  # places that the PDN's grid lacks at each edge
_HELD_OUT, _FEWEST_HELD_OUT = 0.1, 4  # share and number of good parts for the quantiles alone
_SMALLEST_PDN_PX = 33  # what one place of a PDN looks at
_LUMA = (0.299, 0.587, 0.114)
_PATENT = (
    "EfficientAD: a patent family of MVTec, whose researchers wrote the paper, may concern this method (EP 4145401 A1 and Japan; "
    "raised in anomalib issue 2327, not settled). Have it checked before you use it in a product."
)


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """steps, batch: of the descent. autoencoder: False leaves teacher and student alone, without a view of the whole part.

    penalty: a folder of any photographs, on which the student must not follow its teacher, or `procedural`: drawn textures.
    """

    levels: ClassVar[tuple[int, ...]] = (STRIDE,)
    suited: ClassVar[str] = EMBEDDED_PDN
    tileable: ClassVar[bool] = False  # its autoencoder judges the whole picture
    image_size: ClassVar[int] = 256
    depth: ClassVar[bool] = False

    steps: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 70_000
    batch: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    autoencoder: bool = True
    penalty: str = PROCEDURAL

    @property
    def notice(self) -> str:
        """What must be known before a fit."""
        drawn = "Penalty: drawn textures; the paper's are photographs, --set penalty=DIR takes a folder of any"
        return f"{_PATENT}\n{drawn if self.penalty == PROCEDURAL else f'Penalty: photographs of {self.penalty}'}."

    def build(self, backbone: Backbone, seed: int) -> "EfficientAD":
        return EfficientAD(backbone, self, seed)


class EfficientAD(Method):
    """Teacher, student, autoencoder, and what makes their two maps comparable. Raises BackboneError for any but a PDN."""

    channel_mean: Tensor
    channel_deviation: Tensor
    map_low: Tensor
    map_high: Tensor

    def __init__(self, backbone: Backbone, config: Config, seed: int) -> None:
        super().__init__()
        teacher = backbone.network
        if not isinstance(teacher, PdnS | PdnM):
            raise BackboneError(
                f"backbone {backbone.name!r} is no PDN, as EfficientAD needs: take {config.suited}, pdn-s or pdn-m"
            )
        self.backbone = backbone
        self._config = config
        self._seed = seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.student = type(teacher)(2 * OUTPUTS if config.autoencoder else OUTPUTS)
            self.autoencoder = Autoencoder() if config.autoencoder else None
        self.register_buffer("channel_mean", torch.zeros(1, OUTPUTS, 1, 1))
        self.register_buffer("channel_deviation", torch.ones(1, OUTPUTS, 1, 1))
        self.register_buffer("map_low", torch.zeros(2 if config.autoencoder else 1, 1, 1))
        self.register_buffer("map_high", torch.full_like(self.map_low, 0.1))

    def fit(self, good: Parts, progress: Progress, checkpoints: Path | None = None) -> None:
        self._refuse_small(min(good.contract.height, good.contract.width))
        learned, held_out = good.split(max(_HELD_OUT, min(0.5, _FEWEST_HELD_OUT / len(good))), self._seed)
        natural = open_source(self._config.penalty, self._seed, progress)
        self.to(memory_format=torch.channels_last)  # a processor's convolutions like it
        self._learn_channels(learned, progress)
        descend(self._course(learned, natural), progress, checkpoints)
        self.to(memory_format=torch.contiguous_format)
        with torch.no_grad():
            seen = [self.native_maps(held_out.batch([k])) for k in progress.track(range(len(held_out)), "map quantiles")]
        low, high = map_quantiles(torch.cat(seen))
        self.map_low.copy_(low)
        self.map_high.copy_(high)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalized to (B, H/4, W/4): mean of both normalized maps, 0 and 0.1 at quantiles of good parts."""
        normalized = 0.1 * (self.native_maps(images) - self.map_low) / (self.map_high - self.map_low)  # (B, K, h, w)
        return F.pad(normalized.mean(dim=1, keepdim=True), [_RING] * 4, mode="replicate")[:, 0]

    def native_maps(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalized to (B, K, H/4 - 8, W/4 - 8): K = 2, the student's distances from teacher and autoencoder.

        Without an autoencoder K = 1.
        """
        teacher, student = self.describe(images), self.student(images)
        maps = [(teacher - student[:, _ST]).square().mean(dim=1)]
        if self.autoencoder is not None:
            maps.append((self.autoencoder(images, teacher.shape[2:]) - student[:, _STAE]).square().mean(dim=1))
        return torch.stack(maps, dim=1)

    def describe(self, images: Tensor) -> Tensor:
        """(B, 384, H/4 - 8, W/4 - 8) float32: the teacher's outputs, each channel with mean 0 and deviation 1 on good parts."""
        (taught,) = self.backbone(images)
        normalized: Tensor = (taught.float() - self.channel_mean) / self.channel_deviation
        return normalized

    def st_loss(self, images: Tensor, natural: Tensor) -> Tensor:
        """Hard feature loss of (B, 3, H, W) good parts and penalty of (B, 3, H, W) natural images, section 3.2."""
        answers = self._answers(torch.cat([images, natural]), _ST)
        distance = (self.describe(images) - answers[: len(images)]).square()
        return hard_mean(distance) + answers[len(images) :].square().mean()

    def stae_loss(self, autoencoder: "Autoencoder", images: Tensor) -> Tensor:
        """What the autoencoder misses of the teacher, and the student's other half of the autoencoder, section 3.3."""
        teacher = self.describe(images)
        rebuilt = autoencoder(images, teacher.shape[2:], dropout=0.2).float()
        return F.mse_loss(rebuilt, teacher) + F.mse_loss(self._answers(images, _STAE), rebuilt)

    def _answers(self, images: Tensor, half: slice) -> Tensor:
        """(B, 384, h, w) float32: one half of the student's outputs; the other one is not computed."""
        head = self.student.head
        bias = head.bias[half] if head.bias is not None else None
        return F.conv2d(self.student.trunk(images), head.weight[half], bias).float()

    def _course(self, learned: Parts, natural: Source) -> Course:
        config, contract = self._config, learned.contract
        learner = nn.ModuleDict({"student": self.student})
        if self.autoencoder is not None:
            learner["autoencoder"] = self.autoencoder

        def loss(step: int) -> Tensor:
            pixels = learned.pixels(batch_of(step, len(learned), config.batch, self._seed))
            random = default_rng(int(torch.randint(2**62, ())))
            crops = [natural_crop(natural.pick(random, step), random, contract.height, contract.width) for _ in pixels]
            others = torch.from_numpy(np.stack(crops)).to(learned.device)
            total = self.st_loss(learned.normalize(pixels), learned.normalize(others))
            if self.autoencoder is not None:
                total = total + self.stae_loss(self.autoencoder, learned.normalize(relit(pixels)))
            return total

        optimizer = torch.optim.Adam(learner.parameters(), lr=1e-4, weight_decay=1e-5)
        return Course("student", learner, optimizer, config.steps, self._seed, loss, rate=_dropped, half=True)

    @torch.no_grad()
    def _learn_channels(self, learned: Parts, progress: Progress) -> None:
        """Mean and deviation of each of the teacher's channels over all places of all parts."""
        count, mean, squares = 0, torch.zeros(OUTPUTS).double(), torch.zeros(OUTPUTS).double()
        for k in progress.track(range(len(learned)), "teacher"):
            (taught,) = self.backbone(learned.batch([k]))
            values = taught[0].flatten(1).double().cpu()  # (384, h*w)
            own, n = values.mean(dim=1), values.shape[1]
            squares += (values - own[:, None]).square().sum(dim=1) + (own - mean).square() * (count * n / (count + n))
            mean += (own - mean) * (n / (count + n))
            count += n
        self.channel_mean.copy_(mean.view(1, -1, 1, 1))
        self.channel_deviation.copy_((squares / count).sqrt().clamp(min=1e-6).view(1, -1, 1, 1))

    def _refuse_small(self, size: int) -> None:
        smallest = _SMALLEST_PDN_PX if self.autoencoder is None else SMALLEST_PX
        if size < smallest:
            advice = "take a larger one" + (", or --set autoencoder=false" if self.autoencoder is not None else "")
            raise SectionError(f"EfficientAD needs an input of at least {smallest} px, found {size}: {advice}", "image_size")


def map_quantiles(maps: Tensor) -> tuple[Tensor, Tensor]:
    """The 90 % and the 99.5 % quantile of each of K maps of good parts, each (K, 1, 1), section 3.4.

    maps: (B, K, h, w). Exact, of any number of values: torch.quantile refuses more than 2^24.
    """
    by_map = maps.transpose(0, 1).flatten(1).cpu().numpy()  # (K, B*h*w)
    low, high = np.quantile(by_map, (_LOW, _HIGH), axis=1, method="inverted_cdf").astype(np.float32)[..., None, None]
    return torch.from_numpy(low), torch.from_numpy(np.maximum(high, low + 1e-6))  # flat maps: not a division by zero


def hard_mean(distance: Tensor) -> Tensor:
    """Mean of the distances at or above their 99.9 % quantile, in each image on its own, section 3.2. distance: (B, ...)."""
    values = distance.flatten(1)
    last = values.shape[1] - 1
    return values.topk(last - int(np.ceil(_HARD * last)) + 1, dim=1).values.mean()


def natural_crop(picture: Picture, random: Generator, height: int, width: int) -> Picture:
    """The middle half of each axis as (height, width, 3): resized to twice the size and cropped; three of ten grey."""
    h, w = picture.shape[:2]
    middle = picture[h // 4 : h - h // 4, w // 4 : w - w // 4]
    if random.random() < 0.3:
        middle = np.repeat(cv2.cvtColor(middle, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2).astype(np.uint8)
    return np.asarray(cv2.resize(middle, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def relit(pixels: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 with exactly one of brightness, contrast and saturation times 0.8 to 1.2, by torch's generator."""
    B, device = len(pixels), pixels.device  # noqa: N806 - the papers' capitals
    kind, factor = torch.randint(3, (B,)).to(device), (torch.rand(B) * 0.4 + 0.8).to(device)
    images = pixels.float()
    grey = (images * images.new_tensor(_LUMA)).sum(dim=3)  # (B, H, W); no product that bfloat16 would round
    flat = grey.mean(dim=(1, 2), keepdim=True).expand_as(grey)
    still = torch.stack([torch.zeros_like(grey), flat, grey])[
        kind, torch.arange(B, device=device)
    ]  # what the factor leaves alone
    changed = still[..., None] + factor.view(B, 1, 1, 1) * (images - still[..., None])
    return changed.round().clamp(0, 255).to(torch.uint8)


def _dropped(share: float) -> float:
    """A tenth of the rate for the last twentieth of the course."""
    return 1.0 if share < 0.95 else 0.1
