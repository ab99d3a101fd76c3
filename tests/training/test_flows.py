"""Coupling steps: invertible, with the volume they claim, and FastFlow's and AST's golden values."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from training.flows import OneSidedCoupling, TwoSidedCoupling, soft_clamp

CHANNELS, CONDITION = 5, 2  # odd, so that the halves differ


def seeded(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def stirred(build: Callable[[], nn.Module]) -> nn.Module:
    """In float64, every parameter moved away from where it starts, which is the same in each run."""
    torch.manual_seed(0)
    step = build()
    with torch.no_grad():
        for k, parameter in enumerate(step.double().parameters()):
            parameter += 0.5 * seeded(k, *parameter.shape)
    return step


def one_sided() -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    return stirred(lambda: OneSidedCoupling(torch.tensor([3, 0, 4, 1, 2]), hidden=4, kernel=3))


def two_sided() -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    step = stirred(lambda: TwoSidedCoupling(torch.tensor([3, 0, 4, 1, 2]), CONDITION, hidden=4, kernel=3, alpha=1.9))
    return lambda features: step(features, seeded(99, len(features), CONDITION, 2, 3).double())


@pytest.mark.parametrize("build", [one_sided, two_sided])
def test_the_log_determinant_is_that_of_the_jacobian(build) -> None:
    step, features = build(), seeded(1, 1, CHANNELS, 2, 3).double()

    jacobian = torch.autograd.functional.jacobian(lambda flat: step(flat.view(features.shape))[0].flatten(), features.flatten())

    claimed = step(features)[1]
    assert claimed.shape == (1, 2, 3)
    assert abs(claimed.sum()) > 0.1
    assert claimed.sum().item() == pytest.approx(torch.linalg.slogdet(jacobian).logabsdet.item(), abs=1e-9)  # float64


def test_each_image_of_a_batch_has_its_own_log_determinant() -> None:
    step, batch = one_sided(), seeded(2, 3, CHANNELS, 4, 4).double()

    noise, log_det = step(batch)

    alone = [step(image[None]) for image in batch]
    assert torch.allclose(noise, torch.cat([n for n, _ in alone]), atol=1e-12)  # float64, sums in another order
    assert torch.allclose(log_det, torch.cat([d for _, d in alone]), atol=1e-12)
    assert not torch.allclose(log_det[0], log_det[1])


def test_a_one_sided_step_can_be_undone() -> None:
    step, features = one_sided(), seeded(3, 2, CHANNELS, 4, 4).double()

    noise, _ = step(features)

    gain = 0.2 * torch.log1p(torch.exp(0.5 * step.raw_gain))
    scaled = (noise[:, torch.argsort(step.permutation)] - step.offset) / gain
    raw_scale, shift = (0.1 * step.subnet(scaled[:, :3])).chunk(2, dim=1)
    undone = torch.cat([scaled[:, :3], (scaled[:, 3:] - shift) * torch.exp(-2.0 * torch.tanh(raw_scale))], dim=1)
    assert torch.allclose(undone, features, atol=1e-10)  # float64 through one exponential


def test_a_one_sided_step_permutes_whole_rows() -> None:
    step = OneSidedCoupling(torch.tensor([3, 0, 4, 1, 2]), hidden=4, kernel=3)

    traced = torch.export.export(step, (seeded(4, 1, CHANNELS, 6, 7),))

    (permuted,) = (node for node in traced.graph.nodes if "index_select" in str(node.target))
    assert permuted.meta["val"].shape == (1, CHANNELS, 6 * 7)  # one by one, places would be moved in pieces


def test_a_one_sided_step_starts_with_gain_one() -> None:
    step = OneSidedCoupling(torch.randperm(6), hidden=4, kernel=1)

    first = step(torch.ones(1, 6, 1, 1))[0][:, torch.argsort(step.permutation)][:, :3]

    assert step.raw_gain[0, 0, 0, 0].item() == pytest.approx(9.9864785, abs=1e-6)  # methods.md 11.1
    assert torch.allclose(first, torch.ones(1, 3, 1, 1), atol=1e-6)  # float32


def test_a_one_sided_step_enlarges_by_at_most_e_squared() -> None:
    step = OneSidedCoupling(torch.arange(4), hidden=4, kernel=3)

    _, log_det = step(1e6 * seeded(4, 1, 4, 8, 8))

    assert log_det.abs().max() <= 2 * 2.0 + 1e-4  # two channels of at most 2, and gains of 1 in float32
    assert log_det.abs().max() > 1.0


def test_a_two_sided_step_starts_as_its_permutation_and_enlarges_nothing() -> None:
    permutation = torch.tensor([3, 0, 4, 1, 2])
    features = seeded(5, 2, CHANNELS, 4, 4)

    noise, log_det = TwoSidedCoupling(permutation, CONDITION, 8, 3, 1.9)(features, seeded(6, 2, CONDITION, 4, 4))

    assert torch.equal(noise, features[:, permutation])
    assert torch.equal(log_det, torch.zeros(2, 4, 4))


def test_a_two_sided_step_learns_from_its_start() -> None:
    step = TwoSidedCoupling(torch.randperm(CHANNELS), CONDITION, 8, 3, 1.9)

    noise, log_det = step(seeded(7, 2, CHANNELS, 4, 4), seeded(8, 2, CONDITION, 4, 4))
    (0.5 * noise.square().sum() - log_det.sum()).backward()

    assert step.gammas.grad.abs().min() > 0


def test_a_two_sided_step_knows_its_condition_and_bounds_its_output() -> None:
    step = stirred(lambda: TwoSidedCoupling(torch.arange(CHANNELS), CONDITION, 8, 3, 1.9))
    features = 1e9 * seeded(9, 1, CHANNELS, 4, 4).double()

    here, there = (step(features / 1e9, k + seeded(10, 1, CONDITION, 4, 4).double())[0] for k in (0, 1))

    assert not torch.allclose(here, there)
    assert step(features, torch.zeros(1, CONDITION, 4, 4).double())[0].abs().max() == 1e6


def test_the_soft_clamp_has_its_golden_values() -> None:
    clamped = soft_clamp(torch.tensor([0.5, 1.0, 5.0, 100.0]), alpha=1.9)

    assert clamped.tolist() == pytest.approx([0.310950, 0.585443, 1.459323, 1.875194], abs=1e-6)  # methods.md 11.1


@pytest.mark.parametrize("build", [lambda p: OneSidedCoupling(p, 4, 3), lambda p: TwoSidedCoupling(p, CONDITION, 4, 3, 1.9)])
def test_the_permutation_is_kept_with_the_weights(build) -> None:
    drawn, loaded = build(torch.tensor([3, 0, 4, 1, 2])), build(torch.arange(CHANNELS))

    loaded.load_state_dict(drawn.state_dict())

    assert loaded.permutation.tolist() == [3, 0, 4, 1, 2]


def test_ast_flow_of_rgb_features_has_its_size() -> None:
    with torch.device("meta"):
        steps = [TwoSidedCoupling(torch.arange(304), 32, 64, kernel, 1.9) for kernel in (3, 3, 3, 5)]

    assert sum(p.numel() for step in steps for p in step.parameters()) == pytest.approx(3.3e6, abs=0.05e6)  # one decimal given
