"""`kensa provision`: from a bare machine to a supervised station; done a second time, it changes nothing."""

import argparse
import dataclasses
import hashlib
import os
import subprocess
import sys
from importlib import metadata, resources
from pathlib import Path

import msgspec

from agent.bundle import BundleError, sha256
from agent.commands.install import trial_on
from agent.config import Line, load_line
from agent.doctor.finding import Finding, Health
from agent.drivers import ConfigError
from agent.sections import Name
from agent.serving.slots import install, pointer
from deploy.device import Device, ProvisionError
from deploy.drop_in import eject_drop_in, inspect_drop_in, web_drop_in
from deploy.removal import factory_reset, uninstall
from deploy.wheelhouse import EXTRAS, HOW_MADE, Wheelhouse, open_wheelhouse, python_version

ETC, STATE, PROGRAM, UNITS = "/etc/kensa", "/var/lib/kensa", "/opt/kensa", "/etc/systemd/system"
_HIDDEN = (Path("/", "home"), Path("/", "root"), Path("/", "run", "user"))  # from every unit, by ProtectHome=yes
_DEVICES = ("gpio", "video4linux", "usb")  # of deploy/udev
_EXAMPLE = Path(__file__).parent / "lines" / "station.yaml"


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
    parser.add_argument("--wheels", type=Path, help="folder of `make wheelhouse`; needed where programs are to be installed")
    parser.add_argument("--root", type=Path, default=Path("/"), help="a folder that stands for the device's file system")
    parser.add_argument("--dry-run", action="store_true", help="say what would be changed, change nothing")
    parser.add_argument("--uninstall", action="store_true", help="remove programs and units; data and configuration stay")
    parser.add_argument("--factory-reset", action="store_true", help="wipe keys, images, events and configuration of the station")
    chosen = parser.parse_args(arguments)
    device = Device(chosen.root, chosen.dry_run)
    os.umask(0o022)  # a hardened root's would keep the environment from the user that runs it
    try:
        msgspec.convert(chosen.station, Name)
    except msgspec.ValidationError:
        parser.error(f"station {chosen.station!r}: expected a name such as press-3: letters, digits, - . _")
    if device.is_this_machine and os.geteuid() != 0 and not chosen.dry_run:
        raise ProvisionError("a device is provisioned by root: sudo kensa provision ...")
    if chosen.factory_reset:
        factory_reset(device, chosen.station)
    if chosen.uninstall:
        uninstall(device, chosen.station)
    if not (chosen.uninstall or chosen.factory_reset):
        provision(device, chosen.station, chosen.line, chosen.bundle, chosen.wheels)
    print(f"{len(device.changes)} changes" if device.changes else "nothing to change")
    return 0


def provision(device: Device, station: str, line_file: Path | None, bundle: Path | None, wheels: Path | None) -> None:
    """Each step looks first; what was done before a failure is not done again. Raises ProvisionError, ConfigError."""
    written = _written(device, station, line_file)
    line = _checked(written, station)
    if bundle is not None and not bundle.is_dir():
        raise ProvisionError(f"{bundle}: no folder, expected a bundle (--bundle)")
    environment = _environment(device, wheels)
    if environment.source is not None:
        environment.source.refuse_unfit()
    _user(device)
    device.directory(ETC, 0o755)
    device.directory(f"{ETC}/credentials", 0o700)
    device.directory(f"{ETC}/credentials/{station}", 0o700)
    device.directory(STATE, 0o755)
    device.directory(f"{STATE}/{station}", 0o700, "kensa")
    if device.file("/etc/udev/rules.d/70-kensa.rules", _shipped("udev", "70-kensa.rules")) and device.is_this_machine:
        device.run("let udev read its rules", "udevadm", "control", "--reload")
        device.run("give devices that are there to the groups", "udevadm", "trigger", *(f"-s{kind}" for kind in _DEVICES))
    _install(device, environment)
    device.file(f"{ETC}/{station}.yaml", written.read_text())
    _units(device, station, line)
    if bundle is not None:
        _bundle(device, station, line, bundle)
    _start(device, station, line)


def _written(device: Device, station: str, line_file: Path | None) -> Path:
    """The configuration to go by: the device's own if there is one."""
    existing = device.at(f"{ETC}/{station}.yaml")
    if line_file is not None and not line_file.is_file():
        raise ProvisionError(f"{line_file}: no such file, expected the station's configuration (--line)")
    if existing.is_file():
        if line_file is not None and line_file.read_bytes() != existing.read_bytes():
            print(f"not taken over: {line_file}; {ETC}/{station}.yaml is there and stays. Edit that one, then do this again")
        return existing
    if line_file is None:
        raise ProvisionError(f"{ETC}/{station}.yaml is not there: give the first configuration with --line (example: {_EXAMPLE})")
    return line_file


def _checked(file: Path, station: str) -> Line:
    line = load_line(file, Path(ETC))
    state = Path(STATE, station)
    wrong = []
    if line.station != station:
        wrong.append(f"station is {line.station}, expected {station}, the name given to `kensa provision`")
    if line.state != state:
        wrong.append(f"state is {line.state}, on a device it is {state}")
    if line.bundle != pointer(state):
        wrong.append(f"bundle is {line.bundle}, on a device it is {pointer(state)}, which `kensa install` keeps")
    if wrong:
        raise ConfigError(f"{file}: {'; '.join(wrong)} (example: {_EXAMPLE})")
    return line


def _user(device: Device) -> None:
    device.file("/usr/lib/sysusers.d/kensa.conf", _shipped("sysusers", "kensa.conf"))
    known = device.at("/etc/passwd")
    if not known.is_file() or "\nkensa:" not in f"\n{known.read_text()}":
        device.run("make user kensa", "systemd-sysusers", f"--root={device.root.resolve()}", "kensa.conf")


