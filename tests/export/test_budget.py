"""A bank as large as the time allows, and what it then gives."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch

from agent.bundle import BundleError, open_bundle
from export.budget import graph_ms, shrunk, within
from export.pack import export
from training.run import Run


def taking(fixed_ms: float, ms_per_vector: float) -> Callable[[Run], float]:
    return lambda run: fixed_ms + ms_per_vector * bank(run)


def bank(run: Run) -> int:
    return len(run.deployed.method.memory_bank)


@pytest.fixture
def large(run: Run) -> Run:
    """The run with ten thousand vectors, most of them farther away than any patch."""
    changed = shrunk(run, bank(run))
    method = changed.deployed.method
    few = method.memory_bank + method.bank_mean
    far = few.amax() + torch.rand(10_000 - len(few), few.shape[1], generator=torch.Generator().manual_seed(0))
    method._remember(torch.cat([few, far]), few.device)
    return changed


@pytest.mark.parametrize(("budget_ms", "vectors"), [(200.0, 10_000), (100.0, 10_000), (55.0, 5_500), (3.0, 300), (2.5, 250)])
def test_the_bank_is_the_largest_that_the_budget_allows(large: Run, budget_ms: float, vectors: int) -> None:
    assert bank(within(large, budget_ms, taking(0.0, 0.01))) == vectors


def test_a_machine_that_is_slower_than_a_line_tells_gets_fewer(large: Run) -> None:
    def curved(run: Run) -> float:
        return 0.01 * bank(run) + 10.0 * (250 < bank(run) < 10_000)

    assert 10.0 + 0.01 * bank(within(large, 55.0, curved)) <= 55.0


def test_even_the_smallest_bank_may_be_too_slow(large: Run) -> None:
    with pytest.raises(BundleError, match=r"with 250 vectors the graph takes 12.5 ms on this machine; allow more"):
        within(large, 12.0, taking(10.0, 0.01))


def test_a_method_without_a_bank_is_refused(run: Run) -> None:
    other = Run(run.folder, msgspec.structs.replace(run.record, method="stfpm"), shrunk(run, 5).deployed)
    other.deployed.method = torch.nn.Identity()

    with pytest.raises(BundleError, match="stfpm has no bank"):
        within(other, 10.0)


def test_a_smaller_bank_says_so_has_its_own_threshold_and_passes_the_parity_check(run: Run, tmp_path: Path) -> None:
    fewer = shrunk(run, 20)

    export(fewer, tmp_path / "bundle", "plate")

    manifest = open_bundle(tmp_path / "bundle").manifest
    assert manifest.provenance.settings["bank"] == 20
    assert manifest.provenance.model_sha256 == shrunk(run, 20).provenance.model_sha256 != run.provenance.model_sha256
    assert manifest.artifacts[0].calibration.threshold > run.record.calibration.threshold  # farther from fewer vectors
    assert "`bank=20`" in (tmp_path / "bundle" / "README.md").read_text()
    assert bank(run) > 20  # the run itself is as it was


def test_the_first_vectors_cover_the_others_as_a_coreset_of_that_size_does(run: Run) -> None:
    vectors = run.deployed.method.memory_bank

    exactly = "donot_use_mm_for_euclid_dist"
    radii = [float(torch.cdist(vectors, vectors[:k], compute_mode=exactly).amin(dim=1).max()) for k in (1, 5, 20, len(vectors))]

    assert radii == sorted(radii, reverse=True)
    assert radii[-1] == 0.0


def test_a_generous_budget_leaves_the_run_as_it_is(run: Run) -> None:
    assert within(run, 1000.0 * graph_ms(run)) is run
