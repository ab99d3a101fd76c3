"""Faults S13 and S14: what adds up over months: descriptors, threads, and writes to a flash card."""

import shutil
import subprocess
from pathlib import Path

import pytest
from broker import Broker
from kensa_process import running
from subscriber import subscriber
from waiting import wait_until

CONNECTS_AGAIN_AND_AGAIN = """
import contextlib, os, sys, threading
import paho.mqtt.client as paho
from agent.sections import Mqtt
from agent.events.rows import Row
from agent.broker.session import BrokerLostError, Session
there, away = (Mqtt("127.0.0.1", "plant/press-3", int(port)) for port in sys.argv[1:3])
def connect(n):
    with contextlib.suppress(BrokerLostError):
        Session(away, "press-3", paho.MQTTv5)
    with contextlib.suppress(BrokerLostError), Session(there, "press-3", paho.MQTTv5, ("cmd/+",)) as session:
        session.publish(Row("s", n, f"part {n}", "result/pass", "now", b"{}"), b"{}")
        while not session.receipts(wait_s=5):
            pass
        if n % 2:
            raise BrokerLostError("left by an error, like a connection that was cut")
def counts():
    return len(os.listdir("/proc/self/fd")), threading.active_count()
for n in range(20):
    connect(n)
print(*counts(), flush=True)
for n in range(300):
    connect(n)
print(*counts(), flush=True)
"""

TEN_PARTS_A_SECOND = """
import itertools, sys, threading
from pathlib import Path
from agent.clock import utc_now
from agent.sections import Mqtt
from agent.events.memory import Entry
from agent.events.rows import Kind
from agent.broker.mqtt import Publisher
from agent.events.outbox import Outbox
data = b'{' + b'"reading":0.123456,' * 30 + b'"n":1}'
with Outbox(Path(sys.argv[1])) as outbox:
    with Publisher(Mqtt("127.0.0.1", "plant/press-3", int(sys.argv[2])), "press-3", outbox, {}):
        for n in itertools.count():
            outbox.put(Entry(f"part {n}", Kind.PASS, "result/pass", utc_now(), data, lambda key: None))
            threading.Event().wait(0.1)
"""


def test_s13_descriptors_and_threads_stay_as_many_over_hundreds_of_connections(tmp_path: Path, broker: Broker) -> None:
    closed = broker.port + 1 if broker.port < 60_000 else broker.port - 1
    arguments = ("-c", CONNECTS_AGAIN_AND_AGAIN, str(broker.port), str(closed))
    with running(*arguments, log_file=tmp_path / "counts.log") as station:
        wait_until(lambda: station.text().count("\n") == 2, timeout_s=50)
        before, after = station.text().splitlines()

    assert before == after


def test_s14_syncs_and_bytes_written_stay_within_what_a_flash_card_bears(tmp_path: Path, broker: Broker) -> None:
    if shutil.which("strace") is None:
        pytest.skip("needs strace (Debian: apt install strace); not on PATH")
    trace = tmp_path / "trace"
    arguments = ("-c", TEN_PARTS_A_SECOND, str(tmp_path / "outbox.db"), str(broker.port))
    with subscriber(broker.host, broker.port) as heard, running(*arguments, log_file=tmp_path / "wear.log") as station:
        wait_until(lambda: len(heard.events()) >= 5)
        calls = ["-f", "-qq", "-e", "trace=pwrite64,write,fsync,fdatasync", "-y", "-o", str(trace)]
        tracer = subprocess.Popen(["strace", *calls, "-p", str(station.process.pid)])
        wait_until(trace.exists)
        first = len(heard.events())
        wait_until(lambda: len(heard.events()) >= first + 40, timeout_s=40)
        station.kill()
        tracer.wait(10)
        parts = len(heard.events()) - first

    lines = [line for line in trace.read_text().splitlines() if str(tmp_path) in line]
    syncs = sum("sync(" in line for line in lines)
    written = sum(int(line.rpartition("= ")[2]) for line in lines if "write" in line and line.rpartition("= ")[2].isdigit())
    print(f"{syncs / parts:.2f} syncs and {written / parts:.0f} bytes for each of {parts} parts")
    assert syncs / parts < 1.5  # measured: about one
    assert written / parts < 40_000