@dataclasses.dataclass(frozen=True)
class _Environment:
    """The device install, in an environment that nothing else uses: another one when what belongs in it has changed.

    before: the one that runs, empty without. source: None where that is the right one.
    """

    name: str
    before: str
    source: Wheelhouse | None


def _environment(device: Device, wheels: Path | None) -> _Environment:
    """Changes nothing. Raises ProvisionError where one is needed that cannot be made."""
    if device.is_this_machine and any(Path(sys.base_prefix).is_relative_to(hidden) for hidden in _HIDDEN):
        raise ProvisionError(f"the station's user cannot see the Python in {sys.base_prefix}: run this with the system's own")
    kind = _short([EXTRAS, python_version(), metadata.version("kensa"), _shipped("device.txt")])
    here = device.at(PROGRAM)
    before = here.readlink().name if here.is_symlink() else ""
    if wheels is None and before.startswith(f"{kind}-"):
        return _Environment(before, before, None)
    if wheels is None:
        found = "those of another version are installed" if before else "none are installed"
        raise ProvisionError(
            f"{found}, and programs come from a folder of wheels, never from an index, where the name kensa is a stranger's: "
            f"give it with --wheels; {HOW_MADE}"
        )
    source = open_wheelhouse(wheels)
    name = f"{kind}-{_short([f'{wheel.name} {sha256(wheel)}' for wheel in source.wheels])}"
    return _Environment(name, before, None if name == before else source)


def _install(device: Device, environment: _Environment) -> None:
    """Made beside the one that runs, and named by one link once it is whole: a cut power leaves the old one or the new one.

    The one before stays until the next: other stations of this device run from it until they are started again.
    """
    if environment.source is None:
        return
    name = environment.name
    device.remove(f"{PROGRAM}.d/{name}")  # one that was cut off
    place = device.at(f"{PROGRAM}.d/{name}")
    device.run(f"make the environment {PROGRAM}.d/{name}", sys.executable, "-m", "venv", "--without-pip", str(place))
    device.run(f"install {environment.source.kensa.name}", *environment.source.installation(place))
    device.link(PROGRAM, f"{Path(PROGRAM).name}.d/{name}")
    for other in sorted(device.at(f"{PROGRAM}.d").glob("*")):
        if other.name not in {name, environment.before}:
            device.remove(f"{PROGRAM}.d/{other.name}")


def _short(content: list[str]) -> str:
    return hashlib.sha256("\n".join(content).encode()).hexdigest()[:8]


def _units(device: Device, station: str, line: Line) -> None:
    units = resources.files("deploy") / "systemd"
    changed = [
        device.file(f"{UNITS}/{unit.name}", unit.read_text()) for unit in sorted(units.iterdir(), key=lambda unit: unit.name)
    ]
    credentials = f"{ETC}/credentials/{station}"
    drop_ins = {"eject": eject_drop_in(line), "inspect": inspect_drop_in(line, credentials), "web": web_drop_in(line)}
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
    finally:
        device.own(f"{STATE}/{station}", "kensa")
    if str(slot.bundle.resolve()) != before:
        device.changes.append("bundle")
        print(f"installed {source}: its golden images score here as at export")


def _start(device: Device, station: str, line: Line) -> None:
    """The station, and its page if it has one; when this returns they are ready. Then what is wrong with the device is told."""
    target, web = f"kensa@{station}.target", f"kensa-web@{station}.service"
    wanted = {("multi-user.target", target): True, (target, web): line.web is not None}
    for (by, instance), is_wanted in wanted.items():
        if device.at(f"{UNITS}/{by}.wants/{instance}").is_symlink() is not is_wanted:
            verb = "enable" if is_wanted else "disable"
            device.run(f"{verb} {instance}", "systemctl", f"--root={device.root.resolve()}", verb, instance)
            if device.is_this_machine and not is_wanted:
                device.run(f"stop {instance}", "systemctl", "stop", instance)
    if device.is_this_machine and not device.dry_run:
        _password_is_there(device, station, line)
        if device.changes:
            device.run(f"start {station}", "systemctl", "restart", target)
        units = (f"kensa-eject@{station}.service", f"kensa-inspect@{station}.service")
        if not all(map(_is_active, units)):
            device.run(f"wait until {station} is ready", "systemctl", "start", target, *units)
        _tell_what_is_wrong(f"{ETC}/{station}.yaml")


def _password_is_there(device: Device, station: str, line: Line) -> None:
    """Raises ProvisionError: systemd would start no inspection without it."""
    if line.mqtt.login is not None and (name := line.mqtt.login.credential) is not None:
        file = f"{ETC}/credentials/{station}/{name}"
        if not device.at(file).is_file():
            raise ProvisionError(f"{file} is not there: write the broker's password into it (mode 600), then do this again")


def _is_active(unit: str) -> bool:
    return subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode == 0


def _tell_what_is_wrong(line_file: str) -> None:
    """As the station's user sees it, with the programs that run."""
    doctor = subprocess.run([f"{PROGRAM}/bin/kensa", "doctor", "--json", line_file], stdout=subprocess.PIPE, check=False)
    for told in doctor.stdout.splitlines():
        finding = msgspec.json.decode(told, type=Finding)
        if finding.health is not Health.OK:
            print(f"{finding.health.value}: {finding.name}: {finding.found} -> {finding.remedy}")


def _shipped(*names: str) -> str:
    return resources.files("deploy").joinpath(*names).read_text()
