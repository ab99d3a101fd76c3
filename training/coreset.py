"""The vectors that stand for all others: greedy k-centre, exact but lazy, in a random projection.

Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022, arXiv 2106.08265, section 3.2; greedy is
within twice the smallest covering radius (Gonzalez 1985).
"""

import torch
from torch import Tensor

from training.progress import Progress

_ANCHORS = 10
_BLOCK = 1024  # vectors brought up to date together: about one photograph


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
    only shrink, so a block whose largest known distance is not the largest of all need not be brought up to date. All vectors,
    where they are no more than `count`, are in that order too: the first of them are a coreset.
    """
    n = len(vectors)
    chosen = [_first_pick(vectors, generator)]
    blocks = torch.split(vectors, _BLOCK)
    distance = torch.full((n,), torch.inf)
    by_block = torch.split(distance, _BLOCK)  # views
    bound, counted = torch.full((len(blocks),), torch.inf), [0] * len(blocks)
    for _ in progress.track(range(min(count, n) - 1), "coreset"):
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
