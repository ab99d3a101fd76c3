"""Faults N2, N3, N5, N12, N14: the network and the broker go away, stand still, crawl, and forget what they have acknowledged."""

import json
import os
import time
from pathlib import Path

import pytest
from broker import Broker, free_port
from kensa_process import running
from proxy import Proxy, proxy
from small_station import Notes, collector, complete, publisher_to, put
from subscriber import subscriber
from waiting import wait_until

from agent.events.outbox import Outbox

KEEPALIVE_S = 4

PUTS_WHILE_THE_NETWORK_CRAWLS = """
import sys, time
from pathlib import Path
from agent.sections import Mqtt
from agent.events.memory import Entry
from agent.events.rows import Kind
from agent.broker.mqtt import Publisher
from agent.events.outbox import Outbox
def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
slowest_s, accepted, before_mb = 0.0, 0, 0.0
with Outbox(Path(sys.argv[1])) as outbox:
    with Publisher(Mqtt("127.0.0.1", "plant/press-3", int(sys.argv[2])), "press-3", outbox, {}) as publisher:
        while accepted < 20_000:
            entry = Entry(f"part {accepted}", Kind.PASS, "result/pass", "now", b"x" * 2000, lambda key: None)
            start_s = time.monotonic()
            is_accepted = outbox.put(entry)
            slowest_s = max(slowest_s, time.monotonic() - start_s)
            accepted += is_accepted
            if accepted == 2_000 and not before_mb:
                before_mb = resident_mb()
            if not is_accepted:
                time.sleep(0.01)
        print("slowest_s", slowest_s, "grown_mb", resident_mb() - before_mb, "waiting", outbox.backlog(), flush=True)
        publisher.check()
        outbox.check()
        sys.stdout.flush()
        import os; os._exit(0)
"""

PUBLISHES_TO_A_NAME = """
import logging, sys, threading
from pathlib import Path
from agent.sections import Mqtt
from agent.broker.mqtt import Publisher
from agent.events.outbox import Outbox
logging.basicConfig(level=logging.INFO)
with Outbox(Path(sys.argv[1])) as outbox:
    with Publisher(Mqtt("broker.plant.test", "plant/press-3", int(sys.argv[2]), keepalive_s=4), "press-3", outbox, {}):
        threading.Event().wait(60)
"""


def test_n2_after_an_outage_nothing_is_missing_and_live_events_come_before_the_backlog(
    broker: Broker, network: Proxy, outbox: Outbox
) -> None:
    broker.kill()
    with publisher_to(network.port, outbox):
        put(outbox, range(1000))
        wait_until(lambda: outbox.backlog() == 1000)
        network.throttle(100_000)  # some 300 events a second, so that there still is a backlog when live events come
        broker.start()

        with subscriber(broker.host, broker.port) as heard:
            wait_until(heard.events, timeout_s=30)
            put(outbox, range(1000, 1020))
            wait_until(lambda: set(heard.sequence()) == set(range(1, 1021)), timeout_s=40)

    late = [event["seq"] for event in heard.events() if event.get("historical")]
    order = heard.sequence()
    assert late == list(range(1, 1001))
    assert [seq for seq in order if seq > 1000] == list(range(1001, 1021))
    assert len(order) - order.index(1020) > 200  # of the backlog came later


def test_n3_a_broker_killed_with_acknowledged_messages_in_its_memory_loses_nothing_for_the_collector(
    tmp_path: Path, broker: Broker, outbox: Outbox
) -> None:
    file = tmp_path / "events.db"
    with publisher_to(broker.port, outbox, collector="archive"):
        with collector(broker.port, file, tmp_path / "first.log"):
            put(outbox, range(10))
            wait_until(lambda: complete(file, 10), timeout_s=40)
        put(outbox, range(10, 60))
        wait_until(lambda: len(outbox.unacknowledged(100)) >= 50 and outbox.backlog() == 0, timeout_s=30)
        broker.kill()
        broker.start()

        with collector(broker.port, file, tmp_path / "second.log") as second:
            wait_until(lambda: complete(file, 60), timeout_s=50)
            asked = "11 to 60 are missing, asked for" in second.text()
            wait_until(lambda: outbox.unacknowledged(100) == [], timeout_s=30)

    assert asked


@pytest.mark.parametrize("events", [0, 500], ids=["idle", "events on their way"])
def test_n5_a_half_open_connection_is_found_within_one_and_a_half_keepalives_and_blocks_nobody(
    network: Proxy, broker: Broker, outbox: Outbox, notes: Notes, events: int
) -> None:
    with subscriber(broker.host, broker.port) as heard, publisher_to(network.port, outbox, keepalive_s=KEEPALIVE_S) as publisher:
        put(outbox, range(1))
        wait_until(heard.events)
        network.freeze()
        frozen_s = time.monotonic()
        put(outbox, range(1, 1 + events))
        put_s = time.monotonic() - frozen_s

        wait_until(notes.lost, timeout_s=20)
        found_s = time.monotonic() - frozen_s
        publisher.check()
        network.thaw()
        put(outbox, range(1 + events, 2 + events))
        wait_until(lambda: set(heard.sequence()) == set(range(1, events + 3)), timeout_s=40)

    assert put_s < 1  # 500 times into a queue: milliseconds, on a busy machine too
    assert found_s <= 1.5 * KEEPALIVE_S


