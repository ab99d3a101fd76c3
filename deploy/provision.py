"""`kensa provision`: from a bare machine to a supervised station; done a second time, it changes nothing."""

import argparse
import dataclasses
import hashlib
import os
import sys
from importlib import resources
from pathlib import Path

from agent.bundle import BundleError
from agent.commands.doctor import findings
from agent.commands.install import trial_on
from agent.config import Line, load_line
from agent.doctor.finding import Health
from agent.drivers import ConfigError
from agent.serving.slots import install, pointer
from deploy.device import Device, ProvisionError
from deploy.drop_in import eject_drop_in, inspect_drop_in
from deploy.removal import factory_reset, uninstall

ETC, STATE, PROGRAM, UNITS = "/etc/kensa", "/var/lib/kensa", "/opt/kensa", "/etc/systemd/system"
_EXTRAS = {
    "modbus": "modbus",
    "modbus_client": "modbus",
    "modbus_server": "modbus",
    "gpio": "gpio",
    "digital_input": "gpio",
    "digital": "gpio",
}


def provision_command(arguments: list[str]) -> int:
    """Brings this machine to where a station runs on it: user, folders, udev rules, environment, units, configuration, bundle."""
    parser = argparse.ArgumentParser(
        prog="kensa provision",
        description=provision_command.__doc__,
        epilog="example: sudo kensa provision press-3 --line line.yaml --bundle bundles/cap --wheels wheelhouse",
    )
    parser.add_argument("station", help="its name; the configuration is /etc/kensa/NAME.yaml")
    parser.add_argument("--line", type=Path, help="first configuration; one that is there already is never changed")
    parser.add_argument("--bundle", type=Path, help="a bundle to install and try")
    parser.add_argument("--wheels", type=Path, help="folder with the wheels of the device install; without it pip's own index")
    parser.add_argument("--root", type=Path, default=Path("/"), help="a folder that stands for the device's file system")
    parser.add_argument("--dry-run", action="store_true", help="say what would be changed, change nothing")
    parser.add_argument("--uninstall", action="store_true", help="remove programs and units; data and configuration stay")
    parser.add_argument("--factory-reset", action="store_true", help="wipe keys, images, events and configuration of the station")
    chosen = parser.parse_args(arguments)
    device = Device(chosen.root, chosen.dry_run)
    try:
        if device.is_this_machine and os.geteuid() != 0 and not chosen.dry_run:
            raise ProvisionError("a device is provisioned by root: sudo kensa provision ...")
        if chosen.factory_reset:
            factory_reset(device, chosen.station)
        if chosen.uninstall:
            uninstall(device, chosen.station)
        if not (chosen.uninstall or chosen.factory_reset):
            provision(device, chosen.station, chosen.line, chosen.bundle, chosen.wheels)
    except ProvisionError as e:
        print(f"kensa provision: {e}", file=sys.stderr)
        return 1
    print(f"{len(device.changes)} changes" if device.changes else "nothing to change")
    return 0


def provision(device: Device, station: str, line_file: Path | None, bundle: Path | None, wheels: Path | None) -> None:
    """Each step looks first; what was done before a failure is not done again. Raises ProvisionError, ConfigError."""
    written = _written(device, station, line_file)
    line = _checked(written, station)
    _user(device)
    device.directory(ETC, 0o755)
    device.directory(f"{ETC}/credentials", 0o700)
    device.directory(f"{ETC}/credentials/{station}", 0o700)
    device.directory(STATE, 0o755)
    device.directory(f"{STATE}/{station}", 0o700, "kensa")
    if device.file("/etc/udev/rules.d/70-kensa.rules", _shipped("udev", "70-kensa.rules")) and device.is_this_machine:
        device.run("let udev read its rules", "udevadm", "control", "--reload")
    _environment(device, line, wheels)
    device.file(f"{ETC}/{station}.yaml", written.read_text())
    _units(device, station, line)
    if bundle is not None:
        _bundle(device, station, line, bundle)
    _start(device, station, line)


def _written(device: Device, station: str, line_file: Path | None) -> Path:
    """The configuration to go by: the device's own if there is one."""
    existing = device.at(f"{ETC}/{station}.yaml")
    if existing.is_file():
        return existing
    if line_file is None:
        raise ProvisionError(
            f"{ETC}/{station}.yaml is not there: give the first configuration with --line (deploy/lines has examples)"
        )
    return line_file


def _checked(file: Path, station: str) -> Line:
    line = load_line(file, Path(ETC))
    if line.station != station:
        raise ConfigError(f"{file}: station is {line.station}, expected {station}, the name given to `kensa provision`")
    if str(line.state) != f"{STATE}/{station}":
        raise ConfigError(f"{file}: state is {line.state}, on a device it is {STATE}/{station}")
    if line.bundle != pointer(line.state):
        raise ConfigError(
            f"{file}: bundle is {line.bundle}, on a device it is {pointer(line.state)}, which `kensa install` keeps"
        )
    return line


