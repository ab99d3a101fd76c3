"""A hundred stations at one broker and one collector, each of which is killed once: nothing lost, nothing twice.

Run by hand: `python tests/fleet.py [--stations 100 --events 200]`. The stations are outbox and publisher of real ones, fed with
numbers instead of parts, two a second each; many of them in one process, since this machine is no plant.
"""

import argparse
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from multiprocessing.synchronize import Event
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # ours first: tests/agent is no package

from broker import ITS_OWN_LIMITS, Broker, mosquitto
from soak_account import sample
from soak_station import entry

from agent.broker.mqtt import Publisher
from agent.clock import machine_boot
from agent.events.outbox import Outbox
from agent.sections import Mqtt

PROCESSES = 4
PERIOD_S = 0.5
PATIENCE_S = 300.0


def stations(folder: Path, names: Sequence[str], port: int, events: int, is_over: Event) -> None:
    """Each makes so many events; what has not come to the collector goes on until it has."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where entries say that they are durable
    with ExitStack() as opened:
        outboxes = []
        for name in names:
            topic = f"plant/{name}"
            config = Mqtt("127.0.0.1", topic, port, collector="archive")
            outbox = Outbox(folder / f"{name}.db", machine=machine_boot(), told_as=f"{name} at {topic}")
            outboxes.append(opened.enter_context(outbox))
            opened.enter_context(Publisher(config, name, outbox, {}))
        for n in range(1, events + 1):
            due_s = time.monotonic() + PERIOD_S
            for outbox in outboxes:
                assert outbox.put(entry(n))
                outbox.check()
            time.sleep(max(0.0, due_s - time.monotonic()))
        is_over.wait()


@contextmanager
def running(folder: Path, count: int, port: int, events: int) -> Iterator[None]:
    """All stations."""
    spawn = multiprocessing.get_context("spawn")
    is_over, names = spawn.Event(), [f"press-{k}" for k in range(count)]
    processes = [
        spawn.Process(target=stations, args=(folder, names[k::PROCESSES], port, events, is_over)) for k in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        is_over.set()
        for process in processes:
            process.join()


class Collecting:
    """`kensa collect`, which may be killed and started again."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.ledger = folder / "ledger.db"
        where = ["--host", broker.host, "--port", str(broker.port), "--topic", "plant"]
        self._words = [sys.executable, "-m", "kensa", "collect", *where, "--name", "archive", "--out", str(self.ledger)]
        self._log = folder / "collector.log"
        self.start()

    def __enter__(self) -> "Collecting":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        self.process.wait()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._words, stdout=log, stderr=log, cwd="/")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def arrived(self) -> dict[str, tuple[int, int]]:
        """Of each station: how many events of parts, and how many different ones."""
        query = (
            "SELECT source, count(*), count(DISTINCT json_extract(data, '$.part.n')) FROM event "
            "WHERE outcome IS NOT NULL GROUP BY source"
        )
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True)) as db:
            return {source: (count, parts) for source, count, parts in db.execute(query)}
        return {}


def wait_for(condition: Callable[[], bool], what: str) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > until_s:
            raise RuntimeError(f"{what}: not within {PATIENCE_S:.0f} s")
        time.sleep(0.5)


def fleet(folder: Path, count: int, events: int) -> bool:
    """Whether each event of each station is there once; prints what was found."""
    (folder / "broker").mkdir(parents=True)
    with mosquitto(folder / "broker", settings=ITS_OWN_LIMITS) as broker, Collecting(folder, broker) as collecting:

        def total() -> int:
            return sum(arrived for arrived, _ in collecting.arrived().values())

        began_s = time.monotonic()
        with running(folder, count, broker.port, events):
            wait_for(lambda: total() > count * events // 4, "a quarter of the events")
            broker.kill()
            time.sleep(5)
            broker.start()
            wait_for(lambda: total() > count * events // 2, "half of the events")
            collecting.kill()
            time.sleep(5)
            collecting.start()
            wait_for(lambda: total() >= count * events, "all events")
            seconds, size = time.monotonic() - began_s, sample(collecting.process.pid)
        time.sleep(2)
        arrived = collecting.arrived()
    wrong = {name: found for name, found in arrived.items() if found != (events, events)}
    offered_s = events * PERIOD_S
    print(f"{count} stations, {events} events each in {offered_s:.0f} s: all there after {seconds:.0f} s; collector {size}")
    print(f"{len(arrived)} stations heard of, {len(wrong)} of them with events lost or twice: {wrong}")
    return len(arrived) == count and not wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stations", type=int, default=100)
    parser.add_argument("--events", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="k") as folder:
        return 0 if fleet(Path(folder), options.stations, options.events) else 1


if __name__ == "__main__":
    sys.exit(main())
