"""Weights: from a file that fits, from the cache, or an error that says what is wanted."""

from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import training.pretrained
from agent.bundle import sha256
from training.backbone import Backbone, BackboneError
from training.pretrained import Stated, WeightsError, load_backbone

WEIGHTS_FOLDER = Path(training.pretrained.__file__).parent / "weights"


def weights_file(folder: Path, name: str) -> Path:
    """A whole classifier's weights in float16, as they are published."""
    torch.manual_seed(1)
    state = timm.create_model(name, pretrained=False).state_dict()
    halves = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    save_file(halves, folder / f"{name}.safetensors")
    return folder / f"{name}.safetensors"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache and no hub; gives the cache's folder."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.parametrize(
    ("name", "channels"), [("resnet18", (128, 256)), ("mobilenetv2_100", (32, 96)), ("densenet121", (512, 1024))]
)
def test_a_file_of_the_whole_network_fills_the_features_of_stride_8_and_16(tmp_path: Path, name: str, channels) -> None:
    file = weights_file(tmp_path, name)
    images = torch.randn(1, 3, 64, 64)

    backbone, provenance = load_backbone(name, str(file), seed=0)

    fine, coarse = backbone(images)
    assert backbone.channels == channels
    assert (fine.shape, coarse.shape) == ((1, channels[0], 8, 8), (1, channels[1], 4, 4))
    assert fine.isfinite().all()
    assert provenance.source.startswith(f"{name}.safetensors, file sha256")


def test_the_features_are_those_of_the_weights_in_the_file(tmp_path: Path) -> None:
    file = weights_file(tmp_path, "densenet121")
    images = torch.randn(1, 3, 64, 64)

    backbone, _ = load_backbone("densenet121", str(file), seed=0)

    whole = timm.create_model("densenet121", pretrained=False)
    whole.load_state_dict(load_file(file))
    names = [name for name, _ in whole.features.named_children()]
    until_block3 = whole.features[: names.index("denseblock3") + 1].eval()
    with torch.no_grad():
        assert torch.allclose(backbone(images)[1], until_block3(images), atol=1e-4)  # the same sums in another order


def test_train_mode_does_not_touch_the_statistics(tmp_path: Path) -> None:
    backbone, _ = load_backbone("resnet18", "random", seed=0)
    images = torch.randn(2, 3, 64, 64)
    before = backbone.eval()(images)[1]

    after = backbone.train()(images)[1]

    assert torch.equal(before, after)
    assert not any(p.requires_grad for p in backbone.parameters())


def test_random_weights_depend_on_the_seed_and_leave_the_global_chance_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)

    first, second, other = (load_backbone("resnet18", "random", seed)[1].sha256 for seed in (5, 5, 6))

    assert torch.equal(torch.rand(3), expected)
    assert first == second != other


def missing_layer(state: dict) -> None:
    del state["layer3.0.conv1.weight"]


def wrong_shape(state: dict) -> None:
    state["layer2.0.conv1.weight"] = torch.zeros(1)


def not_finite(state: dict) -> None:
    state["bn1.weight"][3] = torch.nan


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (missing_layer, r"1 of \d+ tensors of resnet18 are missing, such as layer3.0.conv1.weight"),
        (wrong_shape, r"layer2.0.conv1.weight is \(1,\), expected \(128, 64, 3, 3\)"),
        (not_finite, "not finite in bn1.weight"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_tensor(tmp_path: Path, spoil, named: str) -> None:
    state = timm.create_model("resnet18", pretrained=False).state_dict()
    spoil(state)
    save_file(state, tmp_path / "w.safetensors")

    with pytest.raises(WeightsError, match=named):
        load_backbone("resnet18", str(tmp_path / "w.safetensors"), seed=0)


def test_layers_above_stride_16_may_be_missing(tmp_path: Path) -> None:
    state = timm.create_model("resnet18", pretrained=False).state_dict()
    save_file({k: v for k, v in state.items() if not k.startswith(("layer4", "fc"))}, tmp_path / "w.safetensors")

    assert load_backbone("resnet18", str(tmp_path / "w.safetensors"), seed=0)[0].channels == (128, 256)


@pytest.mark.parametrize("content", [[], [b""], [b"not safetensors at all"]], ids=["missing", "empty", "other"])
def test_a_file_that_is_no_weights_file_is_named(tmp_path: Path, content: list[bytes]) -> None:
    file = tmp_path / "w.safetensors"
    [file.write_bytes(c) for c in content]

    with pytest.raises(WeightsError, match=r"w\.safetensors"):
        load_backbone("resnet18", str(file), seed=0)


def test_weights_out_of_reach_are_an_error_that_names_the_file_and_the_three_ways(offline: Path) -> None:
    with pytest.raises(WeightsError, match=r"(?s)timm/resnet18.*model\.safetensors.*1\. --weights.*2\. the cache.*3\. the hub"):
        load_backbone("resnet18", None, seed=0)


@pytest.mark.parametrize("weights", [None, "random"], ids=["of the hub", "random"])
def test_a_network_that_is_none_is_told_with_close_names_before_weights_are_looked_for(
    offline: Path, weights: str | None
) -> None:
    with pytest.raises(BackboneError, match=r"'resnet81' is unknown to timm .*; close names: resnet18"):
        load_backbone("resnet81", weights, 0)


def test_the_cache_is_used_without_the_hub(offline: Path, tmp_path: Path) -> None:
    repository = offline / "models--timm--resnet18.a1_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots" / ("0" * 40)).mkdir(parents=True)
    file = weights_file(tmp_path, "resnet18")
    (repository / "snapshots" / ("0" * 40) / "model.safetensors").write_bytes(file.read_bytes())

    _, cached = load_backbone("resnet18", None, seed=0)
    _, given = load_backbone("resnet18", str(file), seed=0)

    assert cached.source.startswith("hub timm/resnet18.a1_in1k")
    assert cached.sha256 == given.sha256


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("resnet81", "resnet18"),
        ("../evil", "unknown"),
        ("convmixer_768_32", "stride"),
    ],
)
def test_a_backbone_that_cannot_be_used_is_explained(name: str, named: str) -> None:
    with pytest.raises(BackboneError, match=named):
        load_backbone(name, "random", seed=0)


