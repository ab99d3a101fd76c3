"""Fixtures of the workstation's tests: a tiny data set and one RUN fitted on it; torch on one thread, the machine is shared."""

from pathlib import Path

import pytest
import torch
from small_dataset import save_dataset, small_recipe

from training.fit import fit
from training.progress import Lines

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
