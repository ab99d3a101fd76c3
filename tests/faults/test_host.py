"""The machine that a station runs on: it hangs, is stopped under load, and keeps its secrets."""

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from broker import Broker, mosquitto
from gate_end import gate_end
from line_file import write_line
from running_line import write_line as write_running_line
from small_bundle import write_bundle, write_photographs
from waiting import wait_until

from agent.config import load_line
from agent.inspection import AnomalyMap, Image, Part
from agent.loop import Station, inspect_forever
from agent.model import Model

SECRET = "xyzzy-secret-42"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for a Unix socket in it."""
    path = Path(tempfile.mkdtemp(prefix="k"))
    write_bundle(path / "bundle")
    yield path
    shutil.rmtree(path)


class Systemd:
    """The receiving end of sd_notify; counts the signs of life."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self._heard: list[str] = []

    def __enter__(self) -> "Systemd":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def fed(self) -> int:
        """How often the watchdog was fed until now."""
        try:
            while True:
                self._heard.append(self._socket.recv(100).decode())
        except BlockingIOError:
            return self._heard.count("WATCHDOG=1")


class Hangs:
    """A runtime whose device never answers, until the test lets it."""

    executed_precision = "f32"
    executed_on = "cpu"

    def __init__(self) -> None:
        self.is_asked, self.release = threading.Event(), threading.Event()

    def infer(self, image: Image, depth: object = None) -> tuple[float, AnomalyMap]:
        self.is_asked.set()
        self.release.wait(60)
        raise AssertionError("released by the end of the test")


def test_s9_a_process_that_hangs_feeds_the_watchdog_no_more_whatever_its_other_threads_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = load_line(write_line(folder, folder / "bundle"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "systemd"))
    stop, hangs = threading.Event(), Hangs()
    with Systemd(folder / "systemd") as systemd, gate_end(line.socket) as gate, Station(line) as station:
        station.model = Model(station.model.contract, hangs, station.model.calibration)
        thread = threading.Thread(target=_inspect, args=(station, stop), daemon=True)
        thread.start()
        wait_until(lambda: systemd.fed >= 2, 20)  # an idle belt is progress

        gate.wait_for_attach()
        gate.trigger(Part("boot", 1), until_gate_ms=60_000)
        assert hangs.is_asked.wait(20)
        fed = systemd.fed
        time.sleep(3)  # an idle process would have fed it three times; its other threads run on

        assert systemd.fed == fed
        stop.set()
        hangs.release.set()
        thread.join(20)


def _inspect(station: Station, stop: threading.Event) -> None:
    with contextlib.suppress(AssertionError):  # the runtime's, once released
        inspect_forever(station, stop)


@pytest.fixture
def closed_broker(tmp_path: Path) -> Iterator[Broker]:
    """It knows no password that a station could give."""
    (tmp_path / "mosquitto").mkdir()
    (tmp_path / "passwords").write_text("nobody:$7$101$AAAAAAAAAAAAAAAA$AAAA\n")
    with mosquitto(tmp_path / "mosquitto", settings=[f"password_file {tmp_path / 'passwords'}"]) as started:
        yield started


def test_o2_a_password_stands_in_no_log_no_argument_no_environment_and_no_state(folder: Path, closed_broker: Broker) -> None:
    write_photographs(folder / "parts", 5)
    file = write_running_line(folder, closed_broker, folder / "bundle", folder / "parts", count=5, period_ms=50)
    (folder / "password").write_text(f"{SECRET}\n")
    (folder / "password").chmod(0o600)
    login = f"login: {{user: press-3, password_file: {folder}/password}}, topic"
    file.write_text(file.read_text().replace("topic", login, 1))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "kensa", "run", str(file)], stderr=log)
    try:
        wait_until(lambda: "refuse" in (folder / "log").read_text() or "not auth" in (folder / "log").read_text().lower(), 40)
        family = subprocess.run(["pgrep", "-f", str(file)], capture_output=True, text=True, check=True).stdout.split()
        shown = [Path(f"/proc/{pid}/{what}").read_bytes() for pid in family for what in ("cmdline", "environ")]
    finally:
        process.terminate()
        process.wait(40)
    doctor = subprocess.run([sys.executable, "-m", "kensa", "doctor", str(file)], capture_output=True)

    written = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "password"}
    assert len(shown) >= 6  # three processes
    assert [one for one in shown if SECRET.encode() in one] == []
    assert [path for path, content in written.items() if SECRET.encode() in content] == []
    assert SECRET.encode() not in doctor.stdout + doctor.stderr
