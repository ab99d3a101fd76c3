"""The device install is there as wheels for each kind of device: nothing is compiled on one. Run with `-m network`."""

import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PINNED = (Path(__file__).parents[2] / "deploy" / "device.txt").read_text()
LINUX = [f"manylinux_2_{minor}" for minor in (34, 31, 28, 27, 17)]  # JetPack 6 and Debian 12 have glibc 2.35 and 2.36


@pytest.mark.network
@pytest.mark.timeout(300)
@pytest.mark.parametrize("python", ["3.10", "3.12"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_each_pinned_package_is_a_wheel_for_the_device(tmp_path: Path, machine: str, python: str) -> None:
    device = {"python_version": python, "platform_machine": machine}
    pinned = [Requirement(row) for row in PINNED.splitlines() if row and not row.startswith("#")]
    wanted = [f"{one.name}{one.specifier}" for one in pinned if one.marker is None or one.marker.evaluate(device)]
    platforms = [word for tag in [*LINUX, "manylinux2014"] for word in ("--platform", f"{tag}_{machine}")]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(tmp_path)]

    ended = subprocess.run(
        [*pip, "--implementation", "cp", "--python-version", python, *platforms, *wanted],
        capture_output=True,
        text=True,
        timeout=280,
    )

    assert ended.returncode == 0, ended.stderr
    assert len(list(tmp_path.glob("*.whl"))) == len(wanted)
