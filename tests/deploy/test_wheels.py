"""The device install is there as wheels for each kind of device: nothing is compiled on one. Run with `-m network`."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.wheelhouse import make_wheelhouse, pinned, python_version


@pytest.mark.network
@pytest.mark.timeout(300)
@pytest.mark.parametrize("python", ["3.10", "3.12"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_each_pinned_package_is_a_wheel_for_the_device(tmp_path: Path, machine: str, python: str) -> None:
    made = make_wheelhouse(tmp_path / "wheels", python, machine)

    assert made == len(pinned(python, machine)) + 1
    assert len(list((tmp_path / "wheels").glob("*.whl"))) == made


@pytest.mark.network
@pytest.mark.timeout(600)
def test_a_bare_machine_becomes_a_station_from_the_wheels_alone(tmp_path: Path, line_file: Path, cap: Path) -> None:
    """As deploy/README.md says."""
    make_wheelhouse(tmp_path / "wheels", python_version(), platform.machine())
    etc, root = tmp_path / "root" / "etc", str(tmp_path / "root")
    etc.mkdir(parents=True)
    (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (etc / "group").write_text("root:x:0:\n")
    setup, offline = tmp_path / "setup", {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PIP_CONFIG_FILE": "/dev/null"}
    subprocess.run([sys.executable, "-m", "venv", "--clear", setup], check=True)
    subprocess.run([setup / "bin/pip", "install", "--quiet", "-r", tmp_path / "wheels/station.txt"], check=True, env=offline)
    words = ["--line", str(line_file), "--bundle", str(cap), "--wheels", str(tmp_path / "wheels"), "--root", root]

    subprocess.run([setup / "bin/kensa", "provision", "press-3", *words], check=True, env=offline)

    doctor = subprocess.run([f"{root}/opt/kensa/bin/kensa", "doctor"], capture_output=True, text=True, env=offline)
    assert "package" not in doctor.stderr
    assert doctor.stdout
