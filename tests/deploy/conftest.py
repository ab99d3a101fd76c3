"""Fixtures of the deployment's tests."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "agent"))

from small_bundle import write_bundle, write_photographs
from small_wheel import write_wheel


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one wheel, as far as a test needs it."""
    return write_wheel(tmp_path_factory.mktemp("wheels")).parent


@pytest.fixture(scope="session")
def cap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle."""
    folder = tmp_path_factory.mktemp("bundles") / "cap"
    write_bundle(folder)
    return folder


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts") / "photographs"
    write_photographs(folder, 3)
    return folder


@pytest.fixture
def line_file(tmp_path: Path, photographs: Path) -> Path:
    """The first configuration of a device."""
    file = tmp_path / "line.yaml"
    file.write_text(f"""\
station: press-3
bundle: /var/lib/kensa/press-3/bundles/active
state: /var/lib/kensa/press-3
cameras: {{top: {{type: folder, path: {photographs}}}}}
trigger: {{type: timer, period_ms: 500}}
ejector: {{type: dryrun}}
gate: {{travel_ms: 600}}
runtime: {{type: onnxruntime}}
mqtt: {{host: 10.0.0.7, topic: plant/press-3, login: {{user: press-3, credential: mqtt-password}}}}
""")
    return file
