"""Fixtures of the fault tests: each has real parts and breaks one of them."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "agent"))

from broker import ITS_OWN_LIMITS, Broker, mosquitto
from gate_line import GateLine, gate_line
from libmodbus import Plc, plc
from proxy import Proxy, proxy
from small_bundle import write_bundle
from small_station import Notes
from wall_clock import faked_by

from agent.events.outbox import Outbox


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.db") as opened:
        yield opened


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A real mosquitto with its own limits, which forgets when it is killed."""
    folder = tmp_path / "broker"
    folder.mkdir()
    with mosquitto(folder, settings=ITS_OWN_LIMITS) as running:
        yield running


@pytest.fixture
def network(broker: Broker) -> Iterator[Proxy]:
    """What lies between station and broker."""
    with proxy(broker.port) as started:
        yield started


@pytest.fixture
def notes(caplog: pytest.LogCaptureFixture) -> Notes:
    """The log of the publisher in the test's own process."""
    return Notes(caplog)


@pytest.fixture
def fake_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the wall clock of processes started by the test: a time to stand at, or a distance such as `+1h`."""
    file = tmp_path / "clock"
    if (environment := faked_by(file)) is None:
        pytest.skip("needs libfaketime (Debian: apt install faketime)")
    file.write_text("+0")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return file


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "small"
    write_bundle(folder)
    return folder


@pytest.fixture
def state() -> Iterator[Path]:
    """An empty folder with a path short enough for a Unix socket in it."""
    folder = Path(tempfile.mkdtemp(prefix="k"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def folder(state: Path) -> Path:
    """Of a line: its file and what it keeps."""
    return state


@pytest.fixture
def machine() -> Iterator[Plc]:
    """The PLC with the ejector's coil."""
    with plc() as running:
        yield running


@pytest.fixture
def line(folder: Path, machine: Plc) -> Iterator[GateLine]:
    with gate_line(folder, machine) as running:
        yield running
