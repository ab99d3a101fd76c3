"""Methods: how a model learns what good looks like. One per file; a file's name is what `--method` takes.

The contract: a method's file has a frozen msgspec `Config` (its settings, unknown keys forbidden) that names the levels of
features it needs and the backbone that suits it, and whose `build(backbone, seed)` gives an unfitted Method. Fitted or
loaded, everything a method knows is in its `state_dict`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from agent.inspection import Image
from agent.preprocess import InputContract, inspected_cells, looked_at
from training.backbone import Backbone
from training.data import DataError, Photograph, load, load_depth
from training.kept import LIMIT_BYTES
from training.progress import Progress

CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Parts:
    """Good parts to learn from, in a fixed order, read when asked for; with tiles, each tile of each photograph.

    normalize: (B, H, W, 3) uint8 to the backbone's (B, 3, H, W) float32. device: where batches are wanted.
    limit_bytes: of prepared images that are kept; those beyond are read each time anew.
    """

    photographs: Sequence[Photograph]
    contract: InputContract
    normalize: Callable[[Tensor], Tensor]
    device: torch.device = CPU
    limit_bytes: int = LIMIT_BYTES
    _kept: dict[Path, Image] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.photographs) * self._tiles

    @property
    def _tiles(self) -> int:
        return 1 if self.contract.tiles is None else int(looked_at(self.contract).sum())

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """(B, H, W, 3) uint8, as the network is given them."""
        images = np.stack([self._image(k) for k in indices])
        return torch.from_numpy(images).to(self.device)

    def _image(self, k: int) -> Image:
        tiles = self.contract.tiles
        whole = self._whole(self.photographs[k // self._tiles])
        if tiles is None:
            return whole
        return tiles.cut(whole, int(np.flatnonzero(looked_at(self.contract))[k % self._tiles]))

    def _whole(self, photograph: Photograph) -> Image:
        """Prepared, and kept while memory allows: to decode a large photograph again takes longer than a step of learning."""
        image = self._kept.get(photograph.path)
        if image is None:
            image = _prepared(photograph, self.contract)
            if (len(self._kept) + 1) * image.nbytes <= self.limit_bytes:
                self._kept[photograph.path] = image
        return image

    def batch(self, indices: Sequence[int]) -> Tensor:
        """(B, 3, H, W) float32, normalized."""
        return self.normalize(self.pixels(indices))

    def depth(self, indices: Sequence[int]) -> Tensor:
        """(B, H, W) float32 metres, 0 where nothing was measured. Raises DataError for photographs without depth."""
        depths = np.stack([load_depth(self.photographs[k], self.contract) for k in indices])
        return torch.from_numpy(depths).to(self.device)

    def split(self, share: float, seed: int) -> tuple["Parts", "Parts"]:
        """The others, and about `share` of the parts drawn by chance (at least one), each in the order they had."""
        photographs = len(self.photographs)
        count = max(1, round(share * photographs))
        drawn = set(np.random.default_rng(seed).permutation(photographs)[:count].tolist())
        kept, taken = ([p for k, p in enumerate(self.photographs) if (k in drawn) is side] for side in (False, True))
        return replace(self, photographs=kept), replace(self, photographs=taken)


@lru_cache(maxsize=2)  # tiles of one photograph are asked for one after the other
def _prepared(photograph: Photograph, contract: InputContract) -> Image:
    return load(photograph, contract)


class Method(nn.Module):
    """A network that says of each place of an image how strange it is; in eval mode but for what a descent is teaching."""

    float_islands: ClassVar[tuple[str, ...]] = ()
    """Modules, by their path, whose layers stay in float32 in every artefact. What a method computes besides its layers
    (distances, norms, differences, sizes, score) stays in float32 anyway."""

    bf16_islands: ClassVar[tuple[str, ...]] = ()
    """Modules whose layers are never in INT8, but may be in bfloat16."""

    _contract: InputContract | None = None

    def inspect(self, contract: InputContract) -> None:
        """Lets only the cells within the contract's region of interest decide."""
        self._contract = contract

    @property
    def searches(self) -> tuple[int, ...]:
        """In how many columns candidates for the score may be searched, the cheapest first; none where nothing is searched."""
        return ()

    def search_in(self, columns: int, good: Tensor) -> None:
        """Lets candidates for the score be found by a search in so many columns, by layers of the module `search`, and measures
        these exactly. good: a few images (B, 3, H, W) of good parts, normalized."""
        raise NotImplementedError(f"{type(self).__name__} searches nothing, so not in {columns} columns for {len(good)} images")

    def search_exactly(self) -> None:
        """Measures everything exactly, as it does unless told otherwise."""

    def train(self, mode: bool = True) -> "Method":
        """Stays as it is: only training/descend.py puts a part of it in train mode."""
        del mode
        return super().train(False)

    def fit(self, good: Parts, progress: Progress, checkpoints: Path | None = None) -> None:
        """Learns from good parts only; all chance comes from the seed given to `build`.

        checkpoints: a folder for the state of a long descent (training/descend.py), which goes on from what is there.
        """
        raise NotImplementedError

    forward: Callable[..., Tensor]
    """(B, 3, H, W) normalized to the map (B, h, w), larger is stranger. A method whose settings ask for depth is given it as
    its second argument, (B, H, W) in metres."""

    def judge(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` is given, to raw score (B,) and map (B, h, w).

        The score is the maximum of the native map: after enlarging, a peak's height would depend on the size.
        """
        anomaly_map = self(*inputs)
        return self.inspected(anomaly_map).amax(dim=1), self.shown(anomaly_map)

    def inspected(self, anomaly_map: Tensor) -> Tensor:
        """(B, h, w) to (B, n): the values of the cells that decide."""
        cells = anomaly_map.flatten(1)
        inside = self._inside(anomaly_map)
        return cells if inside is None else cells[:, inside.flatten().nonzero().squeeze(1).to(cells.device)]

    def shown(self, anomaly_map: Tensor) -> Tensor:
        """(B, h, w), where cells outside of the region of interest have the lowest value inside."""
        inside = self._inside(anomaly_map)
        if inside is None:
            return anomaly_map
        lowest = self.inspected(anomaly_map).amin(dim=1)[:, None, None]  # (B, 1, 1)
        return torch.where(inside.to(anomaly_map.device), anomaly_map, lowest)

    def _inside(self, anomaly_map: Tensor) -> Tensor | None:
        """(h, w) bool; None where there is no region of interest. Raises DataError for one between all cells."""
        if self._contract is None or self._contract.roi is None:
            return None
        cells = inspected_cells(self._contract, *anomaly_map.shape[1:])
        if not cells.any():
            raise DataError("the region of interest is so small that no cell of the map has its centre in it: draw it larger")
        return torch.tensor(cells)


class MethodConfig(Protocol):
    """The settings of a method."""

    @property
    def levels(self) -> tuple[int, ...]:
        """Strides of the features it needs, finest first."""
        ...

    @property
    def suited(self) -> str:
        """The backbone it takes when none is named; it must come with Kensa."""
        ...

    @property
    def depth(self) -> bool:
        """Whether it needs the depth of each pixel."""
        ...

    @property
    def tileable(self) -> bool:
        """Whether it judges a place by its surroundings alone, so that a large image may be cut into tiles."""
        ...

    @property
    def image_size(self) -> int:
        """Of the square input where none is named, px."""
        ...

    def build(self, backbone: Backbone, seed: int) -> Method: ...
