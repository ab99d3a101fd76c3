"""Fixtures of the agent's tests; they run where only the device's packages are installed."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from broker import Broker, mosquitto
from small_bundle import write_bundle


@pytest.fixture
def state() -> Iterator[Path]:
    """An empty folder with a short path: a Unix socket's path in it must stay under 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="k"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A real mosquitto that forgets when it is killed."""
    folder = tmp_path / "broker"
    folder.mkdir()
    with mosquitto(folder) as running:
        yield running


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed bundle with artefacts for both runtimes, shared by all tests: none may change it."""
    folder = tmp_path_factory.mktemp("bundles") / "small"
    write_bundle(folder, openvino_too=True)
    return folder


@pytest.fixture
def own_bundle(small_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the small bundle that a test may damage."""
    return shutil.copytree(small_bundle, tmp_path / "bundle")
