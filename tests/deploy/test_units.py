"""The systemd units: accepted by systemd, closed to all but what their process needs, restarted for ever."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.gate.priority import REAL_TIME_PRIORITY

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
SERVICES = sorted(UNITS.glob("*.service"))
MOST_EXPOSED = "20"  # tenths, of the issue: systemd calls what is below "OK"
NAMED_IN_UNITS = ["opt/kensa/bin/kensa", "usr/bin/timeout", "usr/bin/flock", "bin/true"]


def settings(name: str) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign] - systemd's names have capitals
    parser.read(UNITS / f"{name}@.service")
    return parser["Service"]


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root folder with systemd's own units, ours, and the programs that they start."""
    root = tmp_path_factory.mktemp("device")
    shutil.copytree("/usr/lib/systemd/system", root / "usr/lib/systemd/system", symlinks=True)
    shutil.copytree(UNITS, root / "etc/systemd/system")
    programs = [root / name for name in NAMED_IN_UNITS]
    [program.parent.mkdir(parents=True, exist_ok=True) for program in programs]
    [program.write_text("#!/bin/sh\n") for program in programs]
    [program.chmod(0o755) for program in programs]
    return root


def test_systemd_finds_nothing_wrong_with_the_units(device: Path) -> None:
    instances = [f"{unit.name.replace('@', '@press-3')}" for unit in [*SERVICES, UNITS / "kensa@.target"]]

    verified = subprocess.run(["systemd-analyze", "verify", f"--root={device}", *instances], capture_output=True, text=True)

    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_each_unit_is_exposed_to_no_more_than_2_0(service: Path) -> None:
    audit = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(service)],
        capture_output=True,
        text=True,
    )

    assert audit.returncode == 0, audit.stdout.splitlines()[-1]


def test_s8_under_pressure_the_page_dies_first_then_the_inspection_and_the_gate_last() -> None:
    order = [int(settings(f"kensa-{role}")["OOMScoreAdjust"]) for role in ("web", "inspect", "eject")]

    assert order == sorted(order, reverse=True)
    assert order[-1] < 0 < order[1]


def test_the_gate_and_nobody_else_may_have_the_real_time_priority_that_it_asks_for() -> None:
    assert {service.stem: (settings(service.stem.rstrip("@")).get("LimitRTPRIO", "0")) for service in SERVICES} == {
        "kensa-eject@": str(REAL_TIME_PRIORITY),
        "kensa-inspect@": "0",
        "kensa-web@": "0",
    }
    assert settings("kensa-eject")["RestrictRealtime"] == "no"


@pytest.mark.parametrize("role", ["eject", "inspect"])
def test_s9_a_process_that_makes_no_progress_is_killed_and_started_again_for_ever(role: str) -> None:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read(UNITS / f"kensa-{role}@.service")

    assert (parser["Service"]["type"], parser["Service"]["restart"]) == ("notify", "always")
    assert float(parser["Service"]["watchdogsec"]) <= 15
    assert parser["Unit"]["startlimitintervalsec"] == "0"


def test_the_gate_has_no_network_and_no_device_until_its_line_says_so() -> None:
    gate = settings("kensa-eject")

    assert (gate["PrivateNetwork"], gate["RestrictAddressFamilies"], gate["DevicePolicy"]) == ("yes", "AF_UNIX", "closed")


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_no_unit_keeps_a_process_from_reading_how_well_the_clock_is_kept(service: Path) -> None:
    """ProtectClock=yes, and @privileged alone, refuse adjtimex even to readers: every event would say `unsynced`."""
    lines = service.read_text().splitlines()

    assert "ProtectClock=yes" not in lines
    assert lines.index("SystemCallFilter=~@privileged") < lines.index("SystemCallFilter=adjtimex clock_adjtime clock_adjtime64")
