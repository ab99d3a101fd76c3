"""EfficientAD: sizes and losses of the paper, its quantiles, what learns and what does not, and where the map lies."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from small_dataset import plate, save, scratched

from agent.drivers import SectionError, convert
from agent.preprocess import enlarge
from kensa import main
from training.autoencoder import Autoencoder
from training.backbone import BackboneError
from training.data import DataError, good_parts, input_contract
from training.graph import Deployed
from training.methods import Parts
from training.methods.efficientad import Config, EfficientAD, hard_mean, map_quantiles, natural_crop, relit
from training.pretrained import load_backbone

ST_ONLY = {"autoencoder": False}  # takes small images, so a step takes a hundredth of the time


class Quiet:
    """Progress that remembers what it was told."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def tell(self, figures: str) -> None:
        self.losses.append(float(figures.removeprefix("loss ")))

    def track(self, items, stage):
        del stage
        return iter(items)


def built(network: str = "pdn-s", seed: int = 0, **settings: object) -> tuple[EfficientAD, Deployed]:
    config = convert(settings, Config)
    backbone, provenance = load_backbone(network, "random", 0, strides=config.levels)
    method = config.build(backbone, seed)
    return method, Deployed(method, provenance.mean, provenance.std).eval()


def parts_of(folder: Path, deployed: Deployed, n: int, size: int) -> Parts:
    [save(folder / f"{k:03}.png", plate(k, size, size)) for k in range(n)]
    photographs = good_parts(folder, seed=0).train
    return Parts(photographs, input_contract(photographs, size), deployed.normalize)


def photographs(folder: Path) -> str:
    [save(folder / f"{k}.jpg", np.random.default_rng(k).integers(0, 255, (90, 120, 3)).astype(np.uint8)) for k in range(3)]
    return str(folder)


def fitted_st(folder: Path, seed: int = 0, n: int = 12, **settings: object) -> tuple[EfficientAD, Deployed, Parts, Quiet]:
    settings = {"steps": 2, "penalty": photographs(folder / "natural"), **ST_ONLY, **settings}
    (method, deployed), progress = built(seed=seed, **settings), Quiet()
    parts = parts_of(folder / "plates", deployed, n, 64)
    method.fit(parts, progress)
    return method, deployed, parts, progress


def size_of(network: torch.nn.Module) -> str:
    return f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f}"


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def learned_st(tmp_path_factory: pytest.TempPathFactory) -> tuple[EfficientAD, Deployed, Parts, Quiet]:
    return fitted_st(tmp_path_factory.mktemp("st"), steps=25)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[EfficientAD, Deployed, Parts]:
    """With its autoencoder, at the paper's size, after one step."""
    method, deployed = built(steps=1)
    parts = parts_of(tmp_path_factory.mktemp("plates"), deployed, 8, 256)
    method.fit(parts, Quiet())
    return method, deployed, parts


def test_the_autoencoder_has_the_papers_sizes() -> None:
    autoencoder, sides = Autoencoder(), []
    convs = [module for module in autoencoder.modules() if isinstance(module, torch.nn.Conv2d)]
    [conv.register_forward_hook(lambda _conv, _given, out: sides.append(out.shape[3])) for conv in convs]

    rebuilt = autoencoder(torch.zeros(1, 3, 256, 256), (56, 56))

    assert sides == [128, 64, 32, 16, 8, 1, 4, 9, 16, 33, 64, 128, 56, 56]
    assert rebuilt.shape == (1, 384, 56, 56)
    assert size_of(autoencoder) == "1.10"


@pytest.mark.parametrize(
    ("network", "settings", "size"),
    [("pdn-s", {}, "4.27"), ("pdn-m", {}, "11.62"), ("pdn-s", ST_ONLY, "2.69")],
    ids=["small", "medium", "without-autoencoder"],
)
def test_the_student_is_the_teachers_network_with_an_output_per_target(network: str, settings: dict, size: str) -> None:
    method, _ = built(network, **settings)

    assert type(method.student) is type(method.backbone.network)
    assert size_of(method.student) == size


def test_the_same_seed_starts_the_same_and_leaves_other_chance_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)

    starts = [built(seed=seed, **ST_ONLY)[0].student.conv1.weight for seed in (1, 1, 2)]

    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])


