"""The machine that a station runs on: it hangs, is stopped under load, and keeps its secrets."""

import contextlib
import dataclasses
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
from broker import Broker, free_port, mosquitto
from gate_end import gate_end
from gate_line import COIL, PERMIT, pulses, send_trigger, state_of, write_gate_line
from kensa_process import Running, is_at_work
from kensa_process import running as kensa_running
from libmodbus import Plc, plc
from line_file import write_line
from running_line import write_line as write_running_line
from small_bundle import write_bundle, write_photographs
from waiting import wait_until

from agent.config import load_line
from agent.inspection import AnomalyMap, Image, Part
from agent.loop import inspect_forever
from agent.model import Model
from agent.station import Station

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
            return sum("WATCHDOG=1" in message.splitlines() for message in self._heard)


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
        judges = station.judging["top"]
        hanging = Model(judges.model.contract, hangs, judges.model.calibration)
        station.judging = {"top": dataclasses.replace(judges, model=hanging)}
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


@contextlib.contextmanager
def line_that_runs(file: Path, machine: Plc, log: Path) -> Iterator[Running]:
    """`kensa run`, all of whose processes are at work."""
    with kensa_running("-m", "kensa", "run", str(file), log_file=log) as run:
        wait_until(lambda: machine.coils[PERMIT] and {"attached", "page"} <= {m.split()[0] for m in run.messages()}, 40)
        yield run


@pytest.mark.timeout(120)  # four processes start, twice
def test_s8_of_a_killed_kensa_run_no_process_stays_its_parts_are_seen_through_and_the_next_one_starts(folder: Path) -> None:
    write_photographs(folder / "parts", 3, defects=frozenset({0, 1, 2}))
    with plc() as machine:
        permit = f"permit: {{type: modbus, host: 127.0.0.1, port: {machine.port}, coil: {PERMIT}, timeout_ms: 300}}"
        file = write_gate_line(folder, machine.port, more=f"{permit}\nweb: {{port: {free_port()}}}")
        file.write_text(file.read_text().replace("bundle: none", "bundle: bundle").replace("path: none", "path: parts"))
        with line_that_runs(file, machine, folder / "log") as run:
            children = [int((folder / "state" / f"{role}.lock").read_text()) for role in ("eject", "inspect", "web")]
            worked = [is_at_work(child) for child in children]
            parts = [send_trigger(folder) for _ in range(3)]
            wait_until(lambda: (state := state_of(folder)) and state.account.get("triggers") == len(parts))

            run.kill()

            wait_until(lambda: not any(map(is_at_work, children)), 30)
        outputs_after = (machine.coils[COIL], machine.coils[PERMIT])
        with line_that_runs(file, machine, folder / "next") as after:
            status = after.terminate()

    accounts = [entry["account"] for entry in run.entries() if "account" in entry]
    assert worked == [True, True, True]
    assert [(account["triggers"], account["reject"]) for account in accounts] == [(len(parts), len(parts))]
    assert True in pulses(machine)
    assert outputs_after == (0, 0)
    assert status == 0


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
