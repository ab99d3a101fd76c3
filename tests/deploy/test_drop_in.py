"""What a line needs beyond its closed units, and nothing more."""

import subprocess
from pathlib import Path

import pytest

from agent.config import load_line
from deploy.drop_in import eject_drop_in, inspect_drop_in, web_drop_in

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
MODBUS = "ejector: {type: modbus, host: 10.0.0.9, coil: 3}"
GPIO = "ejector: {type: gpio, chip: /dev/gpiochip1, line: 4}"
SERVER = "ejector: {type: dryrun}\nplc: {type: modbus_server, host: 10.0.0.2}"
MAY_LISTEN = ["CapabilityBoundingSet=CAP_NET_BIND_SERVICE", "AmbientCapabilities=CAP_NET_BIND_SERVICE"]


def changed(file: Path, old: str, new: str) -> Path:
    file.write_text(file.read_text().replace(old, new))
    return file


def settings(text: str) -> list[str]:
    return [row for row in text.splitlines() if row and not row.startswith(("#", "["))]


def test_a_dry_run_gate_needs_nothing(line_file: Path) -> None:
    assert settings(eject_drop_in(load_line(line_file))) == []


def test_a_gate_on_modbus_may_speak_to_its_controller_and_to_nobody_else(line_file: Path) -> None:
    line = load_line(changed(line_file, "ejector: {type: dryrun}", MODBUS))

    assert settings(eject_drop_in(line)) == [
        "PrivateNetwork=no",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
        "IPAddressAllow=localhost 10.0.0.9",
    ]


def test_a_gate_on_gpio_may_open_its_chip(line_file: Path) -> None:
    line = load_line(changed(line_file, "ejector: {type: dryrun}", GPIO))

    assert settings(eject_drop_in(line)) == ["DeviceAllow=/dev/gpiochip1 rw"]


def test_a_gate_that_a_plc_calls_may_listen_on_its_port_and_hears_whoever_calls(line_file: Path) -> None:
    """The address in the line's file is the machine's own: to allow that one alone would shut the PLC out."""
    line = load_line(changed(line_file, "ejector: {type: dryrun}", SERVER))

    assert settings(eject_drop_in(line)) == [
        "PrivateNetwork=no",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
        "IPAddressDeny=",
        *MAY_LISTEN,
        "PrivateDevices=yes",
    ]


def test_a_belt_that_needs_two_minutes_to_its_gate_is_waited_for_when_the_station_stops(line_file: Path) -> None:
    """The units' own waits would kill a gate whose parts are still on the way, with their rejects due."""
    line = load_line(changed(line_file, "travel_ms: 600", "travel_ms: 120000, lead_ms: 50"))

    assert settings(eject_drop_in(line)) == ["TimeoutStopSec=135"]
    assert settings(inspect_drop_in(line, "/c"))[-3:] == [
        "ExecStop=",
        "ExecStop=-/usr/bin/timeout 135 /usr/bin/flock /var/lib/kensa/%i/eject.lock /bin/true",
        "TimeoutStopSec=165",
    ]


@pytest.mark.parametrize(("travel_ms", "longer"), [(75_000, False), (75_001, True)])
def test_what_the_units_wait_for_anyway_is_not_written_again(line_file: Path, travel_ms: int, *, longer: bool) -> None:
    line = load_line(changed(line_file, "travel_ms: 600", f"travel_ms: {travel_ms}, lead_ms: 50"))

    assert "TimeoutStopSec=90" in (UNITS / "kensa-eject@.service").read_text()
    assert ("TimeoutStopSec" in eject_drop_in(line)) is longer


@pytest.mark.parametrize(("port", "added"), [(8080, []), (443, MAY_LISTEN)], ids=["open to all", "of root"])
def test_a_page_may_have_a_port_of_root(line_file: Path, port: int, added: list[str]) -> None:
    line = load_line(changed(line_file, "station: press-3", f"station: press-3\nweb: {{port: {port}}}"))

    assert settings(web_drop_in(line)) == added


def test_an_inspection_on_the_processor_has_its_broker_and_its_password(line_file: Path) -> None:
    assert settings(inspect_drop_in(load_line(line_file), "/etc/kensa/credentials/press-3")) == [
        "IPAddressAllow=localhost 10.0.0.7",
        "LoadCredential=mqtt-password:/etc/kensa/credentials/press-3/mqtt-password",
    ]


def test_a_broker_with_a_name_has_no_address_that_could_be_listed(line_file: Path) -> None:
    line = load_line(changed(line_file, "10.0.0.7", "broker.plant"))

    assert "IPAddressDeny=" in settings(inspect_drop_in(line, "/c"))


def test_an_accelerator_is_opened_for_a_line_that_computes_on_it(line_file: Path) -> None:
    line = load_line(changed(line_file, "{type: onnxruntime}", "{type: openvino, device: GPU}"))

    assert "DeviceAllow=char-drm rw" in settings(inspect_drop_in(line, "/c"))


@pytest.mark.parametrize(
    ("role", "old", "new"),
    [
        ("eject", "ejector: {type: dryrun}", MODBUS),
        ("eject", "ejector: {type: dryrun}", GPIO),
        ("eject", "ejector: {type: dryrun}", SERVER),
        ("web", "station: press-3", "station: press-3\nweb: {port: 443}"),
        ("inspect", "{type: onnxruntime}", "{type: openvino, device: GPU}"),
        ("inspect", "{type: folder, path: ", "{type: genicam, camera: "),
    ],
    ids=["modbus", "gpio", "modbus server", "page on root's port", "accelerator", "GigE camera"],
)
def test_a_unit_with_what_a_line_adds_is_still_exposed_to_no_more_than_2_0(
    tmp_path: Path, line_file: Path, role: str, old: str, new: str
) -> None:
    line = load_line(changed(line_file, old, new))
    added = {"eject": eject_drop_in(line), "inspect": inspect_drop_in(line, "/c"), "web": web_drop_in(line)}[role]
    unit = tmp_path / f"kensa-{role}.service"
    unit.write_text((UNITS / f"kensa-{role}@.service").read_text().replace("%i", "press-3") + "\n" + added)

    audit = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(unit)], capture_output=True, text=True
    )

    assert audit.returncode == 0, audit.stdout.splitlines()[-1]