def test_the_embedded_backbone_needs_neither_hub_nor_file(offline: Path) -> None:
    backbone, provenance = load_backbone("embedded", None, seed=0)

    assert backbone.channels == (128, 256)
    assert all(level.isfinite().all() for level in backbone(torch.randn(1, 3, 64, 64)))
    assert (provenance.network, provenance.licence) == ("resnet18", "Apache-2.0")
    assert provenance.source.startswith("embedded pyramid-r18.safetensors, file sha256")


def test_the_embedded_pdn_needs_neither_hub_nor_file(offline: Path) -> None:
    backbone, provenance = load_backbone("embedded-pdn", None, seed=0, strides=(4,))

    assert backbone.channels == (384,)
    assert backbone(torch.randn(1, 3, 64, 64))[0].isfinite().all()
    assert (provenance.network, provenance.licence) == ("pdn-s", "Apache-2.0")


@pytest.mark.parametrize("file", sorted(WEIGHTS_FOLDER.glob("*.safetensors")), ids=lambda file: file.stem)
def test_an_embedded_file_is_small_and_has_a_card_that_names_it(file: Path) -> None:
    card = file.with_suffix(".md").read_text()

    assert file.stat().st_size <= 6_000_000
    assert sha256(file) in card
    assert "kensa distill" in card


def test_other_weights_for_the_embedded_backbone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"brings its own weights.*--backbone resnet18"):
        load_backbone("embedded", str(weights_file(tmp_path, "resnet18")), seed=0)


