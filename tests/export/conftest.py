"""What the tests of export share: the fitted RUN, and its bundle."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "agent"))

from fitted import dataset, run_folder

from export.pack import export
from training.run import Run, open_run

__all__ = ["bundle_folder", "dataset", "run", "run_folder"]


@pytest.fixture(scope="session")
def run(run_folder: Path) -> Run:
    return open_run(run_folder)


@pytest.fixture(scope="session")
def bundle_folder(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported bundle, not to be changed."""
    out = tmp_path_factory.mktemp("exported") / "bundle"
    export(run, out, "plate")
    return out
