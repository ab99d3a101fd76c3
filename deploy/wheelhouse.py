"""The folder of wheels that a device is installed from, without a network: made on a workstation, opened on the device.

Kensa itself only ever comes from there: on the public index its name is a stranger's (docs/decisions.md, 29).
"""

import argparse
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from deploy.device import ProvisionError

EXTRAS = "gpio,modbus,web"  # of all stations of a device, which share one environment: no compiler, no torch
HOW_MADE = "`make wheelhouse` in Kensa's checkout makes it (deploy/README.md)"
_HERE = Path(__file__).parent
_PIP = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check"]
_PINS = "device.txt"
_SETUP = "station.txt"
_OLDEST_PIP = (22, 3)  # the first that installs into another environment
_NAMED = 3  # of pip's complaints
_PLATFORMS = [
    *(f"manylinux_2_{minor}" for minor in (34, 31, 28, 27, 17)),
    "manylinux2014",
]  # Debian 12 has glibc 2.36, JetPack 6 2.35


@dataclass(frozen=True)
class Wheelhouse:
    """kensa: the wheel of the very Kensa that runs."""

    folder: Path
    kensa: Path

    @property
    def wheels(self) -> list[Path]:
        return sorted(self.folder.glob("*.whl"))

    def installation(self, place: Path) -> list[str]:
        """The command that fills an environment."""
        return [*_PIP, "--python", str(place), "install", *self._what]

    def refuse_unfit(self) -> None:
        """Before anything is made. Raises ProvisionError where pip is missing, or the wheels do not suffice on this machine."""
        _refuse_without_pip(self.folder)
        tried = [*_PIP, "install", "--dry-run", "--ignore-installed", *self._what]
        ended = subprocess.run(tried, capture_output=True, text=True, check=False)
        if ended.returncode:
            python, machine = python_version(), platform.machine()
            raise ProvisionError(
                f"{self.folder}: cannot be installed here, Python {python} on {machine}: {_complaint(ended)} -> "
                f"copy it again, or make it with `make wheelhouse DEVICE_PYTHON={python} MACHINE={machine}`"
            )

    @property
    def _what(self) -> list[str]:
        extras = f"{EXTRAS},arm" if any(self.folder.glob("onnxruntime-*.whl")) else EXTRAS
        return ["--no-index", "-f", str(self.folder), "-c", str(_HERE / _PINS), f"{self.kensa}[{extras}]"]


def python_version() -> str:
    """As wheels go by it: a correction of the system's Python does not part it from them."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _complaint(pip: "subprocess.CompletedProcess[str]") -> str:
    """What pip calls an error, and what it lists as its causes."""
    causes = [row.strip() for row in pip.stdout.splitlines() if row.startswith("    ")]
    errors = [row.removeprefix("ERROR: ") for row in pip.stderr.strip().splitlines() if row.startswith("ERROR: ")]
    return "; ".join([*errors[:1], *causes[:_NAMED]]) or pip.stderr.strip()


def open_wheelhouse(folder: Path) -> Wheelhouse:
    """Raises ProvisionError where the folder does not hold the wheel of this Kensa, whose units and versions would be written."""
    if not folder.is_dir():
        raise ProvisionError(f"{folder}: no folder, expected one with the wheels of the device install (--wheels)")
    folder = folder.resolve()
    version = metadata.version("kensa")
    by_version = {wheel.name.split("-")[1]: wheel for wheel in sorted(folder.glob("kensa-*.whl"))}
    if not by_version:
        raise ProvisionError(f"{folder}: no wheel of Kensa in it, expected kensa-{version}-*.whl: {HOW_MADE}")
    if version not in by_version:
        found = ", ".join(by_version)
        raise ProvisionError(f"{folder}: has Kensa {found}, this is {version}: {_how_set_up(folder)}")
    wheel = by_version[version]
    if (other := _first_difference(wheel)) is not None:
        raise ProvisionError(f"{wheel}: is of another Kensa than this one ({other} differs): {_how_set_up(folder)}")
    return Wheelhouse(folder, wheel)


def _how_set_up(folder: Path) -> str:
    return (
        "a station is set up by the Kensa that it is to run: "
        f"python3 -m venv --clear setup && setup/bin/pip install -r '{folder}/{_SETUP}', then sudo setup/bin/kensa provision ..."
    )


def _first_difference(wheel: Path) -> str | None:
    """Between what that Kensa would make of a device and what this one makes. Raises ProvisionError for another program."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            theirs = {name: archive.read(name) for name in archive.namelist() if name.startswith("deploy/")}
    except (zipfile.BadZipFile, zlib.error, EOFError) as e:
        raise ProvisionError(f"{wheel}: damaged or cut off ({e}): copy it again") from e
    if f"deploy/{_PINS}" not in theirs:
        raise ProvisionError(f"{wheel}: not this Kensa but a stranger's of the same name: {HOW_MADE}")
    return next((name for name, content in sorted(theirs.items()) if not _is_ours(name, content)), None)


