"""What can be tested of the containers without an engine: the broker's configuration in a real mosquitto, files that belong
together, and images that run as nobody in particular."""

import base64
import hashlib
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
import yaml
from broker import HOST, find_mosquitto, free_port
from certificates import Authority
from paho.mqtt.enums import CallbackAPIVersion
from waiting import wait_until

from agent.doctor.finding import Health
from agent.doctor.line import check_broker
from agent.sections import Login, Mqtt, Tls

FOLDER = Path(__file__).parents[2] / "deploy" / "containers"
DOCKERFILES = sorted(FOLDER.glob("Dockerfile.*"))
USERS = {"press-3": "three", "press-4": "four", "collector": "all"}


def hashed(password: str) -> str:
    salt = b"twelve bytes"  # in the format of mosquitto_passwd: PBKDF2 with SHA-512
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    return f"$7$101${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The shipped mosquitto.conf with its paths led here; port, and the authority's file."""
    program = find_mosquitto()
    if program is None:
        pytest.skip("needs mosquitto (Debian: apt install mosquitto); not on PATH nor in /usr/sbin")
    folder = tmp_path_factory.mktemp("plant")
    authority = Authority(folder / "ca")
    own = authority.sign("broker")
    port = free_port()
    (folder / "passwords").write_text("".join(f"{user}:{hashed(password)}\n" for user, password in USERS.items()))
    (folder / "data").mkdir()
    led = {
        "/mosquitto/secrets/ca.pem": authority.file,
        "/mosquitto/secrets/broker.pem": own.file,
        "/mosquitto/secrets/broker.key": own.key,
        "/mosquitto/secrets/passwords": folder / "passwords",
        "/mosquitto/config/mosquitto.acl": FOLDER / "mosquitto.acl",
        "/mosquitto/data/": f"{folder / 'data'}/",
        "listener 8883": f"listener {port} {HOST}\nuser root",
    }
    text = re.sub("|".join(map(re.escape, led)), lambda found: str(led[found[0]]), (FOLDER / "mosquitto.conf").read_text())
    (folder / "mosquitto.conf").write_text(text)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "-c", str(folder / "mosquitto.conf")], stderr=log)
    try:
        wait_until(lambda: b"running" in (folder / "log").read_bytes(), 20)
        yield port, authority.file
    finally:
        process.terminate()
        process.wait(10)


def client(plant: tuple[int, Path], user: str) -> paho.Client:
    made = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"test-{user}")
    made.tls_set(ca_certs=str(plant[1]))
    made.username_pw_set(user, USERS[user])
    made.connect(HOST, plant[0])
    made.loop_start()
    return made


def test_the_broker_takes_a_station_with_tls_and_password(plant: tuple[int, Path], tmp_path: Path) -> None:
    (tmp_path / "password").write_text("three")
    login = Login("press-3", password_file=str(tmp_path / "password"))

    found = check_broker(Mqtt(HOST, "plant/hall/press-3", plant[0], tls=Tls(str(plant[1])), login=login))

    assert (found.health, "connected with TLS and login" in found.found) == (Health.OK, True)


@pytest.mark.parametrize("with_tls", [True, False], ids=["nobody's name", "plain text"])
def test_the_broker_takes_nobody_without_password_and_nothing_in_plain_text(plant: tuple[int, Path], with_tls: bool) -> None:
    tls = Tls(str(plant[1])) if with_tls else None

    found = check_broker(Mqtt(HOST, "plant/hall/press-3", plant[0], tls=tls), within_s=2)

    assert found.health is Health.FAIL


def test_a_station_publishes_below_its_own_topic_and_nowhere_else(plant: tuple[int, Path]) -> None:
    heard: list[str] = []
    subscribed = threading.Event()
    collector, station = client(plant, "collector"), client(plant, "press-3")
    collector.on_message = lambda _client, _data, message: heard.append(message.topic)
    collector.on_subscribe = lambda *_: subscribed.set()
    collector.subscribe("#", qos=1)
    assert subscribed.wait(20)

    station.publish("plant/hall/press-4/result/pass", "forged", qos=1).wait_for_publish(20)
    station.publish("plant/hall/press-3/result/pass", "own", qos=1).wait_for_publish(20)
    wait_until(lambda: heard, 20)

    assert heard == ["plant/hall/press-3/result/pass"]
    [one.disconnect() for one in (collector, station)]
    [one.loop_stop() for one in (collector, station)]


def test_what_the_compose_file_mounts_is_there_or_is_said_to_be_made() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    compose = yaml.safe_load(text)
    mounted = {volume.split(":")[0] for one in compose["services"].values() for volume in one.get("volumes", [])}
    files = {name.removeprefix("./") for name in mounted if name.startswith("./")}

    assert {name for name in files if not (FOLDER / name).exists()} == {"line.yaml", "secrets"}
    assert all(f"{name}" in text.split("\nname:")[0] for name in ("line.yaml", "secrets/ca.pem", "secrets/passwords"))


@pytest.mark.parametrize("service", ["eject", "inspect", "web", "broker"])
def test_each_container_is_restarted_and_may_do_little(service: str) -> None:
    one = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"][service]

    assert (one["restart"], one["read_only"], one["cap_drop"]) == ("always", True, ["ALL"])
    assert one["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_each_image_runs_as_a_user_and_copies_what_exists(file: Path) -> None:
    text = file.read_text()
    copied = [name for row in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for name in row.split()]
    missing = {name for name in copied if not (FOLDER.parents[1] / name).exists()}

    assert re.findall(r"^USER (\w+)$", text, re.MULTILINE) == ["10001"]
    assert missing <= {"wheels"}
    assert ":latest" not in text


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_hadolint_finds_nothing(file: Path) -> None:
    linted = subprocess.run([Path(sys.executable).with_name("hadolint"), file], capture_output=True, text=True)

    assert (linted.returncode, linted.stdout) == (0, "")
