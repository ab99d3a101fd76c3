"""The PDNs: the shapes and sizes of the paper; distilled the same way twice; one level of features is enough for PatchCore."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from small_dataset import plate, save, scratched
from told import Cut, Told, quiet

from training.backbone import BackboneError
from training.data import good_parts, input_contract
from training.distill import distill
from training.graph import Deployed
from training.methods import Parts
from training.methods.patchcore import Config
from training.pdn import PdnM, PdnS
from training.pdn_lesson import _folded, _normalized
from training.plan import PDN_M, PDN_S, Plan, Teacher
from training.pretrained import Stated, WeightsError, load_backbone


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    teacher, pictures = tmp_path / "mobilenetv2.safetensors", tmp_path / "plates"
    torch.manual_seed(1)
    save_file(timm.create_model("mobilenetv2_050", pretrained=False).state_dict(), teacher)
    save(pictures / "plate.png", plate(0))
    return Plan((Teacher("mobilenetv2_050", str(teacher), {}),), (str(pictures),), 4, batch=2, crop=32, student=PDN_S)


@pytest.mark.parametrize("network", [PdnS, PdnM])
@pytest.mark.parametrize(("padded", "side"), [(False, 56), (True, 64)], ids=["in-use", "in-distillation"])
def test_the_shapes_are_those_of_the_paper(network: type[PdnS | PdnM], padded: bool, side: int) -> None:
    with torch.no_grad():
        assert network(padded=padded)(torch.zeros(1, 3, 256, 256)).shape == (1, 384, side, side)


@pytest.mark.parametrize(("network", "expected"), [(PdnS, ["2.69", "4.27"]), (PdnM, ["8.03", "11.62"])], ids=["small", "medium"])
def test_the_sizes_are_those_of_the_paper(network: type[PdnS | PdnM], expected: list[str]) -> None:
    sizes = [sum(p.numel() for p in network(outputs).parameters()) for outputs in (384, 768)]

    assert [f"{size / 1e6:.2f}" for size in sizes] == expected


@pytest.mark.parametrize("kind", [PdnS, PdnM])
def test_without_padding_the_inner_places_see_the_same(kind: type[PdnS | PdnM]) -> None:
    network, padded = kind(), kind(padded=True)
    padded.load_state_dict(network.state_dict())
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    inner = padded(images)[:, :, 4:-4, 4:-4]

    assert torch.allclose(network(images), inner, atol=1e-4)  # rounding: convolutions may add in another order


@pytest.mark.parametrize("kind", [PdnS, PdnM])
def test_a_place_describes_33_px_around_it(kind: type[PdnS | PdnM]) -> None:
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)).requires_grad_()

    kind()(images)[0, :, 2, 3].square().sum().backward()

    rows, columns = images.grad[0].any(dim=0).nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (8, 40, 12, 44)


@pytest.mark.parametrize(("student", "bytes_at_most"), [(PDN_S, 6_000_000), (PDN_M, 17_000_000)])
def test_the_same_plan_gives_the_same_bytes_also_when_it_was_cut_off(
    plan: Plan, tmp_path: Path, student: str, bytes_at_most: int
) -> None:
    plan = replace(plan, student=student)
    whole, cut = tmp_path / "whole.safetensors", tmp_path / "cut.safetensors"
    digest = distill(plan, whole, quiet())
    with pytest.raises(KeyboardInterrupt):
        distill(plan, cut, Cut(3))

    again = distill(plan, cut, quiet(), resume=True)
    other = distill(replace(plan, seed=1), tmp_path / "other.safetensors", quiet())

    assert digest == again != other
    assert whole.stat().st_size < bytes_at_most
    assert f"kensa distill --student {student} --teacher" in (tmp_path / "whole.md").read_text()


def test_the_student_learns(plan: Plan, tmp_path: Path) -> None:
    told = Told()

    distill(replace(plan, steps=20), tmp_path / "s.safetensors", told)

    assert sum(told.losses[-5:]) < 0.9 * sum(told.losses[:5])


@pytest.mark.parametrize("kind", [PdnS, PdnM])
def test_normalization_is_folded_into_the_convolutions(kind: type[PdnS | PdnM]) -> None:
    learner, folded = _normalized(kind(padded=True)), kind(padded=True)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    learner(images)  # statistics that are neither 0 nor 1
    folded.load_state_dict(_folded(learner).state_dict())

    expected = learner.eval()(images)

    assert torch.allclose(folded(images), expected, atol=1e-5)  # rounding: sums of some thousand float32 products


def test_the_distilled_file_is_a_backbone_of_one_level(plan: Plan, tmp_path: Path) -> None:
    distill(replace(plan, steps=1, licence="ours"), tmp_path / "s.safetensors", quiet())

    backbone, provenance = load_backbone("pdn-s", str(tmp_path / "s.safetensors"), seed=0)

    assert backbone.channels == (384,)
    assert [level.shape for level in backbone(torch.zeros(2, 3, 96, 64))] == [(2, 384, 16, 8)]
    assert (provenance.network, provenance.licence, provenance.mean) == ("pdn-s", "ours", (0.485, 0.456, 0.406))


def test_patchcore_on_one_level_finds_a_painted_defect(tmp_path: Path) -> None:
    backbone, provenance = load_backbone("pdn-s", "random", seed=0)
    method = Config(bank=200, pool=2000).build(backbone, seed=0)
    deployed = Deployed(method, provenance.mean, provenance.std).eval()
    [save(tmp_path / f"{k:03}.png", plate(k)) for k in range(20)]
    photographs = good_parts(tmp_path, seed=0).train
    method.fit(Parts(photographs, input_contract(photographs, size=64), deployed.normalize), quiet())
    clean = plate(700, 64, 64)

    scores, maps = deployed(torch.from_numpy(np.stack([clean, scratched(clean)])))

    assert maps.shape == (2, 8, 8)
    assert torch.isfinite(maps).all()
    assert scores[1] > scores[0]


def test_the_medium_network_is_a_backbone_too() -> None:
    backbone, provenance = load_backbone("pdn-m", "random", seed=0, strides=(4,))

    assert isinstance(backbone.network, PdnM)
    assert [level.shape for level in backbone(torch.zeros(1, 3, 96, 64))] == [(1, 384, 16, 8)]
    assert provenance.network == "pdn-m"


@pytest.mark.parametrize("asked", [{"strides": (4, 8, 16)}, {"strides": (8,)}], ids=["pyramid", "other"])
def test_other_strides_than_its_own_are_refused(asked: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(BackboneError, match="stride 4 only"):
        load_backbone("pdn-s", "random", 0, **asked)


def test_it_takes_no_options_and_has_no_weights_on_the_hub() -> None:
    with pytest.raises(BackboneError, match="does not take the options"):
        load_backbone("pdn-s", "random", 0, Stated({"pad_type": "same"}))
    with pytest.raises(WeightsError, match="give a file with --weights FILE"):
        load_backbone("pdn-s", None, 0)
