"""Distances to a bank: the exact one, and the bound of the narrow search, which is never above it."""

from collections.abc import Callable

import pytest
import torch

from training.nearest import CandidateSearch, Ranking, measured, nearest_distances, nearest_rows, widths

ROUNDING = 1e-5  # of the squares, in float32


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def vectors(n: int, seed: int, dimensions: int = 96) -> torch.Tensor:
    """Most of their energy in a few directions, as features have it, and these not along the axes."""
    turn = torch.linalg.qr(torch.randn(dimensions, dimensions, generator=seeded(9))).Q
    return (torch.randn(n, dimensions, generator=seeded(seed)) * torch.arange(1, dimensions + 1) ** -0.7) @ turn


@pytest.fixture(scope="module")
def bank() -> torch.Tensor:
    found = vectors(2100, seed=1)  # several chunks
    return found - found.mean(dim=0)


@pytest.fixture(scope="module")
def good() -> torch.Tensor:
    return vectors(200, seed=2)


@pytest.fixture(scope="module")
def strange() -> torch.Tensor:
    """Some far in a leading direction, some far where the bank has next to nothing, some anywhere."""
    return torch.cat([3 * vectors(50, seed=3), 2 * torch.randn(50, 96, generator=seeded(4)), vectors(50, seed=5)])


def by_definition(patches: torch.Tensor, bank: torch.Tensor) -> torch.Tensor:
    return torch.cdist(patches.double(), bank.double()).amin(dim=1).float()


def test_the_nearest_rows_begin_with_the_row_itself() -> None:
    vectors = torch.tensor([[0.0], [0.0], [1.0], [3.0]])

    assert nearest_rows(vectors, 2)[:, 0].tolist() == [0, 1, 2, 3]
    assert nearest_rows(vectors, 2)[3, 1] == 2
    assert nearest_rows(vectors, 9).shape == (4, 4)


def test_the_exact_distance_is_that_of_the_definition(bank: torch.Tensor, strange: torch.Tensor) -> None:
    found = nearest_distances(strange, bank, bank.square().sum(dim=1))

    assert torch.allclose(
        found.square(), by_definition(strange, bank).square(), atol=ROUNDING * float(strange.square().sum(1).max())
    )


@pytest.mark.parametrize("columns", [16, 32, 64], ids=str)
def test_the_bound_is_never_above_the_distance_to_any_patch(
    bank: torch.Tensor, good: torch.Tensor, strange: torch.Tensor, columns: int
) -> None:
    bound = CandidateSearch(bank, columns, good).bound(torch.cat([good, strange, bank]))

    distance = by_definition(torch.cat([good, strange, bank]), bank)
    assert (bound.square() <= distance.square() + ROUNDING * float(strange.square().sum(dim=1).max())).all()


def test_more_columns_bring_the_bound_nearer(bank: torch.Tensor, good: torch.Tensor) -> None:
    distance = by_definition(good, bank)

    missing = [(distance - CandidateSearch(bank, columns, good).bound(good)).mean().item() for columns in (16, 32, 64)]

    assert missing[0] > 1.2 * missing[1] > 1.2**2 * missing[2] > 0  # 0.60, 0.48 and 0.26 of them when it was written


def test_a_patch_that_leaves_the_leading_directions_is_as_far_as_it_left_them(bank: torch.Tensor, good: torch.Tensor) -> None:
    search = CandidateSearch(bank, 32, good)
    beyond = torch.linalg.svd(search.directions.T).Vh[-1]  # a direction that the search does not look along

    bound = search.bound(10 * beyond[None])

    left_over = (bank - bank @ search.directions @ search.directions.T).norm(dim=1).max()
    assert bound.item() >= 10 - left_over.item()


def test_the_bound_is_the_distance_where_nothing_is_left_over(bank: torch.Tensor) -> None:
    flat = bank.clone()
    flat[:, 15:] = 0.0
    flat = flat @ torch.linalg.qr(torch.randn(96, 96, generator=seeded(7))).Q
    patches = flat[:300] + 0.1 * flat[300:600]  # in the same 15 directions

    bound = CandidateSearch(flat, 16, patches).bound(patches)

    assert torch.allclose(
        bound.square(), by_definition(patches, flat).square(), atol=ROUNDING * float(patches.square().sum(1).max())
    )


def test_a_search_in_all_dimensions_gives_the_distance(bank: torch.Tensor, good: torch.Tensor, strange: torch.Tensor) -> None:
    found = CandidateSearch(bank, 96, good)(strange)

    assert torch.allclose(
        found.square(), by_definition(strange, bank).square(), atol=ROUNDING * float(strange.square().sum(1).max())
    )