def test_random_weights_leave_no_residual_branch_silent() -> None:
    backbone, _ = load_backbone("resnet18", "random", seed=0)

    gains = [m.weight for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(gains) > 10
    assert all(gain.all() for gain in gains)


@pytest.fixture
def same_padding(tmp_path: Path) -> tuple[str, str]:
    """A file without metadata, and one that says how it is to be used."""
    plain, told = weights_file(tmp_path, "mobilenetv2_050"), tmp_path / "told.safetensors"
    metadata = {"mean": "[0.5, 0.5, 0.5]", "std": "[0.4, 0.4, 0.4]", "timm_options": '{"pad_type": "same"}', "licence": "ours"}
    save_file(load_file(plain), told, metadata)
    return str(plain), str(told)


def test_what_a_file_says_of_itself_is_the_same_as_stating_it(same_padding: tuple[str, str]) -> None:
    plain, told = same_padding
    stated = Stated({"pad_type": "same"}, (0.5, 0.5, 0.5), (0.4, 0.4, 0.4))
    images = torch.randn(1, 3, 64, 64)

    unsaid, unknown = load_backbone("mobilenetv2_050", plain, 0)
    by_hand, given = load_backbone("mobilenetv2_050", plain, 0, stated)
    by_file, found = load_backbone("mobilenetv2_050", told, 0)

    assert (found.mean, found.std, found.options, found.licence) == (stated.mean, stated.std, {"pad_type": "same"}, "ours")
    assert (given.mean, given.std, given.options, given.licence) == (stated.mean, stated.std, {"pad_type": "same"}, "unknown")
    assert (unknown.options, unknown.mean) == ({}, (0.485, 0.456, 0.406))
    assert torch.equal(by_hand(images)[1], by_file(images)[1])
    assert not torch.equal(by_hand(images)[1], unsaid(images)[1])


def test_what_is_stated_outdoes_what_the_file_says(same_padding: tuple[str, str]) -> None:
    _, provenance = load_backbone("mobilenetv2_050", same_padding[1], 0, Stated({"pad_type": ""}, (0.1, 0.2, 0.3)))

    assert (provenance.mean, provenance.std) == ((0.1, 0.2, 0.3), (0.4, 0.4, 0.4))
    assert provenance.options == {"pad_type": ""}


def test_metadata_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors", {"mean": "dark"})

    with pytest.raises(WeightsError, match=r"w\.safetensors: mean, std or timm_options"):
        load_backbone("resnet18", str(tmp_path / "w.safetensors"), 0)


def test_an_option_that_the_network_does_not_know_is_explained() -> None:
    with pytest.raises(BackboneError, match=r"does not take the options \{'colour': 1\}"):
        load_backbone("resnet18", "random", 0, Stated({"colour": 1}))


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
def test_a_network_of_one_color_is_refused(name: str) -> None:
    with pytest.raises(BackboneError, match="in_chans=1: leave it out, grey photographs have 3 colors too"):
        load_backbone(name, "random", 0, Stated({"in_chans": 1}))


def test_other_strides_can_be_asked_for() -> None:
    backbone, _ = load_backbone("resnet18", "random", 0, strides=(4, 8, 16))

    assert [tuple(level.shape[1:]) for level in backbone(torch.randn(1, 3, 64, 64))] == [(64, 16, 16), (128, 8, 8), (256, 4, 4)]


SMALL = {"img_size": 64, "depth": 3}  # of a transformer


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "cait_xxs24_224", "beit_base_patch16_224"]
)
@pytest.mark.parametrize("strides", [(8, 16), (4, 8, 16)])
def test_a_transformer_gives_the_one_grid_it_has(name: str, strides: tuple[int, ...]) -> None:
    with torch.device("meta"):  # shapes only
        backbone = Backbone(name, SMALL, strides)
        (grid,) = backbone(torch.empty(2, 3, 64, 64))

    assert backbone.is_transformer
    assert grid.shape == (2, *backbone.channels, 4, 4)


def test_the_grid_is_that_of_the_tokens_after_two_thirds_of_the_blocks_and_the_final_norm(tmp_path: Path) -> None:
    torch.manual_seed(2)
    whole = timm.create_model("deit_tiny_distilled_patch16_224", pretrained=False, **SMALL).eval()
    torch.nn.init.normal_(whole.norm.weight)
    save_file(whole.state_dict(), tmp_path / "w.safetensors")
    images = torch.randn(2, 3, 64, 64)

    backbone, _ = load_backbone("deit_tiny_distilled_patch16_224", str(tmp_path / "w.safetensors"), 0, Stated(SMALL))

    (grid,) = backbone(images)
    tokens = whole._pos_embed(whole.patch_embed(images))  # class, distillation, 16 places
    normed = whole.norm(whole.blocks[:2](tokens))[:, 2:]
    assert torch.allclose(grid, normed.transpose(1, 2).view(2, 192, 4, 4), atol=1e-5)  # float32


@pytest.mark.parametrize(
    ("name", "options", "blocks"),
    [
        ("deit_base_distilled_patch16_384", {}, 8),
        ("cait_m48_448", {}, 41),
        ("cait_m48_448.fb_dist_in1k", {}, 41),
        ("vit_tiny_patch16_224", {"out_indices": [4]}, 5),
    ],
)
def test_as_many_blocks_are_run_as_the_papers_did_or_as_the_option_says(name: str, options: dict, blocks: int) -> None:
    with torch.device("meta"):
        backbone = Backbone(name, options, (4, 8, 16))

    assert len(backbone.network.model.blocks) == blocks


def test_images_of_another_size_than_the_positions_of_a_transformer_are_refused() -> None:
    with torch.device("meta"):
        backbone = Backbone("vit_tiny_patch16_224")

        with pytest.raises(BackboneError, match=r"224x224 px, found 64x96: give --image-size 224, or --set-backbone img_size=64"):
            backbone(torch.empty(1, 3, 64, 96))


def test_a_transformer_whose_positions_are_interpolated_takes_any_size() -> None:
    with torch.device("meta"):
        backbone = Backbone("vit_tiny_patch16_224", {"dynamic_img_size": True})
        (grid,) = backbone(torch.empty(1, 3, 64, 96))

    assert grid.shape == (1, 192, 4, 6)


@pytest.mark.parametrize(
    ("options", "named"), [({"out_indices": [99]}, "99"), ({"colour": 1}, "does not take the options")], ids=["block", "option"]
)
def test_an_option_that_a_transformer_does_not_have_is_explained(options: dict, named: str) -> None:
    with pytest.raises(BackboneError, match=named):
        Backbone("vit_tiny_patch16_224", options)
