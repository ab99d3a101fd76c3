"""PatchCore: a patch is as strange as its distance to the nearest patch of a good part.

Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022, arXiv 2106.08265: section 3.1 locally
aware patch features, 3.2 coreset-reduced memory bank, 3.3 detection; code: amazon-science/patchcore-inspection.

Differs from the paper:
- The features of all levels are averaged over 3x3 and concatenated without pooling channels (anomalib's variant).
- The bank is capped by a count of vectors, not by a share. The greedy selection sees a pool of candidates, an equal
  number of places drawn from each photograph; that bounds memory by pool x (D + projection) x 4 bytes whatever the
  number of photographs (D 384 and the default settings: 256 MiB).
- The first pick is the official code's (largest mean distance to 10 random anchors); from there the selection is the
  paper's greedy k-centre, while the official code keeps the anchors' mean distance as a bound.
- The score is the largest distance, without the re-weighting of equation 7 (so does the official code), and L2 where
  the official code returns squares. The map stays on its native grid and is not blurred.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec
import torch
from torch import Tensor
from torch.nn import functional as F

from training.backbone import EMBEDDED, STRIDES, Backbone
from training.methods import Method, Parts
from training.progress import Progress

_ANCHORS = 10
_BLOCK = 1024  # vectors brought up to date together: about one photograph
_CHUNK = 2000  # rows of the bank per product, so that the (patches, rows) temporary stays in the cache's reach


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """bank: vectors kept. pool: candidates they are chosen from. projection: dimensions in which they are chosen."""

    levels: ClassVar[tuple[int, ...]] = STRIDES
    suited: ClassVar[str] = EMBEDDED
    image_size: ClassVar[int] = 256

    bank: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 4000
    pool: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 131_072
    projection: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 128

    def __post_init__(self) -> None:
        if self.pool < self.bank:
            raise ValueError(f"pool {self.pool} must not be smaller than bank {self.bank}")

    def build(self, backbone: Backbone, seed: int) -> "PatchCore":
        return PatchCore(backbone, self, seed)


class PatchCore(Method):
    """The memory bank and its distances. Bank and patches are centred: in float32 the expanded square cancels less."""

    bank_mean: Tensor
    memory_bank: Tensor
    bank_norms: Tensor

    def __init__(self, backbone: Backbone, config: Config, seed: int) -> None:
        super().__init__()
        self.backbone = backbone
        self._config = config
        self._seed = seed
        dimensions = sum(backbone.channels)
        self.register_buffer("bank_mean", torch.zeros(dimensions))
        self.register_buffer("memory_bank", torch.zeros(0, dimensions))  # (K, D), centred
        self.register_buffer("bank_norms", torch.zeros(0))  # (K,), squared

    @torch.no_grad()
    def fit(self, good: Parts, progress: Progress, checkpoints: Path | None = None) -> None:
        del checkpoints  # it takes a minute
        generator = torch.Generator().manual_seed(self._seed)
        pool = self._candidates(good, progress, generator)
        projected = project(pool, self._config.projection, generator)
        bank = pool[greedy_coreset(projected, self._config.bank, generator, progress)]
        self.bank_mean = bank.mean(dim=0)
        self.memory_bank = bank - self.bank_mean
        self.bank_norms = self.memory_bank.square().sum(dim=1)

    def patches(self, images: Tensor) -> Tensor:
        """Locally averaged features of all levels on the finest grid, section 3.1.

        images: (B, 3, H, W) normalized. Returns (B, D, h, w), h = H / 8, or as the backbone's finest level.
        """
        fine, *coarser = (F.avg_pool2d(level, kernel_size=3, stride=1, padding=1) for level in self.backbone(images))
        grown = [F.interpolate(level, size=fine.shape[2:], mode="bilinear", align_corners=False) for level in coarser]
        return torch.cat([fine, *grown], dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalized to (B, h, w): distance of each patch to the nearest one of the bank."""
        embedding = self.patches(images)
        B, _, h, w = embedding.shape  # noqa: N806 - the papers' capitals
        patches = _rows(embedding) - self.bank_mean  # (B*h*w, D)
        minus_twice = -2.0 * patches
        # |x - m|^2 = |x|^2 + (|m|^2 - 2 x m): the bracket's minimum over the bank, chunk by chunk
        chunks = zip(torch.split(self.memory_bank, _CHUNK), torch.split(self.bank_norms, _CHUNK), strict=True)
        nearest = [torch.addmm(norms, minus_twice, rows.T).amin(dim=1) for rows, norms in chunks]
        bracket = nearest[0]
        for other in nearest[1:]:
            bracket = torch.minimum(bracket, other)
        squared = bracket + patches.square().sum(dim=1)
        distance: Tensor = squared.clamp(min=0.0).sqrt().view(B, h, w)
        return distance

    def _candidates(self, good: Parts, progress: Progress, generator: torch.Generator) -> Tensor:
        """(at most pool, D): the same number of places from each part, drawn by chance."""
        cap, n = self._config.pool, len(good)
        used = sorted(torch.randperm(n, generator=generator)[:cap].tolist())  # all, unless there are more than cap
        pool, filled = torch.empty(0), 0
        for k in progress.track(used, "features"):
            rows = _rows(self.patches(good.batch([k])))  # (h*w, D)
            quota = min(len(rows), cap // len(used))
            if not filled:
                pool = torch.empty(quota * len(used), rows.shape[1])
            places = torch.randperm(len(rows), generator=generator)[:quota].sort().values
            pool[filled : filled + quota] = rows[places]
            filled += quota
        return pool

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """The bank takes the size it was fitted with."""
        for name in ("memory_bank", "bank_norms"):
            if (stored := state_dict.get(prefix + name)) is not None:
                setattr(self, name, torch.empty_like(stored))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def project(vectors: Tensor, dimensions: int, generator: torch.Generator) -> Tensor:
    """(N, dimensions) dense Gaussian random projection, centred; keeps distances by Johnson-Lindenstrauss.

    Vectors that are short enough already are only centred.
    """
    if vectors.shape[1] <= dimensions:
        return vectors - vectors.mean(dim=0)
    matrix = torch.randn(vectors.shape[1], dimensions, generator=generator) / dimensions**0.5
    projected: Tensor = vectors @ matrix
    return projected.sub_(projected.mean(dim=0))


def greedy_coreset(vectors: Tensor, count: int, generator: torch.Generator, progress: Progress) -> Tensor:
    """Indices of at most `count` vectors, each the farthest from all before it (section 3.2); ties go to the first.

    vectors: (N, d), centred. Stops early when every vector equals a chosen one. Exact, but lazy: distances to the chosen
    only shrink, so a block whose largest known distance is not the largest of all need not be brought up to date.
    """
    n = len(vectors)
    if n <= count:
        return torch.arange(n)
    chosen = [_first_pick(vectors, generator)]
    blocks = torch.split(vectors, _BLOCK)
    distance = torch.full((n,), torch.inf)
    by_block = torch.split(distance, _BLOCK)  # views
    bound, counted = torch.full((len(blocks),), torch.inf), [0] * len(blocks)
    for _ in progress.track(range(count - 1), "coreset"):
        distance[chosen[-1]] = -1.0  # never again, whatever rounding says
        while counted[block := int(bound.argmax())] < len(chosen):
            news = _squared_distances(blocks[block], vectors[chosen[counted[block] :]])
            bound[block] = torch.minimum(by_block[block], news.amin(dim=1), out=by_block[block]).max()
            counted[block] = len(chosen)
        if bound[block] <= 0.0:
            break
        chosen.append(block * _BLOCK + int(by_block[block].argmax()))
    return torch.tensor(chosen)


def _first_pick(vectors: Tensor, generator: torch.Generator) -> int:
    """The vector with the largest mean distance to a few drawn by chance, as in the official code."""
    anchors = vectors[torch.randperm(len(vectors), generator=generator)[:_ANCHORS]]
    means = [_squared_distances(block, anchors).sqrt().mean(dim=1) for block in torch.split(vectors, _BLOCK)]
    return int(torch.cat(means).argmax())


def _squared_distances(vectors: Tensor, others: Tensor) -> Tensor:
    """(N, K) of (N, d) and (K, d)."""
    products = torch.addmm(others.square().sum(dim=1), vectors, others.T, alpha=-2.0)
    return (products + vectors.square().sum(dim=1, keepdim=True)).clamp(min=0.0)


def _rows(embedding: Tensor) -> Tensor:
    """(B, D, h, w) to (B*h*w, D)."""
    rows: Tensor = embedding.permute(0, 2, 3, 1).reshape(-1, embedding.shape[1])
    return rows
