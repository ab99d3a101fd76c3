"""The energy that this machine takes, as far as it tells: for `kensa bench`.

Two kinds of machines tell. Processors of Intel and AMD count the energy of package and memory (Linux's powercap, "RAPL"): what
the whole package takes, whoever makes it work, without disks, fans and power supply. Boards with INA sensors, such as NVIDIA's
Jetson, tell the power of their rails (Linux's hwmon); between two readings it is taken to change evenly.

Written from the kernel's documentation (power/powercap, hwmon/ina3221, hwmon/sysfs-interface) and tried with made-up trees of
files only: no machine that tells of its energy was at hand.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

SYSTEM = Path("/sys")
_WHOLE_INPUT = ("VDD_IN", "VIN", "POM_5V_IN")  # Jetson's rails that feed all others: added to these they would count twice


class NoEnergyError(Exception):
    """Nothing here tells of energy, or no longer; the message says why."""


@dataclass(frozen=True, slots=True)
class _Counter:
    """A zone of powercap: microjoules that begin anew at `range_uj`."""

    name: str
    file: Path
    range_uj: int


@dataclass(frozen=True, slots=True)
class _Rail:
    """What a sensor measures: microwatts, or millivolts times milliamperes."""

    name: str
    files: tuple[Path, ...]


class EnergyMeter:
    """Counts from its birth on; of: what is counted.

    To be asked more often than a counter begins anew: a large processor's after about ten minutes of full load.
    """

    def __init__(self, counters: tuple[_Counter, ...], rails: tuple[_Rail, ...], now_ns: int) -> None:
        self.of = ", ".join([counter.name for counter in counters] + [rail.name for rail in rails])
        self._counters = counters
        self._rails = rails
        self._last_uj = self._read_counters()
        self._last_watts, self._last_ns = self._read_rails(), now_ns
        self._joules = 0.0

    def joules(self, now_ns: int) -> float:
        """All since its birth. Raises NoEnergyError where a file is gone."""
        uj, watts = self._read_counters(), self._read_rails()
        pairs = zip(self._counters, uj, self._last_uj, strict=True)
        self._joules += sum((now - last) % counter.range_uj for counter, now, last in pairs) / 1e6
        self._joules += (watts + self._last_watts) / 2 * (now_ns - self._last_ns) / 1e9
        self._last_uj, self._last_watts, self._last_ns = uj, watts, now_ns
        return self._joules

    def _read_counters(self) -> list[int]:
        return [_number(counter.file) for counter in self._counters]

    def _read_rails(self) -> float:
        """Watts."""
        return sum(prod(map(_number, rail.files)) / 1e6 for rail in self._rails)


def energy_meter(now_ns: int, system: Path = SYSTEM) -> EnergyMeter:
    """Of this machine: its processors' counters, else its sensors. Raises NoEnergyError, also where only root may read them."""
    counters = tuple(_counters(system / "class/powercap"))
    rails = () if counters else _whole(list(_rails(system / "class/hwmon")))
    if not counters and not rails:
        raise NoEnergyError(f"{system / 'class'} has no powercap/intel-rapl and no hwmon with an INA sensor")
    return EnergyMeter(counters, rails, now_ns)


def _counters(powercap: Path) -> Iterator[_Counter]:
    """Packages and their memory. Their other zones are parts of the package, `psys` is more than the package."""
    for zone in sorted(powercap.glob("intel-rapl:*")):
        name = _text(zone / "name")
        if name.startswith("package") or name == "dram":
            yield _Counter(name, zone / "energy_uj", _number(zone / "max_energy_range_uj"))


def _rails(hwmon: Path) -> Iterator[_Rail]:
    """Of each INA sensor its power, or that of each of its channels."""
    for device in sorted(hwmon.glob("hwmon*")):
        chip = _name(device / "name", "")
        if not chip.startswith("ina"):
            continue
        if (power := device / "power1_input").exists():
            yield _Rail(_name(device / "power1_label", chip), (power,))
            continue
        for k in (1, 2, 3):
            files = (device / f"in{k}_input", device / f"curr{k}_input")
            if all(file.exists() for file in files):
                yield _Rail(_name(device / f"in{k}_label", f"{chip} {k}"), files)


def _whole(rails: list[_Rail]) -> tuple[_Rail, ...]:
    """The one that feeds all others, else all."""
    return tuple(rail for rail in rails if rail.name in _WHOLE_INPUT)[:1] or tuple(rails)


def _name(file: Path, otherwise: str) -> str:
    return _text(file) if file.exists() else otherwise


def _number(file: Path) -> int:
    content = _text(file)
    try:
        return int(content)
    except ValueError as e:
        raise NoEnergyError(f"{file}: expected a whole number, found {content[:20]!r}") from e


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except PermissionError as e:
        raise NoEnergyError(f"{file} may be read by root alone") from e
    except OSError as e:
        raise NoEnergyError(f"{file} cannot be read: {e.strerror}") from e