def test_the_line_takes_the_bound_to_the_distance(bank: torch.Tensor, good: torch.Tensor) -> None:
    search, others = CandidateSearch(bank, 32, good), vectors(200, seed=8)

    found = search(others)

    off, bound_off = ((by_definition(others, bank) - x).abs().mean() for x in (found, search.bound(others)))
    assert off < 0.5 * bound_off
    assert torch.equal(found.argsort(), search.bound(others).argsort())  # in the bound's order


def test_patches_that_are_all_the_same_shift_the_bound(bank: torch.Tensor) -> None:
    same = vectors(1, seed=3).repeat(20, 1)

    found = CandidateSearch(bank, 32, same)(same)

    assert torch.allclose(found, by_definition(same, bank), rtol=1e-3)  # no slope can be told from them; float32 roots


def test_the_narrowest_search_comes_first_and_that_of_all_dimensions_last() -> None:
    bank = vectors(25_000, seed=1, dimensions=192)  # so many that 40 columns would be enough work
    energy = torch.linalg.eigvalsh(bank.double().T @ bank.double()).flip(0).cumsum(0)

    few, more, whole = widths(bank)

    assert (few % 16, more % 16, whole) == (0, 0, 192)
    assert energy[few - 2] >= 0.9 * energy[-1] > energy[few - 18]  # of one direction less than columns
    assert energy[more - 2] >= 0.95 * energy[-1] > energy[more - 18]


def test_a_smaller_bank_is_searched_in_more_columns_since_it_costs_no_more() -> None:
    flat = torch.randn(8000, 4, generator=seeded()) @ torch.randn(4, 384, generator=seeded(1))  # four directions hold it all

    assert widths(flat) == (128, 384)
    assert widths(flat[:4000]) == (256, 384)
    assert widths(flat[:2000]) == (384,)


@pytest.mark.parametrize(
    "bank",
    [vectors(180, seed=1, dimensions=192), torch.randn(25_000, 192, generator=seeded())],
    ids=["fewer vectors than dimensions", "all directions alike"],
)
def test_where_a_narrow_search_does_not_pay_there_is_none(bank: torch.Tensor) -> None:
    assert widths(bank) == (192,)


def coarser(values: torch.Tensor) -> torch.Tensor:
    """As one of 255 steps, all of one size."""
    step = values.abs().max() / 127
    return (values / step).round() * step


@pytest.mark.parametrize(
    "lowered", [lambda x: x, lambda x: x.bfloat16().float(), coarser], ids=["float32", "bfloat16", "integers"]
)
@pytest.mark.parametrize("count", [2100, 2099, 100, 5], ids=lambda n: f"{n} vectors")
def test_the_farthest_patches_are_measured_exactly_whatever_the_product_rounds(
    bank: torch.Tensor, strange: torch.Tensor, count: int, lowered: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    ranking, asked = Ranking(bank[-count:]), torch.stack([strange[:32], strange[50:82], strange[100:132]])
    ranking.product.weight = lowered(ranking.product.weight)

    found = ranking(asked)

    exact = by_definition(asked.flatten(0, 1), bank[-count:]).view(3, 32)
    assert torch.allclose(found.distances.amax(dim=1), exact.amax(dim=1), rtol=1e-6)  # float32, of differences: nothing cancels
    nearest = torch.cdist(found.patches.double(), bank[-count:].double()[None]).gather(2, found.nearest[:, :, None]).squeeze(2)
    assert torch.allclose(found.distances, nearest.float(), rtol=1e-6)


def test_of_all_patches_that_there_are_each_is_measured_if_they_are_few(bank: torch.Tensor, good: torch.Tensor) -> None:
    found = Ranking(bank)(good[None, :3])

    assert found.distances.sort().values[0].tolist() == pytest.approx(
        by_definition(good[:3], bank).sort().values.tolist(), rel=1e-6
    )


def test_what_measures_with_all_of_the_bank_finds_the_same(bank: torch.Tensor, strange: torch.Tensor) -> None:
    ranked = Ranking(bank)(strange[None, :8])

    found = measured(strange[None, :8], bank, bank.square().sum(dim=1))

    order = found.distances[0].argsort(descending=True)
    ranked_order = ranked.distances[0].argsort(descending=True)
    assert torch.allclose(ranked.distances[0, ranked_order], found.distances[0, order], rtol=1e-4)  # the expanded square cancels
    assert torch.equal(ranked.nearest[0, ranked_order], found.nearest[0, order])
