"""Trees of files as the kernel's documentation describes them, made up: no machine here tells of its energy."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from agent.energy import NoEnergyError, energy_meter

S = 1_000_000_000
RANGE_UJ = 262_143_328_850  # of a usual package
RAPL = {
    "intel-rapl:0/name": "package-0",
    "intel-rapl:0/energy_uj": "1000000",
    "intel-rapl:0/max_energy_range_uj": str(RANGE_UJ),
    "intel-rapl:0:0/name": "core",
    "intel-rapl:0:0/energy_uj": "1000",
    "intel-rapl:0:0/max_energy_range_uj": str(RANGE_UJ),
    "intel-rapl:0:1/name": "dram",
    "intel-rapl:0:1/energy_uj": "0",
    "intel-rapl:0:1/max_energy_range_uj": "65712999613",
    "intel-rapl:1/name": "psys",
    "intel-rapl:1/energy_uj": "0",
    "intel-rapl:1/max_energy_range_uj": str(RANGE_UJ),
    "intel-rapl-mmio:0/name": "package-0",
    "intel-rapl-mmio:0/energy_uj": "0",
    "intel-rapl-mmio:0/max_energy_range_uj": str(RANGE_UJ),
}
ORIN_NANO = {
    "hwmon0/name": "pwmfan",
    "hwmon3/name": "ina3221",
    "hwmon3/in1_label": "VDD_IN",
    "hwmon3/in1_input": "5000",
    "hwmon3/curr1_input": "1000",
    "hwmon3/in2_label": "VDD_CPU_GPU_CV",
    "hwmon3/in2_input": "5000",
    "hwmon3/curr2_input": "400",
    "hwmon3/in7_label": "sum of shunt voltages",
    "hwmon3/in7_input": "3",
}
AGX_ORIN = {
    "hwmon3/name": "ina3221",
    "hwmon3/in1_label": "VDD_GPU_SOC",
    "hwmon3/in1_input": "20000",
    "hwmon3/curr1_input": "150",
    "hwmon3/in3_label": "VIN_SYS_5V0",
    "hwmon3/in3_input": "5000",
    "hwmon3/curr3_input": "400",
}
INA226 = {"hwmon1/name": "ina226", "hwmon1/power1_input": "7500000", "hwmon1/in1_input": "12000", "hwmon1/curr1_input": "625"}


def written(folder: Path, files: Mapping[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{content}\n")


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    written(tmp_path / "class/powercap", RAPL)
    return tmp_path / "class/powercap"


def test_package_and_memory_are_counted_and_their_parts_not_twice(tmp_path: Path, powercap: Path) -> None:
    meter = energy_meter(0, tmp_path)

    written(powercap, {"intel-rapl:0/energy_uj": "4000000", "intel-rapl:0:1/energy_uj": "500000"})
    written(powercap, {"intel-rapl:0:0/energy_uj": "900000", "intel-rapl:1/energy_uj": "9000000"})

    assert (meter.of, meter.joules(S)) == ("package-0, dram", 3.5)


def test_a_counter_that_begins_anew_goes_on_counting(tmp_path: Path, powercap: Path) -> None:
    written(powercap, {"intel-rapl:0/energy_uj": str(RANGE_UJ - 2_000_000)})
    meter = energy_meter(0, tmp_path)

    written(powercap, {"intel-rapl:0/energy_uj": "1000000"})
    once = meter.joules(S)
    written(powercap, {"intel-rapl:0/energy_uj": "500000"})

    assert once == 3.0
    assert meter.joules(2 * S) == pytest.approx(3.0 + RANGE_UJ / 1e6 - 0.5)  # rounding of a sum of floats


@pytest.mark.parametrize(
    ("files", "of", "joules"),
    [(ORIN_NANO, "VDD_IN", 10.0), (AGX_ORIN, "VDD_GPU_SOC, VIN_SYS_5V0", 10.0), (INA226, "ina226", 15.0)],
    ids=["a rail that feeds the others", "rails beside each other", "power itself"],
)
def test_what_a_sensor_shows_is_integrated_over_time(tmp_path: Path, files: dict[str, str], of: str, joules: float) -> None:
    written(tmp_path / "class/hwmon", files)

    meter = energy_meter(5 * S, tmp_path)

    assert (meter.of, meter.joules(7 * S)) == (of, joules)


def test_power_that_changes_is_taken_to_do_so_evenly(tmp_path: Path) -> None:
    written(tmp_path / "class/hwmon", ORIN_NANO)
    meter = energy_meter(0, tmp_path)

    written(tmp_path / "class/hwmon", {"hwmon3/curr1_input": "3000"})
    rising = meter.joules(S)

    assert (rising, meter.joules(2 * S)) == (10.0, 25.0)


def test_the_counters_go_before_the_sensors(tmp_path: Path, powercap: Path) -> None:
    written(tmp_path / "class/hwmon", INA226)

    assert energy_meter(0, tmp_path).of == "package-0, dram"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "has no powercap/intel-rapl and no hwmon with an INA sensor"),
        ({"hwmon/hwmon0/name": "coretemp", "hwmon/hwmon0/in1_input": "1"}, "no hwmon with an INA sensor"),
        ({"powercap/intel-rapl:0/name": "package-0"}, "max_energy_range_uj cannot be read: No such file"),
        ({f"powercap/{name}": content for name, content in RAPL.items()} | {"powercap/intel-rapl:0/energy_uj": "much"}, "'much'"),
    ],
    ids=["nothing", "another sensor", "a zone without its range", "no number"],
)
def test_a_machine_that_does_not_tell_is_one_with_a_reason(tmp_path: Path, files: dict[str, str], says: str) -> None:
    written(tmp_path / "class", files)

    with pytest.raises(NoEnergyError, match=says):
        energy_meter(0, tmp_path)


def test_a_sensor_that_goes_away_is_one_with_a_reason(tmp_path: Path) -> None:
    written(tmp_path / "class/hwmon", INA226)
    meter = energy_meter(0, tmp_path)

    (tmp_path / "class/hwmon/hwmon1/power1_input").unlink()

    with pytest.raises(NoEnergyError, match="power1_input cannot be read: No such file"):
        meter.joules(S)
