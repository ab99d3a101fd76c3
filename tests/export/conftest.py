"""One tiny RUN and its bundle for the tests of export."""

from pathlib import Path

import pytest
import torch
from small_dataset import save_dataset, small_recipe

from export.pack import export
from training.fit import fit
from training.progress import Lines
from training.run import Run, open_run

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_dataset(tmp_path_factory.mktemp("plates"))


@pytest.fixture(scope="session")
def run_folder(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fitted RUN, not to be changed."""
    out = tmp_path_factory.mktemp("fitted") / "run"
    with (out.parent / "progress.txt").open("w") as stream:
        fit(small_recipe(dataset, out), Lines(stream))
    return out


@pytest.fixture(scope="session")
def run(run_folder: Path) -> Run:
    return open_run(run_folder)


@pytest.fixture(scope="session")
def bundle_folder(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported bundle, not to be changed."""
    out = tmp_path_factory.mktemp("exported") / "bundle"
    export(run, out, "plate")
    return out
