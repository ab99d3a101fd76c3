"""PatchCore: the coreset against a slow one, the distances against the definition, memory against its cap."""

import msgspec
import numpy as np
import onnx
import pytest
import torch
from small_dataset import plate, save, scratched

from agent.drivers import SectionError, convert, section
from agent.roi import Roi, roi_of
from export.layers import layers
from export.to_onnx import to_onnx
from export.to_openvino import to_openvino
from training.coreset import greedy_coreset, project
from training.data import good_parts, input_contract
from training.graph import Deployed, TorchRuntime
from training.methods import Parts
from training.methods.patchcore import Config, reweighted
from training.pretrained import load_backbone

LEFT_EDGE = roi_of(np.repeat(np.uint8([[255] * 12 + [0] * 84]), 80, axis=0))  # 8 of 64 cells, fewer than 32
ROUNDING = 1e-3  # squared distances of norm 100 in float32 are good to 1e-5, their root near zero to 3e-3 of the norm


class Quiet:
    def tell(self, figures):
        del figures

    def track(self, items, stage):
        del stage
        return iter(items)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slow_coreset(vectors: torch.Tensor, first: int, count: int) -> list[int]:
    """Section 3.2 with the whole matrix of distances."""
    distances = torch.cdist(vectors.double(), vectors.double())
    chosen = [first]
    while len(chosen) < count:
        chosen.append(int(distances[chosen].amin(dim=0).argmax()))
    return chosen


def small_method(**settings: int | float | str):
    backbone, provenance = load_backbone("resnet18", "random", seed=0)
    method = convert(settings, Config).build(backbone, seed=0)
    return method, Deployed(method, provenance.mean, provenance.std).eval()


def small_parts(folder, deployed: Deployed, n: int = 8) -> Parts:
    [save(folder / f"{k:03}.png", plate(k)) for k in range(n)]
    photographs = good_parts(folder, seed=0).train
    return Parts(photographs, input_contract(photographs, size=64), deployed.normalize)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory):
    method, deployed = small_method(bank=2100, pool=5000)
    parts = small_parts(tmp_path_factory.mktemp("parts"), deployed, 80)
    method.fit(parts, Quiet())
    return method, deployed, parts


@pytest.mark.parametrize("n", [50, 1500, 3000], ids=["one-block", "two-blocks", "three-blocks"])
def test_the_lazy_coreset_picks_what_the_slow_one_picks(n: int) -> None:
    vectors = torch.randn(n, 16, generator=seeded())

    chosen = greedy_coreset(vectors, 40, seeded(1), Quiet()).tolist()

    assert chosen == slow_coreset(vectors, chosen[0], 40)


def test_the_coreset_is_at_most_twice_as_far_from_any_vector_as_its_own_members_from_each_other() -> None:
    vectors = torch.randn(2000, 8, generator=seeded())

    chosen = vectors[greedy_coreset(vectors, 100, seeded(), Quiet())]

    radius = torch.cdist(vectors, chosen).amin(dim=1).max()
    apart = (torch.cdist(chosen, chosen) + torch.diag(torch.full((100,), torch.inf))).min()
    assert radius <= apart * (1 + ROUNDING)  # Gonzalez 1985: this is why greedy is within twice the optimum


def test_equal_vectors_are_taken_once() -> None:
    vectors = torch.tensor([[0.0, 1.0], [1.0, 0.0], [-1.0, -1.0]]).repeat(700, 1)

    assert len(greedy_coreset(vectors, 100, seeded(), Quiet())) == 3


