"""Faults N6, N7, N9, N10, N11: the client's own thread, its name, its rights, its messages, and its death at a bad moment."""

import itertools
import re
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from broker import Broker, mosquitto
from collected import events_in, ids_in
from forgetful_broker import forgetful_broker
from kensa_process import running
from proxy import Proxy, proxy
from small_station import Notes, alerts, collector, complete, publisher_to, put
from subscriber import subscriber
from waiting import wait_until

from agent.broker.mqtt import Publisher
from agent.events.outbox import Outbox
from agent.sections import Login, Mqtt

UNDIGESTIBLE = b"\x30\x05\x00\x02\xff\xfe\x00"  # a PUBLISH whose topic is no UTF-8: paho's thread dies of it

PUBLISHES_UNTIL_KILLED = """
import sys, threading
from pathlib import Path
from agent.sections import Mqtt
from agent.broker.mqtt import Publisher
from agent.events.outbox import Outbox
with Outbox(Path(sys.argv[1])) as outbox:
    with Publisher(Mqtt("127.0.0.1", "plant/press-3", int(sys.argv[2])), "press-3", outbox, {}) as publisher:
        threading.Event().wait(60)
"""


def test_n6_a_client_whose_thread_died_of_what_it_read_is_made_anew(
    network: Proxy, broker: Broker, outbox: Outbox, notes: Notes
) -> None:
    with subscriber(broker.host, broker.port) as heard, publisher_to(network.port, outbox) as publisher:
        put(outbox, range(1))
        wait_until(heard.events)
        network.inject(UNDIGESTIBLE)
        wait_until(notes.lost)
        put(outbox, range(1, 21))

        wait_until(lambda: set(heard.sequence()) == set(range(1, 22)), timeout_s=30)
        publisher.check()

    assert "the connection's thread has ended: " in notes.lost()[0]
    assert [thread.name for thread in threading.enumerate() if "press-3" in thread.name] == []


def test_n7_of_two_stations_with_one_name_the_one_thrown_out_waits_and_leaves_an_alert(
    tmp_path: Path, broker: Broker, outbox: Outbox, notes: Notes
) -> None:
    with publisher_to(broker.port, outbox), Outbox(tmp_path / "other.db") as others:
        wait_until(lambda: notes.connected() == 1)
        with publisher_to(broker.port, others):
            wait_until(lambda: max(notes.pauses_s(), default=0) >= 30, timeout_s=30)
            wait_until(lambda: alerts(outbox) or alerts(others))
            told = [*alerts(outbox), *alerts(others)]
        thrown_out = len(notes.lost())

    assert any("another station was born under this one's name" in text for text in notes.lost())
    assert thrown_out <= 4  # each once or twice, until it finds the other's birth
    assert {one["alert"] for one in told} == {"taken-over"}
    assert "another station calls itself press-3" in told[0]["detail"]


def test_n7_two_stations_from_one_disk_with_one_name_are_told_of(tmp_path: Path, broker: Broker, notes: Notes) -> None:
    ours, twins = copied_disk(tmp_path)
    with (
        subscriber(broker.host, broker.port) as heard,
        Outbox(ours) as outbox,
        station(broker, outbox, "one machine"),
    ):
        wait_until(lambda: notes.connected() == 1)
        with Outbox(twins) as others, station(broker, others, "another machine"):
            wait_until(lambda: max(notes.pauses_s(), default=0) >= 30, timeout_s=30)
            wait_until(
                lambda: {"taken-over", "stream-of-another"} <= {one["alert"] for one in [*alerts(outbox), *alerts(others)]}
            )
            wait_until(lambda: b"taken-over" in b"".join(message.payload for message in heard.below("alert")), timeout_s=40)

            assert outbox.stream != others.stream


def test_n7_of_two_stations_from_one_disk_that_come_one_after_the_other_no_event_is_settled_by_the_others(
    tmp_path: Path, broker: Broker
) -> None:
    ours, twins = copied_disk(tmp_path)
    collected = tmp_path / "events.db"
    with collector(broker.port, collected, tmp_path / "collect.log"):
        for file, numbers, boot in ((ours, range(100, 400), "one machine"), (twins, range(1000, 1400), "another machine")):
            with Outbox(file) as outbox:
                put(outbox, numbers)
                wait_until(lambda outbox=outbox, numbers=numbers: outbox.newest() == 10 + len(numbers))
                with station(broker, outbox, boot, collector="archive"):
                    wait_until(lambda outbox=outbox: not (outbox.backlog() or outbox.unacknowledged(1)), timeout_s=30)
                    told = alerts(outbox)

        wanted = {f"part {n}" for n in (*range(10), *range(100, 400), *range(1000, 1400))}
        wait_until(lambda: wanted <= set(ids_in(collected)), timeout_s=20)

    assert [one["alert"] for one in told] == ["stream-of-another"]


