"""`kensa doctor` names what is wrong, with a remedy; nothing needs to run for it."""

import base64
import hashlib
import json
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from broker import HOST, Broker, free_port, mosquitto
from certificates import Authority
from kensa_process import running
from line_file import write_line
from waiting import wait_until

from agent.clock import utc
from agent.commands.doctor import doctor_command, findings
from agent.commands.gate import gate
from agent.config import Line, load_line
from agent.doctor.finding import Finding, Health
from agent.doctor.line import check_broker, check_line
from agent.doctor.machine import check_machine, installed_once
from agent.sections import Login, Mqtt, Tls


def named(found: Iterator[Finding], name: str) -> Finding:
    """The first line of that name."""
    return next(one for one in found if one.name == name)


@pytest.fixture
def line(state: Path, small_bundle: Path, broker: Broker) -> Line:
    return load_line(write_line(state, small_bundle, port=broker.port))


# ---------------------------------------------------------------- the whole command


def test_a_device_without_a_line_is_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    doctor_command([])

    printed = capsys.readouterr().out
    assert {"versions", "opencv", "clock", "disk"} <= {row[6:].partition(":")[0] for row in printed.splitlines()}


def test_a_line_that_is_right_has_no_failure(line: Line) -> None:
    found = list(findings(line.file))

    assert [one for one in found if one.health is Health.FAIL] == []
    assert {"configuration", "rights", "model", "camera top", "inputs and outputs", "broker"} <= {one.name for one in found}


def test_each_failure_and_each_warning_has_a_remedy(state: Path, small_bundle: Path) -> None:
    file = write_line(state, small_bundle.with_name("nothing"), port=free_port())

    found = list(findings(file))

    assert [one.name for one in found if one.health is not Health.OK and not one.remedy] == []
    assert {one.name for one in found if one.health is Health.FAIL} == {"model", "broker"}


def test_for_programs_each_line_is_json_and_the_status_says_whether_anything_fails(
    line: Line, capsys: pytest.CaptureFixture[str]
) -> None:
    line.file.write_text("station: [")

    status = doctor_command([str(line.file), "--json"])

    rows: list[dict[str, Any]] = [json.loads(row) for row in capsys.readouterr().out.splitlines()]
    assert status == 1
    assert [row["name"] for row in rows if row["health"] == "fail"] == ["configuration"]


# ---------------------------------------------------------------- the broker, up and down


def test_a_broker_that_is_there(broker: Broker) -> None:
    assert check_broker(Mqtt(HOST, "plant", broker.port)).health is Health.OK


def test_a_broker_that_is_down(broker: Broker) -> None:
    broker.stop()

    found = check_broker(Mqtt(HOST, "plant", broker.port))

    assert (found.health, "not reached" in found.found) == (Health.FAIL, True)


def test_a_broker_whose_name_does_not_resolve() -> None:
    assert "does not resolve" in check_broker(Mqtt("nowhere.invalid", "plant")).found


def test_something_that_is_no_broker() -> None:
    with socket.create_server((HOST, 0)) as silent:
        found = check_broker(Mqtt(HOST, "plant", silent.getsockname()[1]), within_s=0.2)

    assert "is this an MQTT broker" in found.remedy


@pytest.fixture
def closed_broker(tmp_path: Path) -> Iterator[tuple[Broker, Path]]:
    """TLS, a password for user `station`, nobody else."""
    authority = Authority(tmp_path / "ca")
    own = authority.sign("broker")
    (tmp_path / "mosquitto").mkdir()
    passwords = tmp_path / "passwords"
    salt = b"twelve bytes"  # in the format of mosquitto_passwd: PBKDF2 with SHA-512
    hashed = hashlib.pbkdf2_hmac("sha512", b"right", salt, 101)
    passwords.write_text(f"station:$7$101${base64.b64encode(salt).decode()}${base64.b64encode(hashed).decode()}\n")
    passwords.chmod(0o644)
    settings = [
        f"cafile {authority.file}",
        f"certfile {own.file}",
        f"keyfile {own.key}",
        f"password_file {passwords}",
    ]
    with mosquitto(tmp_path / "mosquitto", settings=settings) as running_broker:
        yield running_broker, authority.file


def test_a_password_that_systemd_gives_to_the_station_alone_is_not_missed(broker: Broker) -> None:
    found = check_broker(Mqtt(HOST, "plant", broker.port, login=Login("press-3", credential="mqtt-password")))

    assert found.health is Health.OK
    assert "only the station knows" in found.found