def test_ties_go_to_the_first() -> None:
    corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]).repeat(600, 1)

    assert sorted(greedy_coreset(corners, 4, seeded(), Quiet()).tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize("count", [600, 900], ids=["as many", "more"])
def test_fewer_vectors_than_the_bank_holds_are_all_kept_the_first_of_them_a_coreset(count: int) -> None:
    vectors = torch.cat([torch.randn(150, 8, generator=seeded(k)) + 6 * k for k in range(4)])  # parts that differ

    chosen = greedy_coreset(vectors, count, seeded(), Quiet()).tolist()

    assert sorted(chosen) == list(range(600))
    assert chosen[:60] == slow_coreset(vectors, chosen[0], 60)


def test_the_projection_keeps_distances() -> None:
    vectors = torch.randn(50, 500, generator=seeded())

    ratio = torch.pdist(project(vectors, 128, seeded())) / torch.pdist(vectors)

    assert ratio.mean().item() == pytest.approx(1.0, abs=0.03)  # the deviation of a mean of chi(128)
    assert ratio.min() > 0.7  # five deviations of 1 / sqrt(2 * 128)


def test_short_vectors_are_not_projected() -> None:
    vectors = torch.randn(50, 16, generator=seeded())

    assert torch.equal(project(vectors, 128, seeded()), vectors - vectors.mean(dim=0))


def test_the_map_is_the_distance_to_the_nearest_vector_of_the_bank(fitted) -> None:
    method, _, parts = fitted
    images = parts.batch([0, 1])

    anomaly_map = method(images)

    patches = method.patches(images).permute(0, 2, 3, 1).reshape(-1, 384).double()
    bank = (method.memory_bank + method.bank_mean).double()
    expected = torch.cdist(patches, bank).amin(dim=1).view(2, 8, 8).float()
    assert method.memory_bank.shape == (2100, 384)  # two chunks
    assert torch.allclose(anomaly_map, expected, atol=ROUNDING * float(patches.norm(dim=1).max()))


def test_the_map_is_finite_on_the_stride_8_grid_and_the_same_in_train_and_eval(fitted) -> None:
    method, _, parts = fitted

    in_eval = method.eval()(parts.batch([0]))
    in_train = method.train()(parts.batch([0]))

    assert in_eval.shape == (1, 8, 8)
    assert torch.isfinite(in_eval).all()
    assert torch.equal(in_eval, in_train)


def test_a_painted_defect_raises_the_score(fitted) -> None:
    _, deployed, _ = fitted
    clean = plate(700, 64, 64)

    scores, _ = deployed(torch.from_numpy(np.stack([clean, scratched(clean)])))

    assert scores[1] > 1.5 * scores[0]


@pytest.mark.parametrize("cap", [100, 300, 64 * 4], ids=["one-each", "some", "all-of-few"])
def test_the_pool_never_exceeds_its_cap_whatever_the_number_of_parts(tmp_path, cap: int) -> None:
    method, deployed = small_method(bank=10, pool=cap)
    some = small_parts(tmp_path / "some", deployed, 24)
    twice = small_parts(tmp_path / "twice", deployed, 48)

    sizes = [len(method._candidates(parts, Quiet(), seeded())[0]) for parts in (some, twice)]

    assert max(sizes) <= cap
    assert min(sizes) > 0.8 * cap - 12  # rounding of the quota loses less than one place per part


def test_more_parts_than_candidates_give_one_place_each(tmp_path) -> None:
    method, deployed = small_method(bank=2, pool=3)

    assert len(method._candidates(small_parts(tmp_path, deployed), Quiet(), seeded())[0]) == 3


def test_a_pool_smaller_than_the_bank_is_refused() -> None:
    with pytest.raises(SectionError, match="pool 10 must not be smaller than bank 20"):
        convert({"bank": 20, "pool": 10}, Config)


@pytest.mark.parametrize("bank", [0, 0.0, 1.0, 100_001], ids=["none", "no-share", "whole-share", "too-many"])
def test_a_bank_that_is_neither_a_count_nor_a_share_is_refused(bank: float) -> None:
    with pytest.raises(SectionError):
        convert({"bank": bank}, Config)


@pytest.mark.parametrize(("share", "count"), [(0.1, 51), (0.001, 1), (0.9, 400)], ids=["share", "at-least-one", "at-most-pool"])
def test_a_bank_below_one_is_a_share_of_all_patches(tmp_path, share: float, count: int) -> None:
    method, deployed = small_method(bank=share, pool=400)
    parts = small_parts(tmp_path, deployed, 16)

    method.fit(parts, Quiet())

    assert len(parts) == 8  # of 64 patches each; the others are held out
    assert len(method.memory_bank) == count


def test_the_coreset_covers_clusters_as_well_as_the_slow_one() -> None:
    centers = 20 * torch.randn(30, 16, generator=seeded())
    vectors = centers.repeat(100, 1) + torch.randn(3000, 16, generator=seeded(1))

    chosen = greedy_coreset(vectors, 60, seeded(2), Quiet())

    slow = torch.tensor(slow_coreset(vectors, int(chosen[0]), 60))
    radius, slow_radius = (torch.cdist(vectors, vectors[c]).amin(dim=1).max() for c in (chosen, slow))
    assert radius <= 1.02 * slow_radius  # the project's promise; the same picks give the same radius


@pytest.mark.parametrize(
    ("distances", "weight"),
    [([5.0, 5.5, 6.0], 0.813676), ([5.0] + 8 * [6.0], 0.956037), ([5000.0, 5000.5, 5001.0], 0.813676)],
    ids=["three", "nine", "large"],
)
def test_reweighting_gives_the_golden_values(distances: list[float], weight: float) -> None:
    found = reweighted(torch.tensor([distances[0]]), torch.tensor([distances]))

    assert found.item() == pytest.approx(weight * distances[0], rel=1e-5)  # float32; the values have six digits


def test_the_score_is_reweighted_by_the_neighbours_of_the_nearest_vector(tmp_path) -> None:
    method, deployed = small_method(bank=100, pool=400, neighbors=9)
    parts = small_parts(tmp_path, deployed, 16)
    method.fit(parts, Quiet())
    images = deployed.normalize(torch.from_numpy(np.stack([scratched(plate(k, 64, 64)) for k in range(3)])))

    score, anomaly_map = method.judge(images)

    bank = method.memory_bank.double()
    patches = (method.patches(images).flatten(2) - method.bank_mean[:, None]).permute(0, 2, 1).double()  # (3, 64, D)
    strangest = patches[torch.arange(3), anomaly_map.flatten(1).argmax(dim=1)]  # (3, D)
    nearest = bank[torch.cdist(strangest, bank).argmin(dim=1)]
    neighborhood = bank[torch.cdist(nearest, bank).topk(9, largest=False).indices]  # (3, 9, D)
    distances = torch.linalg.norm(strangest[:, None] - neighborhood, dim=2)
    expected = (1 - distances.softmax(dim=1)[:, 0]) * distances[:, 0]
    assert torch.allclose(score.double(), expected, rtol=ROUNDING)
    assert torch.equal(anomaly_map, method(images))


def test_a_bank_of_one_vector_is_not_reweighted(tmp_path) -> None:
    method, deployed = small_method(bank=1, pool=400, neighbors=9)
    parts = small_parts(tmp_path, deployed)
    method.fit(parts, Quiet())

    score, anomaly_map = method.judge(parts.batch([0, 1]))

    assert torch.equal(score, anomaly_map.flatten(1).amax(dim=1))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("exported")
    method, deployed = small_method(bank=100, pool=400, neighbors=9, embedding="official")
    parts = small_parts(folder / "parts", deployed)
    method.fit(parts, Quiet())
    to_onnx(deployed, parts.contract, folder / "model.onnx")
    to_openvino(folder / "model.onnx", folder / "model.xml")
    return deployed, folder


@pytest.mark.parametrize(("runtime", "file"), [("onnxruntime", "model.onnx"), ("openvino", "model.xml")])
def test_the_reweighted_score_of_the_official_embedding_is_exported_exactly(exported, runtime: str, file: str) -> None:
    deployed, folder = exported
    image = scratched(plate(700, 64, 64))

    with section("agent.runtimes", {"type": runtime}).open(folder / file) as opened:
        found, found_map = opened.infer(image)

    score, anomaly_map = TorchRuntime(deployed).infer(image)
    assert found == pytest.approx(score, rel=1e-4)  # as the map
    assert np.abs(found_map - anomaly_map).max() <= 1e-4 * np.ptp(anomaly_map)  # the contract of all methods


def test_a_reweighting_method_comes_back_from_its_state(tmp_path) -> None:
    method, deployed = small_method(bank=100, pool=400, neighbors=5, embedding="official")
    parts = small_parts(tmp_path, deployed)
    method.fit(parts, Quiet())
    again, _ = small_method(bank=100, pool=400, neighbors=5, embedding="official")

    again.load_state_dict(method.state_dict())

    assert torch.equal(again.judge(parts.batch([0]))[0], method.judge(parts.batch([0]))[0])


@pytest.mark.parametrize("settings", [{}, {"neighbors": 3}], ids=["largest distance", "re-weighted"])
@pytest.mark.parametrize("region", [None, LEFT_EDGE], ids=["everywhere", "in fewer cells than are measured again"])
@pytest.mark.parametrize("columns", [64, 384], ids=["narrow", "whole"])
def test_a_search_for_candidates_gives_the_score_of_the_exact_distances(
    tmp_path, columns: int, settings: dict[str, int], region: Roi | None
) -> None:
    method, deployed = small_method(bank=300, pool=600, **settings)
    parts = small_parts(tmp_path, deployed, 16)
    method.fit(parts, Quiet())
    method.inspect(msgspec.structs.replace(parts.contract, roi=region))
    images = [scratched(plate(50 + k, 64, 64)) for k in range(6)]
    expected = [TorchRuntime(deployed).infer(image) for image in images]

    method.search_in(columns, parts.batch([0, 1]))
    found = [TorchRuntime(deployed).infer(image) for image in images]

    assert [raw for raw, _ in found] == pytest.approx([raw for raw, _ in expected], rel=1e-5)  # measured again, in float32
    changes = [np.abs(f - e).max() / np.ptp(e) for (_, f), (_, e) in zip(found, expected, strict=True)]
    assert 0 < max(changes) < 0.3  # the map is the search's own


def test_exact_distances_come_back_after_a_search(fitted) -> None:
    method, deployed, parts = fitted
    image = scratched(plate(700, 64, 64))
    raw, anomaly_map = TorchRuntime(deployed).infer(image)

    method.search_in(64, parts.batch([0]))
    method.search_exactly()
    again, map_again = TorchRuntime(deployed).infer(image)

    assert again == raw
    assert np.array_equal(map_again, anomaly_map)
    assert not [name for name in method.state_dict() if name.startswith("search")]


def test_no_tensor_of_the_exported_search_has_patches_and_bank_and_dimensions(fitted, tmp_path) -> None:
    method, deployed, parts = fitted

    method.search_in(64, parts.batch([0]))
    to_onnx(deployed, parts.contract, tmp_path / "searching.onnx")
    method.search_exactly()

    model = onnx.load(tmp_path / "searching.onnx")
    search = [layer for layer in layers(model) if layer.module.startswith("search.chunks.")]
    assert [layer.macs for layer in search] == [64 * 64 * rows for rows in (1000, 1000, 100)]  # patches, columns, a chunk's rows
    (ranking,) = (layer for layer in layers(model) if layer.module.startswith("search.ranking."))
    assert ranking.macs == 32 * 384 * 2112  # candidates, dimensions, whole groups of the bank
    weights = {tensor.name for tensor in model.graph.initializer}
    values = [value for value in onnx.shape_inference.infer_shapes(model).graph.value_info if value.name not in weights]
    sizes = [int(np.prod([d.dim_value for d in value.type.tensor_type.shape.dim])) for value in values]
    assert max(sizes) == 8 * 128 * 384  # patches that are measured, and vectors near each; all 64 only with the rows of a chunk