def test_n5_an_idle_connection_that_is_whole_is_left_alone(broker: Broker, outbox: Outbox, notes: Notes) -> None:
    with publisher_to(broker.port, outbox, keepalive_s=2) as publisher:
        wait_until(notes.connected)
        later_s = time.monotonic() + 6  # two pings and more
        wait_until(lambda: time.monotonic() > later_s)
        publisher.check()

    assert (notes.connected(), notes.lost()) == (1, [])


def test_n5_a_network_that_was_silent_for_a_while_makes_the_station_speak_no_older_mqtt(
    network: Proxy, broker: Broker, outbox: Outbox, notes: Notes
) -> None:
    network.freeze()
    put(outbox, range(1))
    with subscriber(broker.host, broker.port) as heard, publisher_to(network.port, outbox):
        wait_until(lambda: any("no answer within 5 s; next try" in text for text in notes.lost()), timeout_s=20)
        network.thaw()

        wait_until(heard.events, timeout_s=20)

    assert "MQTTv311" in notes.lost()[0]
    assert heard.below("result/pass")[0].properties.ContentType  # there are none in MQTT 3.1.1


def test_n12_a_crawling_network_makes_neither_the_line_wait_nor_memory_grow(
    tmp_path: Path, broker: Broker, network: Proxy
) -> None:
    network.throttle(3000)  # about one event a second
    arguments = ("-c", PUTS_WHILE_THE_NETWORK_CRAWLS, str(tmp_path / "crawls.db"), str(network.port))
    with running(*arguments, log_file=tmp_path / "crawls.log") as station:
        wait_until(lambda: "slowest_s" in station.text(), timeout_s=45)
        text = station.text().split()

    found = dict(zip(text[::2], map(float, text[1::2]), strict=True))
    assert found["waiting"] > 15_000
    assert found["slowest_s"] < 0.5  # never waits; what is measured is a busy machine
    assert found["grown_mb"] < 20  # of 40 MB that went through; the writer may be 4096 events of 2 kB behind


def test_n14_a_name_that_does_not_resolve_and_an_address_that_changes_are_tried_again(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, hosts, port = resolver(), tmp_path / "hosts", free_port()
    name(hosts, "other.plant.test", "127.0.0.9", at_s=1)
    with Outbox(tmp_path / "outbox.db") as outbox:
        put(outbox, range(3))
    arguments = ("-c", PUBLISHES_TO_A_NAME, str(tmp_path / "outbox.db"), str(port))

    monkeypatch.setenv("LD_PRELOAD", library)
    monkeypatch.setenv("NSS_WRAPPER_HOSTS", str(hosts))
    with running(*arguments, log_file=tmp_path / "names.log") as station:
        wait_until(lambda: station.text().count("cannot connect") >= 2, timeout_s=20)
        unresolved = station.text()
        with proxy(broker.port, "127.0.0.1", port):
            name(hosts, "broker.plant.test", "127.0.0.1", at_s=2)
            wait_until(lambda: station.text().count(" connected, ") == 1, timeout_s=20)
        with proxy(broker.port, "127.0.0.2", port) as moved, subscriber(broker.host, broker.port):
            name(hosts, "broker.plant.test", "127.0.0.2", at_s=3)
            wait_until(lambda: station.text().count(" connected, ") == 2, timeout_s=20)

    assert "Name or service not known" in unresolved or "Temporary failure in name resolution" in unresolved
    assert moved.connections >= 1


def name(hosts: Path, host: str, address: str, at_s: int) -> None:
    """The only line of the file, whole at once; nss_wrapper reads it again only when its time of change is another second."""
    fresh = hosts.with_suffix(".new")
    fresh.write_text(f"{address} {host}\n")
    os.utime(fresh, (at_s, at_s))
    fresh.replace(hosts)


def resolver() -> str:
    """A library that reads names from a file of the test's."""
    found = next(Path("/usr/lib").glob("*/libnss_wrapper.so"), None)
    if found is None:
        pytest.skip("needs nss_wrapper (Debian: apt install libnss-wrapper)")
    return str(found)


def test_n5_a_station_that_is_stopped_while_the_network_hangs_does_not_stay_online(
    network: Proxy, broker: Broker, outbox: Outbox
) -> None:
    with subscriber(broker.host, broker.port) as heard:
        with publisher_to(network.port, outbox):
            wait_until(lambda: heard.below("state"))
            network.freeze()
            put(outbox, range(30), size=500)
        network.thaw()

        wait_until(lambda: json.loads(heard.below("state")[-1].payload)["state"] == "offline", timeout_s=20)
