"""AST: its sizes, its losses, its two stages, and that it finds a defect the teacher and the student disagree on."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file
from small_dataset import plate, save, scratched
from torch import Tensor, nn

from training.backbone import Backbone, BackboneError
from training.data import Photograph, good_parts, input_contract
from training.graph import Deployed
from training.methods import Parts
from training.methods.ast import AST, Config, Student, Teacher, positional_encoding
from training.pretrained import load_backbone
from training.progress import Lines

B5 = "tf_efficientnet_b5"
SMALL = {"teacher_width": 8, "student_width": 16}
RGB = (0.5, 0.5, 0.5)


class Stages:
    """A progress in which no step is taken: how long each stage would be."""

    def __init__(self) -> None:
        self.steps: dict[str, int] = {}

    def track(self, items: Sequence[int], stage: str) -> Sequence[int]:
        self.steps[stage] = len(items)
        return ()

    def tell(self, figures: str) -> None:
        raise AssertionError(figures)


class DeepParts(Parts):
    """A block on a level belt, of another height in each part."""

    def depth(self, indices: Sequence[int]) -> Tensor:
        return torch.cat([block_scene(0.02 + 0.001 * k) for k in indices])


def block_scene(height_m: float, px: int = 64) -> Tensor:
    """(1, px, px) in metres."""
    depth = torch.full((1, px, px), 0.5)
    depth[:, px // 4 : px // 2, px // 4 : -px // 4] -= height_m
    return depth


def seeded(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def stirred(method: AST) -> AST:
    """The teacher moved away from where it starts, as if it had learned."""
    with torch.no_grad():
        for k, parameter in enumerate(method.teacher.parameters()):
            parameter += 0.1 * seeded(k, *parameter.shape)
    return method.eval()


def learned(method: AST) -> list[Tensor]:
    return [*method.teacher.parameters(), *method.student.parameters()]


def parts(folder: Path, kind: type[Parts] = Parts) -> Parts:
    """Eight of 64 px, normalized by RGB."""
    photographs = plates(folder)
    return kind(photographs, input_contract(photographs, size=64), lambda images: images.permute(0, 3, 1, 2) / 127.5 - 1.0)


def plates(folder: Path) -> tuple[Photograph, ...]:
    [save(folder / f"{k}.png", plate(k, 64, 64)) for k in range(16)]
    return good_parts(folder, seed=0).train


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("resnet18", "random", 0, strides=(16,))[0]


@pytest.fixture(scope="module")
def images() -> Tensor:
    return seeded(0, 2, 3, 64, 64)


@pytest.fixture(scope="module")
def scenes() -> Tensor:
    return torch.cat([block_scene(0.03), block_scene(0.05)])


@pytest.mark.parametrize(("channels", "millions"), [(304, 81.4), (64, 77.0), (368, 82.6)], ids=["rgb", "depth", "rgb+depth"])
def test_the_student_has_the_size_of_the_papers(channels: int, millions: float) -> None:
    with torch.device("meta"):
        student = Student(channels, hidden=1024)

    # methods.md 11.1, given with one decimal
    assert sum(p.numel() for p in student.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize(
    ("modality", "channels", "into_subnet", "into_student"),
    [("rgb", 304, 184, 336), ("depth", 64, 64, 96), ("rgb+depth", 368, 216, 400)],
)
def test_shapes_are_those_of_the_paper(modality: str, channels: int, into_subnet: int, into_student: int) -> None:
    config = Config(modality=modality, stride=32)
    px = config.image_size
    with torch.device("meta"):  # shapes only
        method = config.build(Backbone(B5, {}, config.levels), seed=0)
        image, depth = torch.empty(1, 3, px, px), torch.empty(1, px, px)

    features, mask = method.features(image, depth)

    subnet = method.teacher.blocks[0].by_second
    assert px == 768
    assert (features.shape, mask.shape) == ((1, channels, 24, 24), (1, 1, 24, 24))
    assert (subnet[0].in_channels, subnet[0].out_channels, subnet[2].out_channels) == (into_subnet, 64, channels)
    assert [block.by_first[0].kernel_size[0] for block in method.teacher.blocks] == [3, 3, 3, 5]
    assert (method.student.enter.in_channels, method.student.enter.out_channels) == (into_student, 1024)
    assert method(image, depth).shape == (1, 24, 24)


def test_the_papers_features_are_those_after_stage_6_of_efficientnet_b5() -> None:
    backbone, _ = load_backbone(B5, "random", 0, strides=(32,))
    whole = timm.create_model(B5).eval()
    image = seeded(1, 1, 3, 64, 64)

    given = whole.load_state_dict(backbone.network.state_dict(), strict=False)

    assert given.unexpected_keys == []
    assert backbone.channels == (304,)
    with torch.no_grad():
        assert torch.equal(backbone(image)[0], whole.blocks[:6](whole.bn1(whole.conv_stem(image))))


@pytest.mark.parametrize(("name", "channels"), [("mobilenetv2_100", 320), ("resnet18", 512)])
def test_another_network_gives_its_own_level_of_stride_32(name: str, channels: int) -> None:
    backbone, _ = load_backbone(name, "random", 0, strides=Config(stride=32).levels)

    assert backbone.channels == (channels,)
    assert backbone(seeded(1, 1, 3, 64, 64))[0].shape == (1, channels, 2, 2)


def test_the_embedded_backbone_says_that_it_does_not_reach_stride_32() -> None:
    with pytest.raises(BackboneError, match=r"'embedded' has features up to stride 16, needed: \(32,\); name another"):
        load_backbone("embedded", None, 0, strides=Config(stride=32).levels)


def test_the_positional_encoding_is_sine_and_cosine_of_x_then_of_y() -> None:
    encoding = positional_encoding(24, 20)

    here = encoding[:, 5, 3]  # y 5, x 3
    assert encoding.shape == (32, 24, 20)
    slower = 1e4 ** (-2 / 16)
    expected = [np.sin(3), np.cos(3), np.sin(3 * slower), np.cos(3 * slower)]
    assert here[:4].tolist() == pytest.approx(expected, abs=1e-6)  # float32
    assert here[16:18].tolist() == pytest.approx([np.sin(5), np.cos(5)], abs=1e-6)
    assert here[31].item() == pytest.approx(np.cos(5 * 1e4 ** (-14 / 16)), abs=1e-6)


def test_a_new_teacher_only_permutes_and_enlarges_nothing() -> None:
    teacher, features = Teacher(10, hidden=8, alpha=1.9), seeded(2, 2, 10, 4, 4)

    noise, log_det = teacher(features)

    assert torch.equal(noise.sort(dim=1).values, features.sort(dim=1).values)
    assert not torch.equal(noise, features)
    assert torch.equal(log_det, torch.zeros(2, 4, 4))


def test_the_teacher_learns_the_likelihood_of_places_on_the_part(backbone: Backbone) -> None:
    method = stirred(Config(**SMALL).build(backbone, seed=0)).requires_grad_(False)
    features, mask = seeded(3, 2, 256, 3, 3), torch.rand(2, 1, 3, 3)
    noise, log_det = method.teacher(features)

    loss = method.teacher_loss(features, mask)

    likelihood = np.array([0.5 * float(z.square().sum()) for z in noise.movedim(1, -1).reshape(-1, 256)])
    by_hand = np.mean(mask.flatten().numpy() * (likelihood - log_det.flatten().numpy()))
    assert abs(float(log_det.sum())) > 1.0
    assert float(loss) == pytest.approx(by_hand, rel=1e-5)  # float32 sums in another order


def test_the_student_learns_the_mean_square_to_the_teacher_on_the_part(backbone: Backbone) -> None:
    method = Config(**SMALL).build(backbone, seed=0).eval().requires_grad_(False)
    features, mask, noise = seeded(4, 2, 256, 3, 3), torch.rand(2, 1, 3, 3), seeded(5, 2, 256, 3, 3)

    loss = method.student_loss(features, mask, noise)

    squares = (noise - method.student(features)).square().numpy()
    assert float(loss) == pytest.approx(float((mask.numpy() * squares).mean()), rel=1e-5)  # float32 sums in another order


def test_the_students_blocks_add_to_what_they_are_given() -> None:
    student, features = Student(6, hidden=8).eval(), seeded(8, 1, 6, 4, 4)
    for norm in (block[-2] for block in student.residuals):  # the last one of each block then answers zero
        nn.init.zeros_(norm.weight)

    answer = student(features)

    place = positional_encoding(4, 4)[None]
    entered = nn.functional.leaky_relu(student.enter(torch.cat([features, place], dim=1)), 0.01)
    assert len(student.residuals) == 4
    assert torch.equal(answer, student.leave(entered))


@pytest.mark.parametrize("score", ["mean", "max"])
def test_the_score_is_of_the_native_map(backbone: Backbone, images: Tensor, score: str) -> None:
    method = stirred(Config(score=score, **SMALL).build(backbone, seed=0))

    raw, anomaly_map = method.judge(images)

    reduced = {"mean": np.mean, "max": np.max}[score](anomaly_map.detach().numpy(), axis=(1, 2))
    assert anomaly_map.shape == (2, 4, 4)
    assert raw.tolist() == pytest.approx(reduced.tolist(), rel=1e-6)  # float32 sums in another order


@pytest.mark.parametrize(
    ("modality", "unlike", "epochs"), [("rgb", "max", 240), ("depth", "mean", 72), ("rgb+depth", "mean", 72)]
)
def test_what_is_not_said_is_as_in_the_papers_results(
    tmp_path: Path, backbone: Backbone, images: Tensor, scenes: Tensor, modality: str, unlike: str, epochs: int
) -> None:
    stages = Stages()
    chosen, other = (Config(modality=modality, score=score, **SMALL).build(backbone, 0).eval() for score in (None, unlike))

    chosen.fit(parts(tmp_path), stages)

    assert stages.steps == {"teacher": epochs, "student": epochs}  # eight parts in batches of eight
    assert (chosen.judge(images, scenes)[0] - other.judge(images, scenes)[0]).abs().min() > 1e-3


def test_the_student_follows_the_finished_teacher(tmp_path: Path, backbone: Backbone) -> None:
    method = Config(epochs=2, batch=4, **SMALL).build(backbone, seed=0)
    before = [parameter.clone() for parameter in learned(method)]

    method.fit(parts(tmp_path / "good"), Lines(io.StringIO()), checkpoints=tmp_path)

    after_its_stage = load_file(tmp_path / "teacher.safetensors")
    assert all(torch.equal(value, after_its_stage[key]) for key, value in method.teacher.state_dict().items())
    assert not any(map(torch.equal, before, learned(method)))


def test_a_scratch_raises_the_score_with_the_backbone_that_comes_along(tmp_path: Path) -> None:
    backbone, provenance = load_backbone("embedded", None, 0, strides=Config().levels)
    settings = {"epochs": 40, "rate": 2e-3, "teacher_width": 16, "student_width": 32}
    deployed = Deployed(Config(**settings).build(backbone, seed=0), provenance.mean, provenance.std)
    photographs = plates(tmp_path)

    deployed.method.fit(Parts(photographs, input_contract(photographs, size=64), deployed.normalize), Lines(io.StringIO()))

    unseen = [plate(1000 + k, 64, 64) for k in range(4)]
    with torch.no_grad():
        good, bad = (deployed(torch.tensor(np.stack(part)))[0] for part in (unseen, [scratched(image) for image in unseen]))
    assert bad.min() > good.max()


def test_a_dent_raises_the_score_where_only_depth_shows_it(tmp_path: Path, backbone: Backbone) -> None:
    method = Config(modality="depth", epochs=60, rate=2e-3, teacher_width=16, student_width=32).build(backbone, seed=0)
    good = block_scene(0.023)
    dented = good.clone()
    dented[:, 20:26, 30:36] += 0.01

    method.fit(parts(tmp_path, DeepParts), Lines(io.StringIO()))

    with torch.no_grad():
        (as_usual, _), (strange, anomaly_map) = (method.judge(torch.zeros(1, 3, 64, 64), depth) for depth in (good, dented))
    assert strange > 2 * as_usual
    assert anomaly_map[0].argmax().item() in (1 * 4 + 1, 1 * 4 + 2)  # row 1 of 4, columns 1 or 2: rows 16-31, columns 16-47


def test_depth_that_is_needed_and_missing_is_asked_for(backbone: Backbone, images: Tensor) -> None:
    method = Config(modality="rgb+depth", **SMALL).build(backbone, seed=0)

    with pytest.raises(ValueError, match=r"expected depth \(B, H, W\) .* modality is 'rgb\+depth'"):
        method(images)
