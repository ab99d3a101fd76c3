"""STFPM: loss and map by hand, a teacher that is not touched, a product that does not vanish."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_dataset import plate, save

from training.data import good_parts, input_contract
from training.graph import Deployed
from training.methods import Parts
from training.methods.stfpm import Config, Stfpm, _half_squared_distance
from training.pretrained import Stated, load_backbone


class Losses:
    """Progress that notes what is told."""

    def __init__(self) -> None:
        self.figures: list[float] = []

    def track(self, items, stage):
        del stage
        return iter(items)

    def tell(self, figures: str) -> None:
        self.figures.append(float(figures.removeprefix("loss ")))


def images(seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def untaught(**settings: object) -> Stfpm:
    backbone, _ = load_backbone("resnet18", "random", 0, strides=Config.levels)
    return Config(**settings).build(backbone, seed=1).eval()


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    [save(tmp_path / f"{k:03}.png", plate(k, 64, 64)) for k in range(16)]
    photographs = good_parts(tmp_path, seed=0).train
    normalize = Deployed(untaught(), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)).normalize
    return Parts(photographs, input_contract(photographs, size=64), normalize)


def test_a_level_is_one_minus_the_cosine() -> None:
    generator = torch.Generator().manual_seed(0)
    taught, learned = torch.rand(2, 1, 8, 3, 3, generator=generator).unbind()

    found = _half_squared_distance(taught, learned)

    cosine = torch.nn.functional.cosine_similarity(taught, learned, dim=1)
    assert torch.allclose(found, 1 - cosine, atol=1e-6)  # rounding of float32


def test_features_of_no_length_are_no_error() -> None:
    nothing, something = torch.zeros(1, 4, 1, 1), torch.ones(1, 4, 1, 1)

    assert _half_squared_distance(nothing, nothing).item() == 0.0
    assert _half_squared_distance(nothing, something).item() == pytest.approx(0.5)  # one direction against none


@torch.no_grad()
def test_the_maps_have_the_sizes_of_the_levels_and_lie_between_0_and_1() -> None:
    method = untaught()

    levels, product = method.level_maps(images()), method(images())

    assert [tuple(level.shape) for level in levels] == [(2, 16, 16), (2, 8, 8), (2, 4, 4)]
    assert product.shape == (2, 16, 16)
    assert all(float(level.min()) >= 0 and float(level.max()) <= 1 for level in levels)  # behind a ReLU no cosine is negative
    assert 0 <= float(product.min()) <= float(product.max()) <= 1


def test_places_are_ranked_as_by_the_papers_product() -> None:
    method = untaught()
    levels = [level[:, None] for level in method.level_maps(images())]

    found = method(images()).detach().flatten()
    grown = [torch.nn.functional.interpolate(level, size=(16, 16), mode="bilinear") for level in levels]
    product = torch.stack(grown).prod(dim=0).detach().flatten()

    order = np.argsort(product.numpy())
    assert (np.diff(found.numpy()[order]) >= -1e-6).all()  # ties within rounding


def test_well_fitted_places_do_not_vanish_in_half_precision() -> None:
    levels = torch.full((3,), 1e-3)

    product, mean = levels.prod(), (levels + 1e-6).log().mean().exp()

    assert product.half() == 0
    assert mean.half() > 0


@torch.no_grad()
def test_the_loss_is_the_official_scale() -> None:
    method = untaught()

    loss = method.loss(images())

    by_hand = sum(2 * float(level.mean()) for level in method.level_maps(images()))  # d^2 is twice 1 - cos
    assert float(loss) == pytest.approx(by_hand, rel=1e-6)


def test_the_student_learns_and_the_teacher_does_not_change(parts: Parts) -> None:
    method, losses = untaught(epochs=20, batch=8, rate=1.0), Losses()
    before = {key: value.clone() for key, value in method.backbone.state_dict().items()}

    method.fit(parts, losses)

    assert losses.figures[-1] < 0.5 * losses.figures[0]
    assert all(torch.equal(value, before[key]) for key, value in method.backbone.state_dict().items())
    assert not method.student.training


def test_the_student_begins_without_the_teachers_knowledge_and_with_silent_residual_branches() -> None:
    method = untaught()
    last_gains = [block.bn2.weight for block in method.student.modules() if hasattr(block, "bn2")]

    assert len(last_gains) == 6  # two blocks in each of three layers
    assert not any(gain.any() for gain in last_gains)
    assert any(not torch.equal(a, b) for a, b in zip(method.student.parameters(), method.backbone.parameters(), strict=True))
    assert all(parameter.requires_grad for parameter in method.student.parameters())


@torch.no_grad()
def test_the_students_statistics_are_those_of_its_last_weights_over_all_good_parts(parts: Parts) -> None:
    method = untaught(epochs=5, batch=16)
    seen: list[torch.Tensor] = []

    with torch.enable_grad():
        method.fit(parts, Losses())

    norm = method.student.bn1
    norm.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    method.student(parts.batch(range(len(parts))))  # all of them are one batch
    variance, mean = torch.var_mean(seen[0], dim=(0, 2, 3))
    assert torch.allclose(norm.running_mean, mean, rtol=1e-3, atol=1e-4)  # sums in another order
    assert torch.allclose(norm.running_var, variance, rtol=1e-3, atol=1e-4)


def test_a_backbone_with_options_has_a_student_with_them() -> None:

    backbone, _ = load_backbone("mobilenetv2_050", "random", 0, Stated({"pad_type": "same"}), Config.levels)

    method = Config().build(backbone, seed=0)

    assert [tuple(level.shape[1:]) for level in method.level_maps(images())] == [(16, 16), (8, 8), (4, 4)]
    assert method.student.state_dict().keys() == method.backbone.network.state_dict().keys()


@torch.no_grad()
def test_a_level_that_tells_no_painted_damage_does_not_count(parts: Parts) -> None:
    method = untaught()
    before = method.weights.tolist()
    for name in ("conv1", "bn1", "layer1"):  # the student sees at the finest level what the teacher sees
        getattr(method.student, name).load_state_dict(getattr(method.backbone.network, name).state_dict())

    method._weigh_levels(parts, Losses())

    finest, *others = method.weights.tolist()
    assert before == pytest.approx([1 / 3] * 3)
    assert finest == 0.0
    assert sum(others) == pytest.approx(1.0)
    assert min(others) > 0.0


@torch.no_grad()
def test_levels_count_in_the_score_by_their_weights_and_in_the_map_alike() -> None:
    method = untaught()
    alike_score, alike_map = method.judge(images())
    method.weights.copy_(torch.tensor([0.0, 0.0, 1.0]))

    score, anomaly_map = method.judge(images())

    coarsest = torch.nn.functional.interpolate(method.level_maps(images())[2][:, None], size=(16, 16), mode="bilinear")
    assert torch.allclose(alike_score, alike_map.flatten(1).amax(1), atol=1e-6)  # through a logarithm and back
    assert torch.allclose(score, coarsest.flatten(1).amax(1), atol=1e-6)
    assert torch.equal(anomaly_map, alike_map)


def test_in_a_run_of_before_the_levels_count_alike() -> None:
    method = untaught()
    method.weights.copy_(torch.tensor([0.0, 0.0, 1.0]))
    old = {key: value for key, value in method.state_dict().items() if key != "weights"}

    method.load_state_dict(old)

    assert method.weights.tolist() == pytest.approx([1 / 3] * 3)
