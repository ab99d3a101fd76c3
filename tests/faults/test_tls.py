"""Fault N8: certificates that are not what they should be. Nothing is ever said in plain text instead."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from broker import mosquitto
from certificates import Authority, Certificate
from kensa_process import running
from proxy import proxy
from small_station import Notes, publisher_to, put
from waiting import wait_until

from agent.broker.session import BrokerLostError, Session
from agent.events.outbox import Outbox
from agent.sections import Mqtt, Tls

HANDSHAKE = b"\x16\x03"  # how a client begins TLS

PUBLISHES_WITH_TLS = """
import logging, sys, threading
from pathlib import Path
from agent.sections import Mqtt, Tls
from agent.broker.mqtt import Publisher
from agent.events.outbox import Outbox
logging.basicConfig(level=logging.INFO)
with Outbox(Path(sys.argv[1])) as outbox:
    with Publisher(Mqtt("127.0.0.1", "plant/press-3", int(sys.argv[2]), tls=Tls(sys.argv[3])), "press-3", outbox, {}):
        threading.Event().wait(60)
"""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@contextmanager
def tls_broker(folder: Path, authority: Authority, own: Certificate, *settings: str) -> Iterator[int]:
    """Its port. The certificate is `own`; clients' certificates are the authority's."""
    folder.mkdir()
    files = [f"cafile {authority.file}", f"certfile {own.file}", f"keyfile {own.key}"]
    with mosquitto(folder, settings=[*files, *settings]) as broker:
        yield broker.port


def session(port: int, tls: Tls) -> Session:
    return Session(Mqtt("127.0.0.1", "plant/press-3", port, tls=tls), "press-3", paho.MQTTv5)


def test_n8_a_good_certificate_is_accepted_and_all_is_encrypted(tmp_path: Path, authority: Authority) -> None:
    with tls_broker(tmp_path / "broker", authority, authority.sign("server")) as port, proxy(port) as network:
        with session(network.port, Tls(str(authority.file))) as opened:
            opened.check()
            opened.say("state", {"state": "online"}, wait_s=10)

        assert network.sent.startswith(HANDSHAKE)
        assert b"plant" not in network.sent


@pytest.mark.parametrize(
    ("holder", "valid", "message"),
    [
        ("IP:127.0.0.1", ("20200101000000Z", "20210101000000Z"), r"expired, or this machine's clock \(20.*\) is wrong"),
        ("IP:127.0.0.1", ("20980101000000Z", "20990101000000Z"), r"not valid yet, or this machine's clock \(20.*\) is wrong"),
        ("IP:127.0.0.9", ("20200101000000Z", "20990101000000Z"), "IP address mismatch, certificate is not valid for '127.0.0.1'"),
    ],
    ids=["expired", "not yet valid", "of another host"],
)
def test_n8_a_certificate_that_is_not_right_is_refused_and_nothing_said_in_plain_text(
    tmp_path: Path, authority: Authority, holder: str, valid: tuple[str, str], message: str
) -> None:
    own = authority.sign("server", holder, valid)
    with tls_broker(tmp_path / "broker", authority, own) as port, proxy(port) as network:
        with pytest.raises(BrokerLostError, match=message):
            session(network.port, Tls(str(authority.file)))

        assert network.sent.startswith(HANDSHAKE)
        assert b"MQTT" not in network.sent


def test_n8_a_broker_without_tls_gets_no_plain_text_from_a_station_that_expects_it(tmp_path: Path, authority: Authority) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    with mosquitto(folder) as broker, proxy(broker.port) as network:
        with pytest.raises(BrokerLostError, match="cannot connect"):
            session(network.port, Tls(str(authority.file)))

        assert network.sent.startswith(HANDSHAKE)
        assert b"MQTT" not in network.sent


def test_n8_an_authority_that_was_changed_is_taken_up_at_the_next_connection(
    tmp_path: Path, authority: Authority, outbox: Outbox, notes: Notes
) -> None:
    new = Authority(tmp_path / "new")
    trusted = Path(shutil.copy(authority.file, tmp_path / "trusted.pem"))
    with tls_broker(tmp_path / "broker", new, new.sign("server")) as port:
        put(outbox, range(3))
        with publisher_to(port, outbox, tls=Tls(str(trusted))):
            wait_until(notes.lost)
            refused = notes.lost()[0]
            shutil.copy(new.file, trusted)

            wait_until(lambda: outbox.backlog() == 0, timeout_s=30)

    assert "the broker's certificate is not accepted" in refused
    assert "clock" not in refused


def test_n8_a_broker_that_asks_for_a_certificate_has_it_and_without_one_the_reason_is_told(
    tmp_path: Path, authority: Authority
) -> None:
    own = authority.sign("press-3")
    with tls_broker(tmp_path / "broker", authority, authority.sign("server"), "require_certificate true") as port:
        with session(port, Tls(str(authority.file), str(own.file), str(own.key))) as opened:
            opened.say("state", {"state": "online"}, wait_s=10)
            opened.check()

        with pytest.raises(BrokerLostError, match="certificate"):
            session(port, Tls(str(authority.file)))


def test_n8_a_certificate_that_was_exchanged_on_disk_is_shown_at_the_next_connection(
    tmp_path: Path, authority: Authority, outbox: Outbox, notes: Notes
) -> None:
    stranger, own = Authority(tmp_path / "stranger").sign("press-3"), authority.sign("press-3")
    file, key = Path(shutil.copy(stranger.file, tmp_path / "own.pem")), Path(shutil.copy(stranger.key, tmp_path / "own.key"))
    with tls_broker(tmp_path / "broker", authority, authority.sign("server"), "require_certificate true") as port:
        put(outbox, range(3))
        with publisher_to(port, outbox, tls=Tls(str(authority.file), str(file), str(key))):
            wait_until(notes.lost)
            shutil.copy(own.file, file)
            shutil.copy(own.key, key)

            wait_until(lambda: outbox.backlog() == 0, timeout_s=30)


def test_n8_s7_a_station_that_boots_in_1970_says_so_and_connects_once_its_clock_is_set(
    tmp_path: Path, authority: Authority, fake_clock: Path
) -> None:
    fake_clock.write_text("1970-01-01 00:01:00")
    with Outbox(tmp_path / "outbox.db") as outbox:
        put(outbox, range(3))
    with tls_broker(tmp_path / "broker", authority, authority.sign("server")) as port:
        arguments = ("-c", PUBLISHES_WITH_TLS, str(tmp_path / "outbox.db"), str(port), str(authority.file))
        with running(*arguments, log_file=tmp_path / "1970.log") as station:
            wait_until(lambda: "next try" in station.text(), timeout_s=20)
            refused = station.text()
            fake_clock.write_text("+0")

            wait_until(lambda: " connected, 3 events waiting" in station.text(), timeout_s=20)

    assert "certificate is not valid yet, or this machine's clock (1970-01-01T00:0" in refused