def _is_ours(name: str, content: bytes) -> bool:
    own = _HERE.parent / name
    return own.is_file() and own.read_bytes() == content


def _refuse_without_pip(folder: Path) -> None:
    if util.find_spec("pip") is None:
        raise ProvisionError(f"there is no pip in {sys.prefix}, as in each device's own environment: {_how_set_up(folder)}")
    if tuple(int(part) for part in metadata.version("pip").split(".")[:2]) < _OLDEST_PIP:
        raise ProvisionError(f"pip in {sys.prefix} is {metadata.version('pip')}, expected 22.3 or newer: {_how_set_up(folder)}")


def make_wheelhouse(folder: Path, python: str, machine: str) -> int:
    """The wheels of the checkout that this is, and of what it needs on such a device; how many. Raises ProvisionError."""
    source = _HERE.parent
    if not (source / "pyproject.toml").is_file():
        raise ProvisionError(f"{source}: not Kensa's checkout, of which the wheel is made")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ProvisionError(f"{folder}: is there already: remove it, or give another (WHEELHOUSE=...)")
    with _whole_or_not_there(folder) as fresh:
        _pip("wheel", "--no-deps", "--wheel-dir", str(fresh), str(_copied(source, fresh.with_name("source"))))
        tags = [word for tag in _PLATFORMS for word in ("--platform", f"{tag}_{machine}")]
        kind = ["--implementation", "cp", "--python-version", python, *tags]
        _pip("download", "--no-deps", "--only-binary=:all:", "--dest", str(fresh), *kind, *pinned(python, machine))
        (wheel,) = fresh.glob("kensa-*.whl")
        (fresh / _PINS).write_text((_HERE / _PINS).read_text())
        (fresh / _SETUP).write_text(
            f"# What sets a station up, for Python {python} on {machine}: deploy/README.md says how\n"
            f"--no-index\n-f .\n-c {_PINS}\npip\nkensa[{EXTRAS},arm]=={wheel.name.split('-')[1]}\n"
        )
        return len(list(fresh.glob("*.whl")))


def _copied(source: Path, to: Path) -> Path:
    """The packages alone: a wheel that is built in place takes along what a build before has left."""
    for package in ("agent", "training", "export", "deploy"):
        shutil.copytree(source / package, to / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("kensa.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(source / file, to / file)
    return to


def pinned(python: str, machine: str) -> list[str]:
    """Of deploy/device.txt, what such a device needs: pip itself would go by the Python and the machine that it runs on."""
    from packaging.requirements import Requirement

    device = {"python_version": python, "platform_machine": machine}
    rows = [Requirement(row) for row in (_HERE / _PINS).read_text().splitlines() if row and not row.startswith("#")]
    return [f"{one.name}{one.specifier}" for one in rows if one.marker is None or one.marker.evaluate(device)]


@contextmanager
def _whole_or_not_there(folder: Path) -> Iterator[Path]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".wheelhouse-") as beside:
        fresh = Path(beside) / "wheels"
        fresh.mkdir()
        yield fresh
        fresh.replace(folder)


def _pip(*words: str) -> None:
    ended = subprocess.run([sys.executable, "-m", "pip", *words, "--quiet", "--disable-pip-version-check"], check=False)
    if ended.returncode:
        raise ProvisionError(f"pip {words[0]} failed: see above")


def _command() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.wheelhouse", description="Makes the folder that a device is installed from."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", required=True, help="of the device, such as 3.11")
    parser.add_argument("--machine", required=True, choices=("x86_64", "aarch64"), help="the device's processor")
    chosen = parser.parse_args()
    try:
        made = make_wheelhouse(chosen.folder, chosen.python, chosen.machine)
    except ProvisionError as e:
        print(f"wheelhouse: {e}", file=sys.stderr)
        return 1
    print(
        f"{chosen.folder}: {made} wheels for Python {chosen.python} on {chosen.machine}; deploy/README.md says what to do with it"
    )
    return 0


if __name__ == "__main__":
    sys.exit(_command())