@pytest.mark.parametrize(("password", "says"), [("right\n", "with TLS and login"), ("wrong\n", "refused")])
def test_a_login_is_taken_or_refused(closed_broker: tuple[Broker, Path], tmp_path: Path, password: str, says: str) -> None:
    broker, authority = closed_broker
    (tmp_path / "password").write_text(password)
    login = Login("station", password_file=str(tmp_path / "password"))

    found = check_broker(Mqtt(HOST, "plant", broker.port, tls=Tls(str(authority)), login=login))

    assert says in found.found
    assert password.strip() not in found.found + found.remedy


def test_a_brokers_certificate_that_will_soon_end_is_a_warning(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    now = utc()
    own = authority.sign("broker", valid=("20200101000000Z", f"{now + timedelta(days=12):%Y%m%d%H%M%SZ}"))
    (tmp_path / "mosquitto").mkdir()
    settings = [f"cafile {authority.file}", f"certfile {own.file}", f"keyfile {own.key}"]
    with mosquitto(tmp_path / "mosquitto", settings=settings) as soon:
        found = check_broker(Mqtt(HOST, "plant", soon.port, tls=Tls(str(authority.file))))

    assert found.health is Health.WARN
    assert "connected with TLS; its certificate holds until" in found.found
    assert "11 days more" in found.found
    assert "at the broker" in found.remedy


def test_a_certificate_of_somebody_else(closed_broker: tuple[Broker, Path], tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")

    found = check_broker(Mqtt(HOST, "plant", closed_broker[0].port, tls=Tls(str(other.file))))

    assert "certificate is not accepted" in found.found


def test_a_broker_without_tls_where_tls_is_asked_for(broker: Broker, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")

    found = check_broker(Mqtt(HOST, "plant", broker.port, tls=Tls(str(authority.file))))

    assert found.health is Health.FAIL


# ---------------------------------------------------------------- the machine


def test_two_packages_of_opencv_are_a_failure_with_the_way_out() -> None:
    both = {"opencv-python": "4.10", "opencv-python-headless": "4.10"}

    found = installed_once("opencv", tuple(both), both, "opencv-python-headless")

    assert found.health is Health.FAIL
    assert "pip uninstall opencv-python;" in found.remedy


@pytest.mark.parametrize(("milli", "health"), [("45000", Health.OK), ("85000", Health.WARN), ("99000", Health.FAIL)])
def test_heat_is_told_before_it_slows_the_device_down(tmp_path: Path, milli: str, health: Health) -> None:
    zone = tmp_path / "sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "temp").write_text(milli)

    assert named(check_machine(tmp_path, root=tmp_path), "temperature").health is health


def test_a_gpu_that_no_runtime_can_use_is_a_silent_fall_back_that_is_told(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidia0").touch()

    found = named(check_machine(tmp_path, root=tmp_path), "accelerator")

    assert (found.health, "run on the processor" in found.found) == (Health.WARN, True)


# ---------------------------------------------------------------- a line


def test_a_camera_that_is_not_there_is_named(line: Line) -> None:
    [photograph.unlink() for photograph in (line.state.parent / "photographs").iterdir()]

    assert named(check_line(line), "camera top").health is Health.FAIL


def test_the_cameras_of_every_recipe_are_looked_at_each_with_each_of_its_settings(line: Line) -> None:
    recipes = "recipes:\n  1: {name: lids}\n  2: {name: caps, cameras: {top: {path: nowhere}}}\n  3: {name: cans}\n"
    side = "  side: {type: folder, path: photographs}\n"
    line.file.write_text(line.file.read_text().replace("trigger:", f"{side}trigger:", 1) + recipes)

    found = [one for one in check_line(load_line(line.file)) if one.name.startswith("camera ")]

    assert [(one.name, one.found.partition(" is not")[0], one.health) for one in found] == [
        ("camera top", "recipe 1 (lids), 3 (cans): opened", Health.OK),
        ("camera side", "opened", Health.OK),
        ("camera top", f"recipe 2 (caps): {line.file.parent / 'nowhere'}", Health.FAIL),
    ]


def test_a_password_that_others_can_read_is_told(line: Line, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("right")
    secret.chmod(0o644)
    line.file.write_text(line.file.read_text().replace("topic:", f"login: {{user: a, password_file: {secret}}}, topic:"))

    found = [one for one in check_line(load_line(line.file)) if one.name == "rights" and one.health is Health.WARN]

    assert [one.remedy for one in found] == [f"chmod 600 {secret}"]


def test_a_running_gate_is_asked_and_left_alone(line: Line, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running("-m", "kensa", "eject", str(line.file), log_file=tmp_path / "log") as ejector:
        wait_until(lambda: "ejector ready" in ejector.messages(), 20)

        found = named(check_line(line), "inputs and outputs")

        assert gate([str(line.file)]) == 0
    assert (found.health, found.found) == (Health.OK, "asked of the running gate")
