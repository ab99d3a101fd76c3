"""FastFlow: its sizes, its likelihood, its loss, and that it learns what good parts look like."""

import io
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from small_dataset import plate, save, scratched
from torch import Tensor, nn

from export.to_onnx import to_onnx
from training.backbone import Backbone
from training.data import Photograph, good_parts, input_contract
from training.graph import Deployed
from training.methods import Parts
from training.methods.fastflow import Config, FastFlow, Flow, held_to_their_start
from training.pretrained import Stated, load_backbone
from training.progress import Lines

LEVELS = Config.levels
RGB = (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("resnet18", "random", 0, strides=LEVELS)[0]


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def plates(folder: Path) -> tuple[Photograph, ...]:
    """Eight, of 64 px."""
    [save(folder / f"{k}.png", plate(k, 64, 64)) for k in range(16)]
    return good_parts(folder, seed=0).train


def scores(deployed: Deployed, images: list[np.ndarray]) -> Tensor:
    return deployed(torch.tensor(np.stack(images)))[0]


def only_permuting(method: FastFlow) -> FastFlow:
    """All subnets answer zero."""
    for parameter in (p for flow in method.flows for step in flow.steps for p in step.subnet.parameters()):
        nn.init.zeros_(parameter)
    return method


@pytest.mark.parametrize(
    ("name", "settings", "millions", "size", "grid"),
    [
        ("resnet18", {}, 4.66, 256, 64),
        ("resnet18", {"kernels": "3-1"}, 2.59, 256, 64),
        ("wide_resnet50_2", {}, 41.34, 256, 64),
        ("wide_resnet50_2", {"kernels": "3-3"}, 74.4, 256, 64),
        ("deit_base_distilled_patch16_384", {}, 7.07, 384, 24),
        ("cait_m48_448", {}, 7.07, 448, 28),
    ],
    ids=["R18 3-3", "R18 3-1", "WRN50 3-1", "WRN50 3-3", "DeiT", "CaiT"],
)
def test_a_flow_has_the_size_of_the_paper_and_every_weight_learns(
    name: str, settings: dict, millions: float, size: int, grid: int
) -> None:
    with torch.device("meta"):  # shapes only
        method = Config(**settings).build(Backbone(name, {}, LEVELS), seed=0)
        image = torch.empty(1, 3, size, size)

    anomaly_map = method(image)
    anomaly_map.sum().backward()

    learned = [p for p in method.parameters() if p.grad is not None]
    assert {id(p) for p in learned} == {id(p) for p in method.flows.parameters()}
    assert sum(p.numel() for p in learned) / 1e6 == pytest.approx(millions, abs=0.05)  # given with one or two decimals
    assert anomaly_map.shape == (1, grid, grid)


def test_the_map_is_minus_the_mean_likelihood_of_the_levels_on_the_finest_grid(backbone: Backbone, images: Tensor) -> None:
    method = only_permuting(Config().build(backbone, seed=0))

    anomaly_map = method(images)

    normed = [(x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True, correction=0) for x in backbone(images)]
    likelihoods = [torch.exp(-0.5 * x.square().mean(1, keepdim=True)) for x in normed]
    grown = [nn.Upsample((16, 16), mode="bilinear")(p)[:, 0] for p in likelihoods]
    assert torch.allclose(anomaly_map, -sum(grown) / 3, atol=1e-4)  # float32; the norm adds 1e-5 to the variance
    assert -1.0 <= anomaly_map.min() < anomaly_map.max() <= 0.0


def test_the_log_determinant_of_a_flow_is_that_of_its_jacobian() -> None:
    flow = Flow(channels=4, steps=3, kernels=(3, 1), hidden=1.0).double()
    level = torch.randn(1, 4, 2, 3, generator=torch.Generator().manual_seed(0)).double()
    [nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0)) for parameter in flow.parameters()]

    jacobian = torch.autograd.functional.jacobian(lambda flat: flow(flat.view(level.shape))[0].flatten(), level.flatten())

    assert flow(level)[1].sum().item() == pytest.approx(torch.linalg.slogdet(jacobian).logabsdet.item(), abs=1e-9)  # float64


def test_features_without_any_signal_are_as_likely_as_can_be(backbone: Backbone) -> None:
    method = only_permuting(Config().build(backbone, seed=0))
    method.features = lambda images: [torch.zeros(1, c, 4, 4) for c in (64, 128, 256)]

    assert torch.equal(method(torch.zeros(1, 3, 64, 64)), -torch.ones(1, 4, 4))


