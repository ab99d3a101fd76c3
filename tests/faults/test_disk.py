"""Faults S1, S2, S3: the disk is full, fails, or loses its power. The station goes on, says so, and heals by itself."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from broker import Broker
from kensa_process import running
from small_station import put
from subscriber import Subscriber, subscriber
from waiting import wait_until

from agent.events.outbox import Outbox

KILLS = 8

PUTS_AND_PUBLISHES = """
import itertools, logging, resource, signal, sys, threading
from pathlib import Path
from agent.sections import Mqtt
from agent.events.memory import Entry
from agent.events.rows import Kind
from agent.broker.mqtt import Publisher
from agent.events.outbox import Outbox
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
signal.signal(signal.SIGUSR1, lambda *_: resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, hard)))
signal.signal(signal.SIGUSR2, lambda *_: resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard)))
if "full" in sys.argv:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
with Outbox(Path(sys.argv[1])) as outbox:
    with Publisher(Mqtt("127.0.0.1", "plant/press-3", int(sys.argv[2])), "press-3", outbox, {}) as publisher:
        for n in itertools.count():
            outbox.put(Entry(f"part {n}", Kind.PASS, "result/pass", "now", b'"' + b"x" * 4000 + b'"', lambda key: None))
            publisher.check()
            outbox.check()
            threading.Event().wait(0.03)
"""

SAYS_WHAT_IS_DURABLE = """
import itertools, os, sys, threading
from pathlib import Path
from agent.events.memory import Entry
from agent.events.rows import Kind
from agent.events.outbox import Outbox
outbox = Outbox(Path(sys.argv[1]))
first = int(sys.argv[2])
for n in itertools.count(first):
    stored = threading.Event()
    def say(key):
        os.write(1, f"durable {key}\\n".encode())
        stored.set()
    outbox.put(Entry(f"part {n}", Kind.PASS, "result/pass", "now", b"x" * 100, say))
    stored.wait(10)
    if n == first + 1000:
        break
