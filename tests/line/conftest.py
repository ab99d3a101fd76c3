"""A whole line under test: the two real processes, a real broker, and a subscriber that knows nothing but the broker."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from broker import Broker, mosquitto

sys.path.insert(0, str(Path(__file__).parents[1] / "agent"))

SHARED = Path(__file__).parents[2].parent / "shared"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for a Unix socket in it."""
    path = Path(tempfile.mkdtemp(prefix="k"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def broker(folder: Path) -> Iterator[Broker]:
    (folder / "broker").mkdir()
    with mosquitto(folder / "broker", persistence=True) as started:
        yield started


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real photographs, in $KENSA_DATA or beside the repository."""
    path = Path(os.environ.get("KENSA_DATA", SHARED / "data"))
    if not (path / "magnetic_tile").is_dir():
        pytest.skip(f"no real photographs: {path}/magnetic_tile is not there (set KENSA_DATA)")
    return path


@pytest.fixture(scope="session")
def real_weights() -> Path:
    """ImageNet weights, in $KENSA_WEIGHTS or beside the repository."""
    path = Path(os.environ.get("KENSA_WEIGHTS", SHARED / "weights")) / "resnet18_imagenet_fp16.safetensors"
    if not path.is_file():
        pytest.skip(f"no trained weights: {path} is not there (set KENSA_WEIGHTS)")
    return path
