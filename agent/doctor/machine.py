"""What can be wrong with a device before any line runs on it: packages, accelerators, clock, disk, heat."""

import os
import platform
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from agent.clock import Clock, machine_boot, now
from agent.doctor.finding import Finding, fail, ok, warn
from agent.drivers import names

_CV2 = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
_ORT = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml")
_ACCELERATORS = {"/dev/nvidia0": "NVIDIA GPU", "/dev/nvhost-gpu": "Jetson GPU", "/dev/nvgpu/igpu0": "Jetson GPU"}
_GPU_PROVIDERS = {"CUDAExecutionProvider", "TensorrtExecutionProvider", "OpenVINOExecutionProvider"}
_LITTLE_MB, _TOO_LITTLE_MB = 5_000, 500
_HOT_C, _TOO_HOT_C = 80.0, 95.0


def check_machine(folder: Path, root: Path = Path("/")) -> Iterator[Finding]:
    """folder: whose disk is looked at. root: of the file system whose devices and sensors are looked at."""
    packages = {one.metadata["Name"].lower(): one.version for one in metadata.distributions() if one.metadata["Name"]}
    yield _python()
    yield installed_once("opencv", _CV2, packages, "opencv-python-headless")
    yield from _runtimes(packages, root)
    yield _clock()
    yield _disk(folder)
    yield _heat(root)
    yield _hardware_watchdog(root)


def installed_once(what: str, candidates: tuple[str, ...], packages: dict[str, str], wanted: str) -> Finding:
    """Packages that put files of the same names into the environment: the last one installed wins, in part.

    >>> installed_once("opencv", ("a", "b"), {"a": "1", "b": "2"}, "b").health.value
    'fail'
    """
    found = [f"{name} {packages[name]}" for name in candidates if name in packages]
    if len(found) == 1:
        return ok(what, found[0])
    if not found:
        return fail(what, "not installed", f"pip install {wanted}")
    others = " ".join(name for name in candidates if name in packages and name != wanted)
    return fail(
        what, " and ".join(found), f"they overwrite each other: pip uninstall {others}; pip install --force-reinstall {wanted}"
    )


def _python() -> Finding:
    found = f"Kensa {_version('kensa')}, Python {platform.python_version()} on {platform.machine()}, Linux {platform.release()}"
    others = ", ".join(f"{name} {_version(name)}" for name in ("numpy", "msgspec", "paho-mqtt"))
    return ok("versions", f"{found}; {others}")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def _runtimes(packages: dict[str, str], root: Path) -> Iterator[Finding]:
    """Of each driver: what it could compute on. A GPU that nobody can use is a silent fall-back to the processor."""
    usable: set[str] = set()
    for name in (name for name in names("agent.runtimes") if name in _DEVICES):
        try:
            devices = _DEVICES[name]()
        except ImportError:
            yield warn(f"runtime {name}", "not installed", f"pip install {name}, if a line uses it")
            continue
        except (RuntimeError, OSError) as e:
            yield fail(f"runtime {name}", f"installed, and cannot be used: {e}", f"pip install --force-reinstall {name}")
            continue
        usable |= set(devices)
        yield ok(f"runtime {name}", f"{packages.get(name, 'of another package')}: {', '.join(devices)}")
    if sum(name in packages for name in _ORT) > 1:
        yield installed_once("onnxruntime", _ORT, packages, "onnxruntime-gpu")
    for device, name in _ACCELERATORS.items():
        if (root / device.lstrip("/")).exists() and not usable & _GPU_PROVIDERS and not any(d.startswith("GPU") for d in usable):
            remedy = "install the runtime that knows it (on a Jetson NVIDIA's own wheel of onnxruntime)"
            yield warn(
                "accelerator", f"{name} ({device}) is there and no runtime can use it: models run on the processor", remedy
            )


def _onnxruntime() -> list[str]:
    import onnxruntime

    return list(onnxruntime.get_available_providers())


def _openvino() -> list[str]:
    import openvino

    return list(openvino.Core().available_devices)


_DEVICES = {"onnxruntime": _onnxruntime, "openvino": _openvino}


def _clock() -> Finding:
    instant = now(machine_boot())
    if instant.clock is Clock.SYNCED:
        return ok("clock", f"{instant.utc}, synchronized")
    remedy = "times in events are wrong, TLS may refuse certificates: timedatectl set-ntp true, or chrony with the plant's server"
    return warn("clock", f"{instant.utc}, {instant.clock.value}", remedy)


def _disk(folder: Path) -> Finding:
    existing = next(one for one in (folder, *folder.parents) if one.exists())
    free_mb = shutil.disk_usage(existing).free // 1_000_000
    status = os.statvfs(existing)
    if status.f_flag & os.ST_RDONLY:
        remedy = "no line can start here: a disk that is broken makes itself read-only (dmesg tells); mend or replace it"
        return fail("disk", f"{existing} is read-only", remedy)
    found = f"{free_mb} MB free at {existing}"
    if free_mb < _TOO_LITTLE_MB:
        return fail("disk", found, "delete something: events are only kept in memory once it is full")
    if status.f_files and status.f_favail < status.f_files // 50:
        return warn("disk", f"{found}, {status.f_favail} files can still be made", "delete small files")
    if free_mb < _LITTLE_MB:
        return warn("disk", found, "make room, or make outbox and record smaller in the line's file")
    return ok("disk", found)


def _heat(root: Path) -> Finding:
    read = [_degrees(file) for file in sorted((root / "sys/class/thermal").glob("thermal_zone*/temp"))]
    degrees = [value for value in read if value is not None]
    if not degrees:
        return ok("temperature", "no sensor can be read here")
    hottest, remedy = max(degrees), "clean the fan and filter, let air reach the device: it computes slower when it is hot"
    found = f"{hottest:.0f} °C, the hottest of {len(degrees)} sensors"
    if hottest >= _TOO_HOT_C:
        return fail("temperature", found, remedy)
    return warn("temperature", found, remedy) if hottest >= _HOT_C else ok("temperature", found)


def _degrees(file: Path) -> float | None:
    try:
        return int(file.read_text()) / 1000
    except (OSError, ValueError):
        return None


def _hardware_watchdog(root: Path) -> Finding:
    if (root / "dev/watchdog").exists() or (root / "dev/watchdog0").exists():
        return ok("hardware watchdog", "there; RuntimeWatchdogSec=30 in systemd's system.conf makes systemd feed it")
    remedy = "a kernel that hangs is not restarted: switch the watchdog on in the firmware, or load its module"
    return warn("hardware watchdog", "none", remedy)