"""


ORDERS_MAINTENANCE = """
import sys, threading
from pathlib import Path
from agent.gate.orders import OrderBook, Orders
assert OrderBook(Path(sys.argv[1])).write(Orders(maintenance=True))
[thread.join() for thread in threading.enumerate() if thread.name == "orders"]
"""


def said(heard: Subscriber) -> list[tuple[str, str]]:
    """State and reason, each time they changed."""
    states = [json.loads(message.payload) for message in heard.below("state")]
    return [(state["state"], state.get("reason", "")) for state in states]


def parts(heard: Subscriber) -> list[int]:
    """Numbers of the parts whose events have come, each once, in the order of their arrival."""
    return list(dict.fromkeys(int(event["id"].removeprefix("part ")) for event in heard.events()))


def strace() -> str:
    found = shutil.which("strace")
    if found is None:
        pytest.skip("needs strace (Debian: apt install strace); not on PATH")
    return found


@contextmanager
def failing_disk(process: int, error: str) -> Iterator[None]:
    """Each write of the process to a file fails with this error, at the border to the kernel, as long as the block lasts."""
    calls = "pwrite64,fdatasync,fsync"
    inject = ["-e", f"trace={calls}", f"--inject={calls}:error={error}"]
    tracer = subprocess.Popen([strace(), "-f", "-qq", *inject, "-o", "/dev/null", "-p", str(process)])
    status = Path(f"/proc/{process}/status")
    wait_until(lambda: f"TracerPid:\t{tracer.pid}" in status.read_text())
    try:
        yield
    finally:
        tracer.send_signal(signal.SIGINT)  # lets the process go
        tracer.wait(10)


def test_s1_a_full_disk_is_told_in_the_state_while_events_go_out_from_memory_and_ends_by_itself(
    tmp_path: Path, broker: Broker
) -> None:
    arguments = ("-c", PUTS_AND_PUBLISHES, str(tmp_path / "outbox.db"), str(broker.port))
    with subscriber(broker.host, broker.port) as heard, running(*arguments, log_file=tmp_path / "full.log") as station:
        wait_until(lambda: len(parts(heard)) >= 3)
        station.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: said(heard)[-1][0] == "degraded", timeout_s=20)
        told = len(parts(heard))
        wait_until(lambda: len(parts(heard)) >= told + 20, timeout_s=20)
        station.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: said(heard)[-1][0] == "online", timeout_s=20)
        healed = len(parts(heard))
        wait_until(lambda: len(parts(heard)) >= healed + 20, timeout_s=20)
        station.kill()

    assert [state for state, _ in said(heard)] == ["online", "degraded", "online"]
    assert "outbox.db: " in said(heard)[1][1]
    assert set(range(len(parts(heard)) - 5)) <= set(parts(heard))


def test_s1_a_station_that_starts_on_a_full_disk_tells_its_events_from_memory_and_those_of_before_once_there_is_room(
    tmp_path: Path, broker: Broker
) -> None:
    with Outbox(tmp_path / "outbox.db") as before:  # ended in order: what SQLite needs beside its file has to be made anew
        put(before, range(5000, 5010))
        wait_until(lambda: before.backlog() == 10)
    arguments = ("-c", PUTS_AND_PUBLISHES, str(tmp_path / "outbox.db"), str(broker.port), "full")
    with subscriber(broker.host, broker.port) as heard, running(*arguments, log_file=tmp_path / "full.log") as station:
        wait_until(lambda: len(parts(heard)) >= 20, timeout_s=40)
        told = list(parts(heard))
        station.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: said(heard)[-1][0] == "online", timeout_s=40)
        wait_until(lambda: set(range(5000, 5010)) <= set(parts(heard)), timeout_s=40)
        healed = max(part for part in parts(heard) if part < 5000)
        wait_until(lambda: set(range(healed + 20)) <= set(parts(heard)), timeout_s=40)
        station.kill()

    assert told == list(range(len(told)))
    assert said(heard)[0][0] == "degraded"
    assert "outbox.db: " in said(heard)[0][1]


@pytest.mark.parametrize("error", ["EIO", "EROFS"])
def test_s2_a_failing_disk_is_told_in_the_state_while_events_go_out_from_memory_and_ends_by_itself(
    tmp_path: Path, broker: Broker, error: str
) -> None:
    arguments = ("-c", PUTS_AND_PUBLISHES, str(tmp_path / "outbox.db"), str(broker.port))
    with subscriber(broker.host, broker.port) as heard, running(*arguments, log_file=tmp_path / "failing.log") as station:
        wait_until(lambda: len(parts(heard)) >= 3)
        with failing_disk(station.process.pid, error):
            wait_until(lambda: said(heard)[-1][0] == "degraded", timeout_s=20)
            told = len(parts(heard))
            wait_until(lambda: len(parts(heard)) >= told + 20, timeout_s=20)
        wait_until(lambda: said(heard)[-1][0] == "online", timeout_s=20)
        healed = len(parts(heard))
        wait_until(lambda: len(parts(heard)) >= healed + 20, timeout_s=20)
        station.kill()

    assert [state for state, _ in said(heard)] == ["online", "degraded", "online"]
    assert "disk I/O error" in said(heard)[1][1]
    assert set(range(len(parts(heard)) - 5)) <= set(parts(heard))


def kill_while_writing(file: Path, log_file: Path, first: int) -> int:
    """The number of events that the killed process called durable."""
    with running("-c", SAYS_WHAT_IS_DURABLE, str(file), str(first), log_file=log_file) as writer:
        wait_until(lambda: writer.text().count("\n") > 10)
        writer.kill()
        return writer.text().count("\n")


def test_s3_what_was_called_durable_outlives_a_kill_at_any_write(tmp_path: Path) -> None:
    file = tmp_path / "outbox.db"

    claimed = [kill_while_writing(file, tmp_path / f"{k}.log", first=1000 * k) for k in range(KILLS)]

    with Outbox(file) as outbox:
        kept = outbox.kept(0, 100_000, 100_000)
    assert [row.seq for row in kept] == list(range(1, len(kept) + 1))
    keys = {row.key for row in kept}
    assert {f"part {1000 * k + n}" for k in range(KILLS) for n in range(claimed[k])} <= keys


def test_s3_nothing_is_called_durable_before_the_kernel_was_asked_to_put_it_on_the_disk(tmp_path: Path) -> None:
    trace, file = tmp_path / "trace", tmp_path / "outbox.db"
    calls = [strace(), "-f", "-y", "-qq", "-e", "trace=pwrite64,fdatasync,fsync,write", "-o", str(trace)]
    with running("-c", SAYS_WHAT_IS_DURABLE, str(file), "0", log_file=tmp_path / "writer.log") as writer:
        wait_until(lambda: writer.text().count("\n") > 1)
        tracer = subprocess.Popen([*calls, "-p", str(writer.process.pid)])
        wait_until(lambda: trace.exists() and trace.read_text().count("durable") > 20)
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)

    order = [kind_of(line) for line in trace.read_text().splitlines()]
    steps = "".join(order)[order.index("c") + 1 :]
    claims = steps.count("c")
    assert claims >= 20
    assert [step for step in steps.split("c")[:-1] if not step.rstrip("m").endswith("s")] == []


def test_s3_what_was_ordered_at_the_gate_is_put_on_the_disk_and_so_is_its_name(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    calls = [strace(), "-f", "-y", "-qq", "-e", "trace=rename,fsync", "-o", str(trace)]

    subprocess.run([*calls, sys.executable, "-c", ORDERS_MAINTENANCE, str(tmp_path / "orders.json")], check=True, timeout=30)

    steps = [line.split(maxsplit=1)[1] for line in trace.read_text().splitlines() if str(tmp_path) in line]
    assert [step.split("(")[0] for step in steps] == ["rename", "fsync", "fsync"]
    assert f"<{tmp_path}/orders.json>" in steps[1]
    assert f"<{tmp_path}>" in steps[2]


def kind_of(call: str) -> str:
    """w: a write to the journal; s: a sync; c: a claim; m: to the mark, which is a hint only."""
    kinds = {"-wal>": "w", "durable": "c", ".mark": "m"}
    is_sync = "sync(" in call
    return "s" if is_sync else next((kind for word, kind in kinds.items() if word in call), "")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An outbox as it lies on the disk after 40 commits, its journal beside it."""
    folder = tmp_path_factory.mktemp("live")
    with Outbox(folder / "writing.db") as outbox:
        [put(outbox, range(n, n + 1)) or wait_until(lambda n=n: outbox.newest() == n + 1) for n in range(40)]
        shutil.copy(folder / "writing.db", folder / "outbox.db")
        shutil.copy(folder / "writing.db-wal", folder / "outbox.db-wal")
    return folder / "outbox.db"


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("torn", [b"", b"\xff" * 700], ids=["missing", "torn"])
def test_s3_a_journal_whose_tail_never_reached_the_disk_leaves_a_beginning_without_holes(
    tmp_path: Path, live: Path, share: float, torn: bytes
) -> None:
    found = Path(shutil.copy(live, tmp_path / "found.db"))
    journal = Path(f"{live}-wal").read_bytes()
    Path(f"{found}-wal").write_bytes(journal[: int(share * len(journal))] + torn)

    with Outbox(found) as outbox:
        put(outbox, range(1000, 1001))
        wait_until(lambda: any(row.key == "part 1000" for row in outbox.waiting(0, 100)))
        rows = outbox.waiting(0, 100)

    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    assert [row.key for row in rows] == [*(f"part {n}" for n in range(len(rows) - 1)), "part 1000"]
    assert share * 40 - 3 < len(rows) < share * 40 + 3
    with closing(sqlite3.connect(found)) as db:
        assert db.execute("PRAGMA quick_check").fetchone() == ("ok",)
