"""Taking a station off a device, and wiping one before it leaves the house."""

import os
from pathlib import Path

from deploy.device import Device

_UNITS = "/etc/systemd/system"
_SECRET_BYTES = 1 << 20


def uninstall(device: Device, station: str) -> None:
    """Units and, with the last station, programs and rules. Its data and configuration stay: `--factory-reset` wipes those."""
    _stop(device, station)
    for role in ("eject", "inspect", "web"):
        device.remove(f"{_UNITS}/kensa-{role}@{station}.service.d")
    device.remove(f"{_UNITS}/kensa@{station}.target.wants")
    device.remove(f"{_UNITS}/multi-user.target.wants/kensa@{station}.target")
    if _others(device, station):
        return
    for unit in sorted(device.at(_UNITS).glob("kensa*@.*")):
        device.remove(f"{_UNITS}/{unit.name}")
    for path in ("/etc/udev/rules.d/70-kensa.rules", "/usr/lib/sysusers.d/kensa.conf", "/opt/kensa"):
        device.remove(path)


def factory_reset(device: Device, station: str) -> None:
    """Keys, passwords, images, events, bundles and configuration of a station are gone afterwards.

    Small files, among them every secret, are overwritten first. What a flash card keeps in its spare cells nobody can reach from
    here: encrypt the disk, or destroy the card.
    """
    _stop(device, station)
    secrets = [f"/etc/kensa/credentials/{station}", f"/var/lib/kensa/{station}"]
    if not device.dry_run:
        for folder in secrets:
            _overwrite(device.at(folder))
    for path in (*secrets, f"/etc/kensa/{station}.yaml"):
        device.remove(path)
    if not _others(device, station):
        device.remove("/var/cache/kensa")


def _stop(device: Device, station: str) -> None:
    if device.is_this_machine and device.at(f"{_UNITS}/multi-user.target.wants/kensa@{station}.target").is_symlink():
        device.run(f"stop {station}", "systemctl", "disable", "--now", f"kensa@{station}.target")


def _others(device: Device, station: str) -> bool:
    return any(file.stem != station for file in device.at("/etc/kensa").glob("*.yaml"))


def _overwrite(folder: Path) -> None:
    for file in folder.rglob("*") if folder.is_dir() else ():
        if file.is_file() and not file.is_symlink() and file.stat().st_size <= _SECRET_BYTES:
            with file.open("r+b") as out:
                out.write(bytes(file.stat().st_size))
                out.flush()
                os.fsync(out.fileno())