def test_the_loss_is_half_the_squared_noise_less_the_log_determinant_of_each_image(backbone: Backbone, images: Tensor) -> None:
    method = only_permuting(Config(steps=1).build(backbone, seed=0))
    gains = [flow.steps[0].raw_gain for flow in method.flows]
    [nn.init.constant_(gain, 2.0 * np.log(np.expm1(0.5 * 20.0))) for gain in gains]  # 0.1 softplus(that) is 2
    squared = 64 * 16 * 16 + 128 * 8 * 8 + 256 * 4 * 4  # each of mean square 1 after the norm

    loss = method.loss(images)

    doubled = 0.5 * 2.0**2 * squared - squared * np.log(2.0)
    assert loss.item() == pytest.approx(doubled, rel=1e-3)  # the norm adds 1e-5 to the variance


def test_the_flow_computes_in_float32_where_the_backbone_computes_in_half(images: Tensor) -> None:
    method = Config(steps=1).build(load_backbone("resnet18", "random", 0, strides=LEVELS)[0], seed=0)
    seen: list[torch.dtype] = []
    method.backbone.network.register_forward_hook(lambda module, given, answer: seen.append(answer[0].dtype))
    method.flows[0].steps[0].subnet.register_forward_hook(lambda module, given, answer: seen.append(answer.dtype))

    with torch.autocast("cpu", torch.bfloat16):
        loss = method.loss(images)

    assert seen == [torch.bfloat16, torch.float32]
    assert loss.dtype == torch.float32


def test_the_weights_know_their_permutations(backbone: Backbone, images: Tensor) -> None:
    fitted, other = (Config(steps=2).build(backbone, seed) for seed in (1, 2))

    before = other(images)
    other.load_state_dict(fitted.state_dict())

    assert torch.equal(other(images), fitted(images))
    assert not torch.equal(before, fitted(images))


def test_chance_is_the_seed_alone(backbone: Backbone) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)

    first, second = (Config(steps=2).build(backbone, 5).state_dict() for _ in range(2))

    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_only_convolutions_decay_each_as_under_a_prior_with_the_variance_that_it_starts_with(backbone: Backbone) -> None:
    method = Config().build(backbone, seed=0)

    groups = held_to_their_start(method.flows, count=120)

    priors = [(w.var().item(), g["weight_decay"]) for g in groups if g["weight_decay"] for w in g["params"]]
    free = [parameter for group in groups if not group["weight_decay"] for parameter in group["params"]]
    assert len(priors) == 3 * 8 * 2  # levels, steps, convolutions of a subnet
    assert [variance * decay * 120 for variance, decay in priors] == pytest.approx([1.0] * 48, rel=0.05)  # of 9216 or more drawn
    assert len(priors) + len(free) == len(list(method.flows.parameters()))
    assert all(parameter.dim() == 1 or parameter.shape[0] == 1 for parameter in free)  # offsets and gains


def test_a_scratched_part_is_stranger_than_every_good_one_after_some_steps(backbone: Backbone, tmp_path: Path) -> None:
    photographs = plates(tmp_path)
    method = Config(epochs=8, batch=4, steps=2).build(backbone, seed=0)
    deployed = Deployed(method, RGB, RGB)
    parts = Parts(photographs, input_contract(photographs, size=64), deployed.normalize)
    before = method.loss(parts.batch(range(8))).item()

    method.fit(parts, Lines(io.StringIO()))

    unseen = [plate(k, 64, 64) for k in range(100, 104)]
    good, damaged = scores(deployed, unseen), scores(deployed, [scratched(image) for image in unseen])
    assert method.loss(parts.batch(range(8))).item() < before
    assert not any(module.training for module in method.flows.modules())
    assert damaged.min() > good.max()


def test_the_flow_of_a_transformer_is_exported_as_it_is(tmp_path: Path) -> None:
    options = {"img_size": 64, "depth": 3}
    tiny, _ = load_backbone("deit_tiny_distilled_patch16_224", "random", 0, Stated(options), LEVELS)
    deployed = Deployed(Config(steps=1).build(tiny, seed=0), RGB, RGB).eval()
    contract = input_contract(plates(tmp_path), size=64)
    image = torch.tensor(plate(0, 64, 64))[None]

    to_onnx(deployed, contract, tmp_path / "model.onnx")

    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    score, anomaly_map = session.run(None, {"image": image.numpy()})
    expected = deployed(image)[1].detach().numpy()
    assert anomaly_map.shape == (1, 4, 4)
    assert np.abs(anomaly_map - expected).max() <= 1e-4 * np.ptp(expected)  # methods.md 8.4
    assert score == anomaly_map.max()
