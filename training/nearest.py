"""How far patches are from the nearest vector of a bank: exactly, and by a cheap bound that finds the farthest of them.

|x - m|^2 = |x|^2 - 2 (x m - |m|^2 / 2), so that the nearest vector is the largest of many products, taken chunk by chunk: no
(patches, bank, dimensions) tensor.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

CANDIDATES = 32  # patches that are the farthest by a search
_CHUNK = 1000  # rows of the bank per product, so that the (patches, rows) temporary stays in the cache's reach
_ENERGY = (0.9, 0.95)  # of the bank, held by the leading directions of a narrow search: few columns, and if they do not do, more
_PRODUCTS = 1_000_000  # per patch, half of what a ResNet-18 costs: with fewer, only the map would be worse
_STEP = 16  # columns by which processors work
_WORTHWHILE = 0.75  # of all dimensions: a search that is hardly narrower only loses
_MEASURED = 8  # of the candidates, the farthest by a product with all columns
_NEIGHBORS, _GROUPS = 16, 8  # vectors of a group, and groups whose vectors are measured for each of these patches


def nearest_distances(patches: Tensor, bank: Tensor, norms: Tensor) -> Tensor:
    """(N, D) patches to (N,), exactly. bank: (K, D), centred as the patches are. norms: (K,), squared."""
    minus_twice = -2.0 * patches
    # |x - m|^2 = |x|^2 + (|m|^2 - 2 x m): the bracket's minimum over the bank
    chunks = zip(torch.split(bank, _CHUNK), torch.split(norms, _CHUNK), strict=True)
    nearest = _together(torch.minimum, [torch.addmm(n, minus_twice, rows.T).amin(dim=1) for rows, n in chunks])
    return (nearest + patches.square().sum(dim=1)).clamp(min=0.0).sqrt()


@dataclass(frozen=True, slots=True)
class Measured:
    """Some patches (B, n, D), their distances (B, n), exact in float32, and where in the bank the nearest vectors are (B, n)."""

    patches: Tensor
    distances: Tensor
    nearest: Tensor


def measured(patches: Tensor, bank: Tensor, norms: Tensor) -> Measured:
    """patches: (B, n, D), few. bank: (K, D), centred as the patches are. norms: (K,), squared."""
    bracket = norms - 2.0 * patches @ bank.T  # (B, n, K)
    squared = bracket.amin(dim=2) + patches.square().sum(dim=2)
    return Measured(patches, squared.clamp(min=0.0).sqrt(), bracket.argmin(dim=2))


def nearest_rows(vectors: Tensor, count: int) -> Tensor:
    """(K, D) to (K, at most count): indices of the nearest ones of each, itself first whatever its copies say."""
    count = min(count, len(vectors))
    found = []
    for start in range(0, len(vectors), _CHUNK):
        distances = torch.cdist(vectors[start : start + _CHUNK], vectors)  # (rows, K)
        itself = torch.arange(len(distances))
        distances[itself, start + itself] = -1.0
        found.append(distances.topk(count, largest=False).indices)
    return torch.cat(found)


def widths(bank: Tensor) -> tuple[int, ...]:
    """In how many columns a bank (K, D), centred, may be searched, the fewest first and all of its dimensions last."""
    K, D = bank.shape  # noqa: N806 - the papers' capitals
    energy = torch.linalg.eigvalsh((bank.T @ bank).double()).flip(0).clamp(min=0.0).cumsum(0)
    needed = [int((energy < share * energy[-1]).sum()) + 2 for share in _ENERGY]  # one more for what is left over
    narrow = [math.ceil(max(count, _PRODUCTS / K) / _STEP) * _STEP for count in needed]
    return (*sorted({count for count in narrow if K > D and count <= _WORTHWHILE * D}), D)


class CandidateSearch(nn.Module):
    """About the distance to the nearest vector of a bank, cheap to compute in low precision; it finds the farthest patches.

    Of patches and bank it sees the leading directions of the bank and the length of what is left over, r:
    |x - m|^2 >= |x' - m'|^2 + (r_x - r_m)^2, by the triangle inequality. A line, fitted to patches of good parts, takes this
    bound to the distance. The products are layers with weights: what lowers the precision of layers lowers theirs.
    """

    directions: Tensor | None

    def __init__(self, bank: Tensor, columns: int, patches: Tensor) -> None:
        """bank: (K, D), centred; columns: one of its `widths`. patches: (N, D) of good parts, centred as the bank is."""
        super().__init__()
        narrow = columns < bank.shape[1]
        self.register_buffer("directions", _leading(bank, columns - 1) if narrow else None, persistent=False)
        norms = bank.square().sum(dim=1)
        self.ranking = Ranking(bank)
        rows = torch.split(self._seen(bank), _CHUNK)
        self.chunks = nn.ModuleList(_Product(*chunk) for chunk in zip(rows, torch.split(-0.5 * norms, _CHUNK), strict=True))
        self._slope, self._offset = 1.0, 0.0
        if narrow:
            self._slope, self._offset = _line(self.bound(patches), nearest_distances(patches, bank, norms))

    def forward(self, patches: Tensor) -> Tensor:
        """(N, D), centred as the bank is, to about the distance (N,)."""
        return self._slope * self.bound(patches) + self._offset

    def bound(self, patches: Tensor) -> Tensor:
        """(N, D), centred as the bank is, to at most the distance (N,), but for rounding."""
        seen = self._seen(patches)
        nearest = _together(torch.maximum, [chunk(seen).amax(dim=1) for chunk in self.chunks])
        return (patches.square().sum(dim=1) - 2.0 * nearest).clamp(min=0.0).sqrt()

    def _seen(self, vectors: Tensor) -> Tensor:
        """(N, D) to (N, columns): the product of two such rows is at least that of the vectors."""
        if self.directions is None:
            return vectors
        leading = vectors @ self.directions
        left = vectors.square().sum(dim=1, keepdim=True) - leading.square().sum(dim=1, keepdim=True)
        return torch.cat([leading, left.clamp(min=0.0).sqrt()], dim=1)


class Ranking(nn.Module):
    """Measures the farthest of a few patches, exactly, where a product in low precision says that they and their vectors are.

    To read all of the bank in float32 takes longer than the arithmetic. The product is a layer, as those of the search are.
    """

    grouped: Tensor

    def __init__(self, bank: Tensor) -> None:
        """bank: (K, D), centred."""
        super().__init__()
        self._last = len(bank) - 1
        filled = torch.cat([bank, bank[-1:].expand(-len(bank) % _NEIGHBORS, -1)])  # whole groups
        self.product = _Product(filled, filled.square().sum(dim=1))
        self.register_buffer("grouped", filled.view(-1, _NEIGHBORS, filled.shape[1]), persistent=False)  # (K / 16, 16, D)

    def forward(self, patches: Tensor) -> Measured:
        """patches: (B, n, D), centred as the bank is. Returns at most 8 of them."""
        bracket = self.product(-2.0 * patches)  # (B, n, K): of a tensor of its own, or what is measured would be rounded with it
        squared = bracket.unflatten(2, (-1, _NEIGHBORS)).amin(dim=3)  # of groups, less |x|^2: (B, n, K / 16)
        far = patches.square().sum(dim=2) + squared.amin(dim=2)
        place = far.topk(min(_MEASURED, far.shape[1]), dim=1).indices  # (B, 8)
        taken = torch.take_along_dim(patches, place[:, :, None], dim=1)  # (B, 8, D)
        squared = torch.take_along_dim(squared, place[:, :, None], dim=1)
        groups = squared.topk(min(_GROUPS, squared.shape[2]), dim=2, largest=False).indices  # (B, 8, 8)
        vectors = self.grouped[groups].flatten(2, 3)  # (B, 8, 8 * 16, D)
        exact = (vectors - taken[:, :, None]).square().sum(dim=3)
        which = exact.argmin(dim=2, keepdim=True)
        nearest = groups.gather(2, which // _NEIGHBORS) * _NEIGHBORS + which % _NEIGHBORS
        return Measured(taken, exact.amin(dim=2).sqrt(), nearest.squeeze(2).clamp(max=self._last))


class _Product(nn.Module):
    """With some rows of the bank."""

    weight: Tensor
    bias: Tensor

    def __init__(self, rows: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", rows.T.contiguous(), persistent=False)  # (columns, rows)
        self.register_buffer("bias", bias, persistent=False)  # (rows,)

    def forward(self, seen: Tensor) -> Tensor:
        """(..., columns) to (..., rows)."""
        return seen @ self.weight + self.bias


def _leading(bank: Tensor, count: int) -> Tensor:
    """(D, count), orthonormal: the directions that hold most of the bank, turned until none holds much more than another, since
    in integers all columns have one scale."""
    directions = torch.linalg.eigh((bank.T @ bank).double()).eigenvectors[:, -count:]  # ascending
    chance = torch.randn(count, count, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    turned: Tensor = directions @ torch.linalg.qr(chance).Q.to(bank.device)
    return turned.float()


def _line(bound: Tensor, distance: Tensor) -> tuple[float, float]:
    """Slope, positive, and offset from bound to distance, by least squares."""
    apart = (bound - bound.mean()).double()
    slope = float((apart * (distance - distance.mean())).sum() / apart.square().sum().clamp(min=1e-12))
    if slope <= 0.0:  # all bounds are as good as equal
        slope = 1.0
    return slope, float(distance.mean() - slope * bound.mean())


def _together(larger_or_smaller: Callable[[Tensor, Tensor], Tensor], found: list[Tensor]) -> Tensor:
    result = found[0]
    for other in found[1:]:
        result = larger_or_smaller(result, other)
    return result