def test_only_the_hardest_thousandth_of_each_image_counts() -> None:
    distance = torch.rand(2, 4, 50, 50, generator=seeded()) * torch.tensor([1.0, 9.0]).view(2, 1, 1, 1)

    loss = hard_mean(distance)

    first, second = distance.flatten(1).numpy()
    by_hand = [values[values >= np.quantile(values, 0.999)].mean() for values in (first, second)]
    assert loss.item() == pytest.approx(np.mean(by_hand), rel=1e-6)  # float32


def test_the_loss_of_teacher_and_student_is_the_papers() -> None:
    method, _ = built()
    images, natural = torch.randn(2, 1, 3, 64, 64, generator=seeded())
    method.channel_mean.fill_(0.3)
    method.channel_deviation.fill_(2.0)

    loss = method.st_loss(images, natural)

    with torch.no_grad():
        teacher = (method.backbone(images)[0].numpy() - 0.3) / 2.0
        distance = (teacher - method.student(images)[:, :384].numpy()) ** 2
        penalty = (method.student(natural)[:, :384].numpy() ** 2).mean()
    hard = distance[distance >= np.quantile(distance, 0.999)].mean()
    assert loss.item() == pytest.approx(hard + penalty, rel=1e-4)  # the halves of a convolution round differently


def test_the_autoencoders_loss_teaches_it_and_the_students_second_half_only() -> None:
    method, _ = built()

    method.stae_loss(method.autoencoder, torch.randn(1, 3, 256, 256, generator=seeded())).backward()

    head = method.student.head.weight.grad
    assert head is not None
    assert not head[:384].any()
    assert head[384:].any()
    assert all(p.grad is not None and p.grad.any() for p in method.autoencoder.parameters())
    assert all(p.grad is None for p in method.backbone.parameters())


def test_the_loss_falls(learned_st) -> None:
    *_, progress = learned_st

    assert np.mean(progress.losses[-5:]) < 0.8 * np.mean(progress.losses[:5])


def test_each_channel_of_the_teacher_has_mean_0_and_deviation_1_over_the_parts_learned_from(learned_st) -> None:
    method, _, parts, _ = learned_st
    learned, _ = parts.split(0.5, seed=0)  # 6 parts; 4 would be the fewest for the quantiles, but at most half

    described = method.describe(learned.batch(range(3))).transpose(0, 1).flatten(1)

    assert described.mean(dim=1).abs().max() < 1e-4  # float32 against float64
    assert (described.std(dim=1, unbiased=False) - 1).abs().max() < 1e-4