def copied_disk(folder: Path) -> tuple[Path, Path]:
    """The outbox of a station with ten events, and that of one that was made from a copy of its disk."""
    ours, twins = folder / "ours" / "outbox.db", folder / "twins" / "outbox.db"
    with Outbox(ours) as outbox:
        put(outbox, range(10))
        wait_until(lambda: outbox.newest() == 10)
    shutil.copytree(ours.parent, twins.parent)
    return ours, twins


def station(broker: Broker, outbox: Outbox, boot: str, **settings: str) -> Publisher:
    return Publisher(Mqtt(broker.host, "plant/press-3", broker.port, **settings), "press-3", outbox, {"boot_id": boot})


def test_n7_two_stations_with_one_name_and_topics_of_their_own_leave_each_other_alone(
    tmp_path: Path, broker: Broker, outbox: Outbox, notes: Notes
) -> None:
    elsewhere = Mqtt(broker.host, "plant/other-hall", broker.port)
    with Outbox(tmp_path / "other.db") as others:
        put(outbox, range(20))
        put(others, range(20))
        with publisher_to(broker.port, outbox), Publisher(elsewhere, "press-3", others, {}):
            wait_until(lambda: outbox.backlog() == others.backlog() == 0, timeout_s=30)

    assert (notes.connected(), notes.lost()) == (2, [])


def test_n9_a_refused_password_is_tried_again_with_pauses_and_a_new_one_is_taken_up(
    tmp_path: Path, outbox: Outbox, notes: Notes
) -> None:
    passwords, own = tmp_path / "passwords", tmp_path / "own"
    subprocess.run(["mosquitto_passwd", "-c", "-b", str(passwords), "press-3", "right"], check=True, capture_output=True)
    own.write_text("wrong\n")
    put(outbox, range(3))
    settings = ["allow_anonymous false", f"password_file {passwords}"]
    with (
        mosquitto(tmp_path, settings=settings) as broker,
        proxy(broker.port) as network,
        publisher_to(network.port, outbox, login=Login("press-3", password_file=str(own))),
    ):
        wait_until(lambda: len(notes.lost()) >= 3, timeout_s=20)
        attempts = network.connections
        own.write_text("right\n")

        wait_until(lambda: outbox.backlog() == 0, timeout_s=30)

    assert "Not authorized" in notes.lost()[0]
    assert attempts == 3
    assert min(notes.pauses_s()) >= 0.5
    assert max(notes.pauses_s()) <= 8
    assert not any(word in text for text in notes.lost() for word in ("right", "wrong"))  # no password in the log


def test_n9_a_state_that_is_not_allowed_keeps_no_event_back(tmp_path: Path, outbox: Outbox) -> None:
    (tmp_path / "acl").write_text("topic write plant/press-3/result/pass\ntopic read #\n")
    settings = [f"acl_file {tmp_path}/acl", "max_queued_messages 1000"]
    with mosquitto(tmp_path, settings=settings) as broker, subscriber(broker.host, broker.port) as heard:
        put(outbox, range(20))

        with publisher_to(broker.port, outbox):
            wait_until(lambda: set(heard.sequence()) == set(range(1, 21)))

    assert heard.below("state") == heard.below("birth") == []


def test_n10_a_message_too_large_is_parked_with_an_alert_by_which_the_collector_knows_of_it(
    tmp_path: Path, outbox: Outbox
) -> None:
    file, folder = tmp_path / "events.db", tmp_path / "broker"
    folder.mkdir()
    settings = ["message_size_limit 3000", "max_queued_messages 1000"]
    with mosquitto(folder, settings=settings) as broker, collector(broker.port, file, tmp_path / "collect.log"):
        put(outbox, range(1))
        put(outbox, range(1, 2), size=5000)
        put(outbox, range(2, 3))

        with publisher_to(broker.port, outbox, collector="archive"):
            wait_until(lambda: complete(file, 3), timeout_s=40)  # two parts and the alert
            wait_until(lambda: outbox.unacknowledged(10) == [], timeout_s=30)

    (told,) = alerts(outbox)
    assert (told["alert"], told["reason"], told["first"], told["last"], told["count"]) == ("events-lost", "refused", 2, 2, 1)
    assert re.match("part 1: .*too large", told["detail"])


