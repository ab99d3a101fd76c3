"""PatchCore: the coreset against a slow one, the distances against the definition, memory against its cap."""

import numpy as np
import pytest
import torch
from small_dataset import plate, save, scratched

from agent.drivers import SectionError, convert
from training.backbone import load_backbone
from training.data import good_parts, input_contract
from training.graph import Deployed
from training.methods import Parts
from training.methods.patchcore import Config, greedy_coreset, project

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


def small_method(**settings: int):
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


def test_fewer_vectors_than_the_bank_holds_are_all_kept() -> None:
    assert greedy_coreset(torch.randn(5, 3, generator=seeded()), 9, seeded(), Quiet()).tolist() == [0, 1, 2, 3, 4]


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

    sizes = [len(method._candidates(parts, Quiet(), seeded())) for parts in (some, twice)]

    assert max(sizes) <= cap
    assert min(sizes) > 0.8 * cap - 12  # rounding of the quota loses less than one place per part


def test_more_parts_than_candidates_give_one_place_each(tmp_path) -> None:
    method, deployed = small_method(bank=2, pool=3)

    assert len(method._candidates(small_parts(tmp_path, deployed), Quiet(), seeded())) == 3


def test_a_pool_smaller_than_the_bank_is_refused() -> None:
    with pytest.raises(SectionError, match="pool 10 must not be smaller than bank 20"):
        convert({"bank": 20, "pool": 10}, Config)