def _user(device: Device) -> None:
    device.file("/usr/lib/sysusers.d/kensa.conf", _shipped("sysusers", "kensa.conf"))
    known = device.at("/etc/passwd")
    if not known.is_file() or "\nkensa:" not in f"\n{known.read_text()}":
        device.run("make user kensa", "systemd-sysusers", f"--root={device.root.resolve()}", "kensa.conf")


def _environment(device: Device, line: Line, wheels: Path | None) -> None:
    """The device install, in an environment that nothing else uses; made again when what belongs in it has changed."""
    wanted = _requirement(line)
    files = sorted(f"{file.name} {file.stat().st_size}" for file in wheels.glob("*.whl")) if wheels else []
    mark = hashlib.sha256("\n".join([wanted, sys.version, *files, _shipped("device.txt")]).encode()).hexdigest() + "\n"
    marked = device.at(f"{PROGRAM}/.provisioned")
    if marked.is_file() and (marked.read_text() == mark or wheels is None):
        return
    environment = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels.resolve())} if wheels else {}
    place = str(device.at(PROGRAM))
    device.run(f"make the environment {PROGRAM}", sys.executable, "-m", "venv", "--without-pip", place)
    with resources.as_file(resources.files("deploy") / "device.txt") as constraints:
        pip = [sys.executable, "-m", "pip", "--python", place, "install", "--quiet", "--disable-pip-version-check"]
        device.run(f"install {wanted}", *pip, "-c", str(constraints), "--upgrade", wanted, environment=environment)
    device.file(f"{PROGRAM}/.provisioned", mark)


def _requirement(line: Line) -> str:
    """The device install with what this line's drivers need.

    Nothing but its parts: no compiler, no torch.
    """
    devices = [one for one in (line.trigger, line.ejector, line.confirm, line.permit, line.encoder, line.plc) if one is not None]
    extras = {_EXTRAS[name] for one in devices if (name := type(one).__module__.rpartition(".")[2]) in _EXTRAS}
    extras |= {"web"} if line.web else set()
    return f"kensa[{','.join(sorted(extras))}]" if extras else "kensa"


def _units(device: Device, station: str, line: Line) -> None:
    units = resources.files("deploy") / "systemd"
    changed = [
        device.file(f"{UNITS}/{unit.name}", unit.read_text()) for unit in sorted(units.iterdir(), key=lambda unit: unit.name)
    ]
    drop_ins = {"eject": eject_drop_in(line), "inspect": inspect_drop_in(line, f"{ETC}/credentials/{station}")}
    for role, text in drop_ins.items():
        changed.append(device.file(f"{UNITS}/kensa-{role}@{station}.service.d/station.conf", text))
    if any(changed) and device.is_this_machine:
        device.run("let systemd read its units", "systemctl", "daemon-reload")


def _bundle(device: Device, station: str, line: Line, source: Path) -> None:
    state = device.at(f"{STATE}/{station}")
    before = os.path.realpath(state / "bundles" / "active")
    if device.dry_run:
        print(f"would try {source} and make it the active bundle, unless it is")
        return
    try:
        slot = install(source, state, trial_on(dataclasses.replace(line, state=state)))
    except BundleError as e:
        raise ProvisionError(f"the bundle: {e}") from e
    if str(slot.bundle.resolve()) != before:
        device.changes.append("bundle")
        print(f"installed {source}: its golden images score here as at export")
    device.own(f"{STATE}/{station}", "kensa")


def _start(device: Device, station: str, line: Line) -> None:
    wanted = [("multi-user.target", f"kensa@{station}.target", "kensa@.target")]
    if line.web:
        wanted.append((f"kensa@{station}.target", f"kensa-web@{station}.service", "kensa-web@.service"))
    for by, instance, _ in wanted:
        if not device.at(f"{UNITS}/{by}.wants/{instance}").is_symlink():
            device.run(f"enable {instance}", "systemctl", f"--root={device.root.resolve()}", "enable", instance)
    if device.is_this_machine and not device.dry_run:
        if device.changes:
            device.run(f"start {station}", "systemctl", "restart", f"kensa@{station}.target")
        for finding in findings(Path(f"{ETC}/{station}.yaml")):
            if finding.health is not Health.OK:
                print(f"{finding.health.value}: {finding.name}: {finding.found} -> {finding.remedy}")


def _shipped(*names: str) -> str:
    return resources.files("deploy").joinpath(*names).read_text()