def test_n11_events_sent_again_after_a_kill_before_their_mark_are_the_same_and_kept_once(tmp_path: Path, broker: Broker) -> None:
    file = tmp_path / "outbox.db"
    with Outbox(file) as outbox:
        put(outbox, range(50))
    arguments = ("-c", PUBLISHES_UNTIL_KILLED, str(file), str(broker.port))
    with subscriber(broker.host, broker.port) as heard, collector(broker.port, tmp_path / "events.db", tmp_path / "collect.log"):
        with (
            closing(sqlite3.connect(file, timeout=0)) as other,
            running(*arguments, log_file=tmp_path / "1.log") as killed,
        ):
            other.execute("BEGIN IMMEDIATE")  # so that no mark can be written
            wait_until(lambda: len(heard.sequence()) == 50)
            killed.kill()

        with running(*arguments, log_file=tmp_path / "2.log"):
            wait_until(lambda: len(heard.sequence()) == 100)
            wait_until(lambda: complete(tmp_path / "events.db", 50), timeout_s=30)

    sent = [(event["seq"], event["id"]) for event in heard.events()]
    assert sent[:50] == sent[50:] == [(n + 1, f"part {n}") for n in range(50)]
    assert events_in(tmp_path / "events.db") == 50


@pytest.mark.slow
def test_a_station_put_back_from_a_backup_gives_no_number_twice_once_the_collector_has_told_it(
    tmp_path: Path, broker: Broker
) -> None:
    state, backup, events = tmp_path / "state", tmp_path / "backup", tmp_path / "events.db"
    with collector(broker.port, events, tmp_path / "collect.log"):
        with Outbox(state / "outbox.db") as outbox, publisher_to(broker.port, outbox, collector="archive"):
            put(outbox, range(10))
            wait_until(lambda: outbox.unacknowledged(100) == [] and complete(events, 10), timeout_s=30)
        shutil.copytree(state, backup)
        with Outbox(state / "outbox.db") as outbox, publisher_to(broker.port, outbox, collector="archive"):
            put(outbox, range(10, 30))
            wait_until(lambda: outbox.unacknowledged(100) == [] and complete(events, 30), timeout_s=30)
            before = outbox.stream
        shutil.rmtree(state)
        backup.rename(state)
        with Outbox(state / "outbox.db") as outbox, publisher_to(broker.port, outbox, collector="archive"):
            put(outbox, range(100, 105))
            wait_until(lambda: outbox.stream != before, timeout_s=30)

            wait_until(lambda: complete(events, 36), timeout_s=50)  # 35 parts and the alert
            wait_until(lambda: outbox.backlog() == 0 and outbox.unacknowledged(100) == [], timeout_s=30)


@contextmanager
def producing(outbox: Outbox, first: int) -> Iterator[None]:
    """A part every 100 ms, from that number on."""
    stop = threading.Event()

    def run() -> None:
        for n in itertools.count(first):
            if stop.wait(0.1):
                return
            put(outbox, range(n, n + 1))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_n10_an_event_that_is_passed_over_while_later_ones_are_acknowledged_is_sent_anew(outbox: Outbox, notes: Notes) -> None:
    with forgetful_broker(forgets=2) as broker, publisher_to(broker.port, outbox, keepalive_s=2):
        put(outbox, range(1, 4))
        wait_until(lambda: broker.taken == [b"part 1", b"part 3"])
        with producing(outbox, first=4):
            wait_until(lambda: b"part 2" in broker.taken, timeout_s=20)

    assert "event 2 was passed over: later ones are acknowledged, it is not" in notes.lost()[0]


def test_n10_a_broker_that_allows_few_unanswered_messages_is_never_sent_more(outbox: Outbox, notes: Notes) -> None:
    put(outbox, range(1, 301))
    with forgetful_broker(receive_maximum=3) as broker, publisher_to(broker.port, outbox):
        wait_until(lambda: len(broker.taken) == 300, timeout_s=40)

    assert (broker.connections, notes.lost()) == (1, [])
