"""PatchCore: a patch is as strange as its distance to the nearest patch of a good part.

Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022, arXiv 2106.08265: section 3.1 locally
aware patch features, 3.2 coreset-reduced memory bank, 3.3 detection; code: amazon-science/patchcore-inspection.

Differs from the paper:
- By default the features of all levels are averaged over 3x3 and concatenated without pooling channels (anomalib's
  variant); `embedding: official` gives the official code's 1024 dimensions.
- The bank is by default a count of vectors, not a share. The greedy selection sees a pool of candidates, an equal
  number of places drawn from each photograph; that bounds memory by pool x (D + projection) x 4 bytes whatever the
  number of photographs (D 384 and the default settings: 256 MiB).
- The first pick is the official code's (largest mean distance to 10 random anchors); from there the selection is the
  paper's greedy k-centre, while the official code keeps the anchors' mean distance as a bound.
- The score is the largest distance; equation 7 re-weights it where `neighbors` asks for it (the official code never
  does). L2 where the official code returns squares. The map stays on its native grid and is not blurred.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import torch
from torch import Tensor

from agent.preprocess import inspected_cells
from training.backbone import STRIDES, Backbone
from training.coreset import greedy_coreset, project
from training.methods import Method, Parts
from training.nearest import CANDIDATES, CandidateSearch, measured, nearest_distances, nearest_rows, widths
from training.patch_embedding import OFFICIAL_DIMENSIONS, OfficialEmbedding, PlainEmbedding
from training.pretrained import EMBEDDED
from training.progress import Progress


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bank, candidates, embedding and score.

    bank: vectors kept, or below 1 their share of all patches (then at most `pool` are kept). pool: candidates they are
    chosen from. projection: dimensions in which they are chosen. embedding: `plain`, all channels averaged over 3x3, or
    `official`, pooled to 1024. neighbors: b of equation 7, 1 is no re-weighting.
    """

    levels: ClassVar[tuple[int, ...]] = STRIDES
    suited: ClassVar[str] = EMBEDDED
    tileable: ClassVar[bool] = True
    image_size: ClassVar[int] = 256
    depth: ClassVar[bool] = False

    bank: Annotated[int, msgspec.Meta(ge=1, le=100_000)] | Annotated[float, msgspec.Meta(gt=0, lt=1)] = 4000
    pool: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 131_072
    projection: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 128
    embedding: Literal["plain", "official"] = "plain"
    neighbors: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1

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
    neighborhoods: Tensor

    def __init__(self, backbone: Backbone, config: Config, seed: int) -> None:
        super().__init__()
        self.backbone = backbone
        self._config = config
        self._seed = seed
        self.search: CandidateSearch | None = None
        self._embedding = PlainEmbedding() if config.embedding == "plain" else OfficialEmbedding(backbone.channels)
        dimensions = sum(backbone.channels) if config.embedding == "plain" else OFFICIAL_DIMENSIONS
        self.register_buffer("bank_mean", torch.zeros(dimensions))
        self.register_buffer("memory_bank", torch.zeros(0, dimensions))  # (K, D), centred
        self.register_buffer("bank_norms", torch.zeros(0))  # (K,), squared
        if config.neighbors > 1:
            self.register_buffer("neighborhoods", torch.zeros(0, 1, dtype=torch.int64))  # (K, b), each itself first

    @torch.no_grad()
    def fit(self, good: Parts, progress: Progress, checkpoints: Path | None = None) -> None:
        del checkpoints  # it takes a minute
        generator = torch.Generator().manual_seed(self._seed)  # on the CPU, as pool and coreset: the same for any device
        pool, n_patches = self._candidates(good, progress, generator)
        count = self._config.bank if isinstance(self._config.bank, int) else max(1, int(self._config.bank * n_patches))
        projected = project(pool, self._config.projection, generator)
        bank = pool[greedy_coreset(projected, count, generator, progress)]
        self._remember(bank, good.device)

    def keep(self, count: int) -> None:
        """Forgets all but the first vectors of the bank: the picks of a greedy coreset are, in their order, coresets too."""
        self._remember(self.memory_bank[:count] + self.bank_mean, self.memory_bank.device)

    def _remember(self, bank: Tensor, device: torch.device) -> None:
        """(K, D), in the order in which they were picked."""
        mean = bank.mean(dim=0)
        centred = bank - mean
        self.bank_mean, self.memory_bank = mean.to(device), centred.to(device)
        self.bank_norms = centred.square().sum(dim=1).to(device)
        if self._config.neighbors > 1:
            self.neighborhoods = nearest_rows(centred, self._config.neighbors).to(device)

    def patches(self, images: Tensor) -> Tensor:
        """Locally averaged features of all levels on the finest grid, section 3.1.

        images: (B, 3, H, W) normalized. Returns (B, D, h, w), h = H / 8, or as the backbone's finest level.
        """
        embedding: Tensor = self._embedding(self.backbone(images))
        return embedding

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalized to (B, h, w): distance of each patch to the nearest one of the bank."""
        return _map(self._exact, self._centred(self.patches(images)))

    @property
    def searches(self) -> tuple[int, ...]:
        return widths(self.memory_bank)

    @torch.no_grad()
    def search_in(self, columns: int, good: Tensor) -> None:
        self.search = CandidateSearch(self.memory_bank, columns, _rows(self.patches(good)) - self.bank_mean)

    def search_exactly(self) -> None:
        self.search = None

    def judge(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Raw score (B,) and map (B, h, w); the score is the map's maximum, re-weighted if `neighbors` asks for it.

        Where a search only finds candidates, the farthest patches it finds are measured again, and the score is of these.
        """
        (images,) = inputs
        alone = self._config.neighbors == 1 or len(self.memory_bank) == 1  # the weight of a lone vector would be zero
        if self.search is None and alone:
            return super().judge(images)
        centred = self._centred(self.patches(images))
        if self.search is None:
            anomaly_map = self.shown(_map(self._exact, centred))
            place = anomaly_map.flatten(1).argmax(dim=1, keepdim=True)  # (B, 1)
            found = measured(_at(centred, place), self.memory_bank, self.bank_norms)
        else:
            approximate = _map(self.search, centred)
            anomaly_map, place = self.shown(approximate), self._farthest(approximate)  # (B, 32)
            found = self.search.ranking(_at(centred, place))
        score, first = found.distances.max(dim=1)  # s* and of which of the patches: (B,), (B,)
        if alone:
            return score, anomaly_map
        each = torch.arange(len(score))
        neighborhood = self.memory_bank[self.neighborhoods[found.nearest[each, first]]]  # N_b(m*), m* first: (B, b, D)
        strangest = found.patches[each, first][:, None]  # e*: (B, 1, D)
        return reweighted(score, (neighborhood - strangest).square().sum(dim=2).sqrt()), anomaly_map

    def _centred(self, embedding: Tensor) -> Tensor:
        """(B, D, h, w) to (B, h, w, D), as the bank is."""
        B, D, h, w = embedding.shape  # noqa: N806 - the papers' capitals
        return (embedding.permute(0, 2, 3, 1).reshape(-1, D) - self.bank_mean).view(B, h, w, D)  # of rows: quickest in runtimes

    def _exact(self, patches: Tensor) -> Tensor:
        return nearest_distances(patches, self.memory_bank, self.bank_norms)

    def _farthest(self, distances: Tensor) -> Tensor:
        """(B, h, w) to the places (B, at most 32) of the largest ones that decide."""
        cells = distances.flatten(1)
        inside = self._inside(distances)
        if inside is None or self._contract is None:
            return cells.topk(min(CANDIDATES, cells.shape[1]), dim=1).indices
        decide = int(inspected_cells(self._contract, *distances.shape[1:]).sum())  # a trace cannot ask a tensor how many they are
        decides = inside.flatten().to(cells.device)
        return torch.where(decides, cells, -torch.inf).topk(min(CANDIDATES, decide), dim=1).indices

    def _candidates(self, good: Parts, progress: Progress, generator: torch.Generator) -> tuple[Tensor, int]:
        """(at most pool, D) on the CPU, the same number of places from each part, and the number of all patches."""
        cap, n = self._config.pool, len(good)
        used = sorted(torch.randperm(n, generator=generator)[:cap].tolist())  # all, unless there are more than cap
        pool, filled, per_part = torch.empty(0), 0, 0
        for k in progress.track(used, "features"):
            embedding = self.patches(good.batch([k]))
            inside = inspected_cells(good.contract, *embedding.shape[2:]).ravel()
            rows = _rows(embedding).cpu()[torch.from_numpy(inside)]  # (inspected patches, D)
            per_part = len(rows)
            quota = min(per_part, cap // len(used))
            if not filled:
                pool = torch.empty(quota * len(used), rows.shape[1])
            places = torch.randperm(per_part, generator=generator)[:quota].sort().values
            pool[filled : filled + quota] = rows[places]
            filled += quota
        return pool, per_part * n

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """The bank takes the size it was fitted with."""
        for name in ("memory_bank", "bank_norms", "neighborhoods"):
            if (stored := state_dict.get(prefix + name)) is not None and name in self._buffers:
                setattr(self, name, torch.empty_like(stored))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def reweighted(score: Tensor, distances: Tensor) -> Tensor:
    """Equation 7: the less, the more lonely the nearest vector of the bank is. Large distances do not overflow.

    score: s* (B,). distances: (B, b) of the strangest patch e* to the b neighbours of m*, m* itself first.

    >>> reweighted(torch.tensor([5.0]), torch.tensor([[5.0, 5.5, 6.0]]))
    tensor([4.0684])
    """
    return (1.0 - distances.softmax(dim=1)[:, 0]) * score


def _map(distances: Callable[[Tensor], Tensor], centred: Tensor) -> Tensor:
    """(B, h, w, D) to (B, h, w). distances: of the patches (N, D), centred, to (N,)."""
    return distances(centred.flatten(0, 2)).view(centred.shape[:3])


def _at(centred: Tensor, place: Tensor) -> Tensor:
    """Of (B, h, w, D) the patches at some places (B, n) of all: (B, n, D)."""
    return torch.take_along_dim(centred.flatten(1, 2), place[:, :, None], dim=1)


def _rows(embedding: Tensor) -> Tensor:
    """(B, D, h, w) to (B*h*w, D)."""
    rows: Tensor = embedding.permute(0, 2, 3, 1).reshape(-1, embedding.shape[1])
    return rows