def test_the_student_learns_and_the_teacher_does_not(learned_st) -> None:
    (before, _), (after, *_) = built(**ST_ONLY), learned_st

    pairs = zip(before.backbone.state_dict().values(), after.backbone.state_dict().values(), strict=True)
    learned = zip(before.student.parameters(), after.student.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not any(torch.equal(a, b) for a, b in learned)


@pytest.mark.parametrize("shape", [(3, 2, 56, 56), (1, 1, 4097, 4096)], ids=["two-maps", "more-than-2^24"])
def test_quantiles_are_exact_for_any_number_of_values(shape: tuple[int, ...]) -> None:
    maps = torch.rand(shape, generator=seeded()) * torch.arange(1, shape[1] + 1).view(1, -1, 1, 1)

    low, high = map_quantiles(maps)

    count = maps[:, 0].numel()
    assert low.shape == high.shape == (shape[1], 1, 1)
    assert (maps <= low).sum(dim=(0, 2, 3)).sub(0.9 * count).abs().max() <= 1 + 1e-7 * count  # one place, and equal values
    assert (maps > high).sum(dim=(0, 2, 3)).sub(0.005 * count).abs().max() <= 1 + 1e-7 * count


def test_flat_maps_of_good_parts_do_not_divide_by_zero() -> None:
    low, high = map_quantiles(torch.full((2, 1, 8, 8), 0.25))

    assert high > low


def test_of_the_parts_held_out_nine_tenths_of_each_map_are_below_0_and_one_in_200_above_a_tenth(whole) -> None:
    method, _, parts = whole
    _, held_out = parts.split(0.5, seed=0)  # 4 parts, of which at most half are for the quantiles

    with torch.no_grad():
        maps = torch.cat([method.native_maps(held_out.batch([k])) for k in range(len(held_out))])

    normalized = 0.1 * (maps - method.map_low) / (method.map_high - method.map_low)
    assert maps.shape == (2, 2, 56, 56)
    assert (normalized <= 0).float().mean(dim=(0, 2, 3)).tolist() == pytest.approx([0.9, 0.9], abs=1e-3)  # 6 of 6272 places
    assert (normalized > 0.1).float().mean(dim=(0, 2, 3)).tolist() == pytest.approx([0.005, 0.005], abs=1e-3)


def test_the_score_is_the_maximum_of_the_native_maps_mean(whole) -> None:
    method, deployed, _ = whole
    images = torch.from_numpy(plate(800, 256, 256)[None])

    with torch.no_grad():
        score, anomaly_map = deployed(images)
        native = method.native_maps(deployed.normalize(images))

    normalized = (0.1 * (native - method.map_low) / (method.map_high - method.map_low)).mean(dim=1)
    assert anomaly_map.shape == (1, 64, 64)
    assert torch.equal(anomaly_map[:, 4:-4, 4:-4], normalized)
    assert score.item() == normalized.max().item()


def test_the_map_is_the_same_in_train_and_eval_mode(whole) -> None:
    method, _, parts = whole
    images = parts.batch([0])

    with torch.no_grad():
        in_train, in_eval = method.train()(images), method.eval()(images)

    assert torch.equal(in_train, in_eval)


def test_a_painted_defect_raises_the_score(learned_st) -> None:
    _, deployed, *_ = learned_st
    clean = plate(700, 64, 64)

    scores, _ = deployed(torch.from_numpy(np.stack([clean, scratched(clean)])))

    assert scores[1] > scores[0]


def spotted(x: int, y: int) -> tuple[np.ndarray, Deployed]:
    """A spot on even grey, and a method that finds strange whatever is not that grey."""
    method, deployed = built(**ST_ONLY)
    grey = np.full((1, 256, 256, 3), 128, np.uint8)
    with torch.no_grad():
        method.channel_mean.copy_(
            method.backbone(deployed.normalize(torch.from_numpy(grey)))[0].mean(dim=(0, 2, 3), keepdim=True)
        )
        method.student.head.weight.zero_()
    image = grey[0].copy()
    cv2.circle(image, (x, y), 3, (250, 250, 250), -1)
    return image, deployed


def enlarged(image: np.ndarray, deployed: Deployed, tmp_path: Path) -> np.ndarray:
    [save(tmp_path / f"{k}.png", plate(k, 256, 256)) for k in range(4)]
    contract = input_contract(good_parts(tmp_path, seed=0).train, 256)
    with torch.no_grad():
        _, anomaly_map = deployed(torch.from_numpy(image[None]))
    return enlarge(anomaly_map[0].numpy(), (256, 256), contract)


@pytest.mark.parametrize(("x", "y"), [(48, 48), (48, 208), (128, 70)], ids=["upper-left", "lower-left", "middle"])
def test_the_map_lies_over_the_picture(x: int, y: int, tmp_path: Path) -> None:
    over_picture = enlarged(*spotted(x, y), tmp_path)

    found = np.argwhere(over_picture > 0.5 * over_picture.max()).mean(axis=0)
    assert np.abs(found - (y, x)).max() < 4  # px: one place of the grid, and the shift of 1.5 px


@pytest.mark.parametrize(("x", "y"), [(3, 3), (252, 120), (100, 252)], ids=["corner", "right", "bottom"])
def test_a_defect_at_the_border_is_found_there(x: int, y: int, tmp_path: Path) -> None:
    over_picture = enlarged(*spotted(x, y), tmp_path)

    highest = np.argwhere(over_picture == over_picture.max()).mean(axis=0)
    assert over_picture[y, x] > 0.5 * over_picture.max()
    assert np.abs(highest - (y, x)).max() < 20  # px: the outermost place looks at 33 px


def test_a_natural_image_is_the_middle_half_of_each_axis() -> None:
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[25:75, 50:150] = (10, 200, 60)

    crop = natural_crop(picture, np.random.default_rng(1), 64, 64)

    assert crop.shape == (64, 64, 3)
    assert (crop == (10, 200, 60)).all()


def test_three_of_ten_natural_images_are_grey() -> None:
    picture, random = np.full((8, 8, 3), (10, 200, 60), np.uint8), np.random.default_rng(0)

    grey = [np.ptp(natural_crop(picture, random, 4, 4)[0, 0]) == 0 for _ in range(1000)]

    assert np.mean(grey) == pytest.approx(0.3, abs=0.05)  # three deviations of a mean of 1000


def test_exactly_one_of_brightness_contrast_and_saturation_changes() -> None:
    image = torch.randint(60, 190, (1, 32, 32, 3), generator=seeded(), dtype=torch.uint8)  # nothing is clipped
    torch.manual_seed(0)

    changed = relit(image.expand(60, -1, -1, -1)).float()

    pixels = image.float()
    grey = (pixels @ torch.tensor([0.299, 0.587, 0.114]))[..., None].expand_as(pixels)
    still = torch.cat([torch.zeros_like(pixels), torch.full_like(pixels, grey.mean()), grey])[None]  # (1, 3 kinds, H, W, 3)
    swing, moved = (pixels - still).flatten(2), (changed[:, None] - still).flatten(2)
    factor = (moved * swing).sum(dim=2) / swing.square().sum(dim=2)  # (60, 3) least squares
    misfit = (moved - factor[..., None] * swing).abs().amax(dim=2)
    best = misfit.argmin(dim=1)
    fitting = factor[torch.arange(60), best]
    assert misfit.amin(dim=1).max() < 0.7  # rounding to whole grey levels, and of the factor found
    assert misfit.sort(dim=1).values[:, 1].median() > 1.0  # the other kinds do not explain it
    assert best.unique().tolist() == [0, 1, 2]
    assert fitting.min() >= 0.79
    assert fitting.max() <= 1.21
    assert fitting.max() - fitting.min() > 0.3


def test_the_penalty_is_seeded_and_follows_its_photographs(tmp_path: Path) -> None:
    drawn, again, other_seed, of_photographs = (
        fitted_st(tmp_path, n=6, **settings)[0].student.head.weight
        for settings in ({"penalty": "procedural"}, {"penalty": "procedural"}, {"penalty": "procedural", "seed": 1}, {})
    )

    assert torch.equal(drawn, again)
    assert not torch.equal(drawn, other_seed)
    assert not torch.equal(drawn, of_photographs)


def test_a_penalty_without_photographs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(DataError, match="no photographs"):
        fitted_st(tmp_path, penalty=str(tmp_path / "empty"))


@pytest.mark.parametrize(("settings", "said"), [({}, "drawn textures"), ({"penalty": "holiday"}, "photographs of holiday")])
def test_the_notice_names_the_patent_and_the_penalty(settings: dict[str, str], said: str) -> None:
    assert "patent" in Config(**settings).notice
    assert said in Config(**settings).notice


@pytest.mark.parametrize(
    ("size", "settings", "said"),
    [(128, {}, "at least 256 px, found 128.*autoencoder=false"), (32, ST_ONLY, "at least 33 px, found 32")],
    ids=["autoencoder", "without"],
)
def test_too_small_an_input_is_refused(size: int, settings: dict, said: str, tmp_path: Path) -> None:
    method, deployed = built(**settings)
    parts = parts_of(tmp_path, deployed, 4, size)

    with pytest.raises(SectionError, match=said) as refused:
        method.fit(parts, Quiet())

    assert refused.value.path == ("image_size",)


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [(["--set", "autoencoder=false"], 0, "patent"), ([], 2, "--image-size 64: EfficientAD needs an input of at least 256 px")],
    ids=["notice", "too-small"],
)
def test_the_command_says_it_on_standard_error(settings: list[str], code: int, said: str, dataset: Path, tmp_path: Path, capfd):
    network = ["--backbone", "pdn-s", "--weights", "random", "--image-size", "64", "--set", "steps=1"]

    ended = main(["fit", "--method", "efficientad", "--data", str(dataset), "--out", str(tmp_path / "run"), *network, *settings])

    assert said in capfd.readouterr().err
    assert ended == code
    assert (tmp_path / "run").is_dir() == (code == 0)


def test_a_teacher_that_is_no_pdn_is_refused() -> None:
    with pytest.raises(BackboneError, match=r"'resnet18' is no PDN.*embedded-pdn, pdn-s or pdn-m"):
        built("resnet18")
