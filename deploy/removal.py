"""Taking a station off a device, and wiping one before it leaves the house."""

import os
from pathlib import Path

from deploy.device import Device, ProvisionError

_UNITS, _ETC, _STATE, _PROGRAM = "/etc/systemd/system", "/etc/kensa", "/var/lib/kensa", "/opt/kensa"
_ROLES = ("eject", "inspect", "web")
_SECRET_BYTES = 1 << 20


def uninstall(device: Device, station: str) -> None:
    """Units and, with the last station, programs and rules. Its data and configuration stay: `--factory-reset` wipes those.

    Raises ProvisionError where there is no such station.
    """
    _must_be_here(device, station)
    _stop(device, station)
    for role in _ROLES:
        device.remove(f"{_UNITS}/kensa-{role}@{station}.service.d")
    device.remove(f"{_UNITS}/kensa@{station}.target.wants")
    if not any(device.at(_UNITS).glob("kensa-eject@*.service.d")):
        for unit in sorted(device.at(_UNITS).glob("kensa*@.*")):
            device.remove(f"{_UNITS}/{unit.name}")
        for path in ("/etc/udev/rules.d/70-kensa.rules", "/usr/lib/sysusers.d/kensa.conf", _PROGRAM, f"{_PROGRAM}.d"):
            device.remove(path)
    if device.is_this_machine:
        device.run("let systemd forget its units", "systemctl", "daemon-reload")


def factory_reset(device: Device, station: str) -> None:
    """Keys, passwords, images, events, bundles and configuration of a station are gone afterwards.

    Small files, among them every secret, are overwritten first. What a flash card keeps in its spare cells nobody can reach from
    here: encrypt the disk, or destroy the card. Raises ProvisionError where there is no such station.
    """
    _must_be_here(device, station)
    _stop(device, station)
    secrets = [f"{_ETC}/credentials/{station}", f"{_STATE}/{station}"]
    if not device.dry_run:
        for folder in secrets:
            _overwrite(device.at(folder))
    for path in (*secrets, f"{_ETC}/{station}.yaml"):
        device.remove(path)
    if not any(device.at(_STATE).glob("*")):
        device.remove("/var/cache/kensa")


def _must_be_here(device: Device, station: str) -> None:
    """A name mistyped must not look like a device that is clean."""
    traces = (f"{_ETC}/{station}.yaml", f"{_STATE}/{station}", f"{_UNITS}/kensa-eject@{station}.service.d")
    if not any(device.at(path).exists() for path in traces):
        known = sorted({one.stem for one in device.at(_ETC).glob("*.yaml")} | {one.name for one in device.at(_STATE).glob("*")})
        raise ProvisionError(f"there is no station {station} on this device, there is: {', '.join(known) or 'none'}")


def _stop(device: Device, station: str) -> None:
    """Its processes have ended when this returns: they would write again what is removed."""
    if device.is_this_machine and device.at(f"{_UNITS}/kensa@.target").exists():
        units = [f"kensa@{station}.target", *(f"kensa-{role}@{station}.service" for role in _ROLES)]
        device.run(f"stop {station}", "systemctl", "stop", *units)
    device.remove(f"{_UNITS}/multi-user.target.wants/kensa@{station}.target")


def _overwrite(folder: Path) -> None:
    for file in folder.rglob("*") if folder.is_dir() else ():
        if file.is_file() and not file.is_symlink() and file.stat().st_size <= _SECRET_BYTES:
            with file.open("r+b") as out:
                out.write(bytes(file.stat().st_size))
                out.flush()
                os.fsync(out.fileno())
