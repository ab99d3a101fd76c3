"""`make soak`: a million events through outages and kills, and an account of each that owes nothing to Kensa's own records.

A real mosquitto with its own limits and without persistence, a station process (tests/soak_station.py), the real
`kensa collect`. The driver keeps the list of what the outbox called durable, synced to the disk; at the end it is compared with
what the collector has. Exit 1 where one event is missing, is there twice, or has lost its place.
"""

import argparse
import contextlib
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from broker import ITS_OWN_LIMITS, Broker, mosquitto
from soak_account import Account, Phases, Watch, account_of, events_in, parts_in, print_account
from soak_station import ORDER_BYTES, REJECTS_MB

STATION = Path(__file__).with_name("soak_station.py")
EVENT_MB = 0.0011  # of tests/soak_station.py, on the disk
JOURNAL_MB = 6.0  # SQLite's own, beside the file
PATIENCE_S = 120.0  # without any progress


@dataclass(frozen=True)
class Found:
    """What one run has shown. passed_by: events that came between a live one and its arrival. facts: more of it, for people."""

    account: Account
    disk_mb: float
    passed_by: int
    facts: Mapping[str, object]


@dataclass(frozen=True)
class Plan:
    """How many events, and how many kills of each of the three processes."""

    events: int = 1_000_000
    broker: int = 50
    station: int = 50
    collector: int = 20

    @property
    def outage(self) -> int:
        """A day of ten parts a second, of a million."""
        return min(self.events * 864 // 1000, self.events * 99 // 100 - self.away - 200)

    @property
    def away(self) -> int:
        """More than the broker keeps for a collector that is away."""
        return max(1200, self.events // 50)

    @property
    def mb(self) -> float:
        """A budget for passed parts that holds the outage, but not all: what was delivered has to go."""
        return max(5.0, 0.95 * self.events * EVENT_MB)

    @property
    def disk_mb(self) -> float:
        """What the outbox may take at most: passed and rejected parts and SQLite's journal."""
        return self.mb * (1 + 1 / REJECTS_MB) + JOURNAL_MB


class Station:
    """The station's process, one after the other, and the list of what each called durable.

    As the ejector's journal does, it offers again what a kill has left open, in the same order.
    """

    def __init__(self, folder: Path, port: int, mb: float) -> None:
        self.durable_file = folder / "durable"
        self.durable = self.offered = 0
        self._command = [sys.executable, str(STATION), str(folder / "outbox.db"), str(port), str(mb)]
        self._log = folder / "station.log"
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd="/")
        self._reader = threading.Thread(target=self._note, args=(self.process,), daemon=True)
        self._reader.start()
        self._say(self.durable + 1, self.offered)

    def kill(self) -> None:
        self.process.kill()
        self._end()

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._end()

    def offer(self, count: int) -> None:
        self.offered += count
        self._say(self.offered - count + 1, self.offered)

    def _say(self, first: int, last: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{first} {last}".encode().ljust(ORDER_BYTES))
        self.process.stdin.flush()

    def _end(self) -> None:
        self.process.wait(60)
        self._reader.join(60)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):  # of what it had not read
                pipe.close()

    def _note(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        left = b""
        with self.durable_file.open("ab") as file:
            while got := os.read(process.stdout.fileno(), 1 << 16):
                whole, _, left = (left + got).rpartition(b"\n")
                if whole:
                    file.write(whole + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
                    self.durable += whole.count(b"\n") + 1


class Soak:
    """All parts of one run, up when constructed; `run` goes through the phases."""

    def __init__(self, folder: Path, plan: Plan, broker: Broker, seed: int) -> None:
        self._folder = folder
        self._plan = plan
        self._broker = broker
        self._random = random.Random(seed)
        self._ledger = folder / "events.db"
        self._watch = Watch(folder / "outbox.db")
        self._station = Station(folder, broker.port, plan.mb)
        self._start_collector()
        self._watch.processes["station"] = self._station.process.pid

    def __enter__(self) -> "Soak":
        return self

    def __exit__(self, *error: object) -> None:
        self._station.stop()
        self._collector.terminate()
        self._collector.wait(60)
        self._watch.close()

    def run(self) -> Found:
        plan, station, phases = self._plan, self._station, Phases(self._watch)
        before = plan.events // 100
        station.offer(before)
        self._wait_for_all()
        phases.end("all well", before)

        self._broker.kill()
        station.offer(plan.outage)
        self._wait(lambda: station.durable == station.offered, lambda: station.durable)
        phases.end("broker away", plan.outage)

        self._broker.start()
        live = self._live_events_during_the_backlog()
        half = before + plan.outage // 2
        self._wait(lambda: self._arrived() >= half)
        phases.end("back: half of the backlog", half - before)

        kills = ["broker"] * plan.broker + ["station"] * plan.station + ["collector"] * plan.collector
        self._random.shuffle(kills)
        rest = max(len(kills), plan.events - station.offered - plan.away)
        for k, who in enumerate(kills):
            station.offer(rest * (k + 1) // len(kills) - rest * k // len(kills))
            time.sleep(self._random.uniform(0.2, 1.0))
            self._kill(who)
        phases.end(f"{plan.broker} kills of the broker, {plan.station} of the station, {plan.collector} of the collector", rest)
        arrived = self._arrived()
        self._wait_for_all()
        phases.end("until all is there", station.offered - arrived)

        self._is_away = True
        self._collector.terminate()
        self._collector.wait(60)
        station.offer(plan.away)
        self._wait(lambda: station.durable == station.offered, lambda: station.durable)
        self._wait(lambda: self._in_outbox("state = 0") == 0, lambda: self._in_outbox("state = 0"))
        self._start_collector()
        self._wait_for_all()
        phases.end("collector away", plan.away)
        self._wait(lambda: self._in_outbox("state IN (0, 3)") == 0, lambda: self._in_outbox("state IN (0, 3)"))
        passed_by, disk_mb = self._passed_by(live), self._watch.disk_mb
        facts = {
            "events that came between a live one and its arrival, at most": passed_by,
            "outbox on the disk, at most": f"{disk_mb:.0f} MB of {plan.disk_mb:.0f} MB",
            "station": self._watch.growth("station"),
            "collector": self._watch.growth("collector"),
        }
        return Found(account_of(station.durable_file, self._ledger), disk_mb, passed_by, facts)

    def _live_events_during_the_backlog(self) -> range:
        """A hundred, one after the other, told while most of the backlog waits; their part numbers."""
        self._wait(lambda: self._arrived() > self._plan.events // 100 + self._plan.outage // 100)
        first = self._station.offered + 1
        self._asked_at = []
        for _ in range(100):
            self._asked_at.append(self._arrived())
            self._station.offer(1)
            time.sleep(0.01)
        return range(first, self._station.offered + 1)

    def _passed_by(self, live: range) -> int:
        """How many other events the collector kept, at most, between the making of a live one and its arrival."""
        with closing(sqlite3.connect(self._ledger)) as db:
            query = "SELECT json_extract(data, '$.part.n') AS n, rowid FROM event WHERE outcome IS NOT NULL AND n BETWEEN ? AND ?"
            row_of = dict(db.execute(query, (live[0], live[-1])).fetchall())
        return max(row_of[n] - at for n, at in zip(live, self._asked_at, strict=True))

    def _kill(self, who: str) -> None:
        if who == "broker":
            self._broker.kill()
            time.sleep(self._random.uniform(0.0, 0.5))
            self._broker.start()
        elif who == "station":
            self._station.kill()
            self._station.start()
            self._watch.processes["station"] = self._station.process.pid
        else:
            self._collector.kill()
            self._collector.wait(60)
            self._start_collector()

    def _start_collector(self) -> None:
        self._is_away = False
        where = ["--host", self._broker.host, "--port", str(self._broker.port), "--topic", "plant"]
        words = [sys.executable, "-m", "kensa", "collect", *where, "--name", "archive", "--out", str(self._ledger)]
        with (self._folder / "collector.log").open("ab") as log:
            self._collector = subprocess.Popen(words, stdout=log, stderr=log, cwd="/")
        self._watch.processes["collector"] = self._collector.pid

    def _arrived(self) -> int:
        return events_in(self._ledger)

    def _wait_for_all(self) -> None:
        self._wait(lambda: self._arrived() >= self._station.offered and parts_in(self._ledger) == self._station.offered)

    def _wait(self, condition: Callable[[], bool], progress: Callable[[], int] | None = None) -> None:
        """RuntimeError where nothing moves for minutes."""
        progress = progress or self._arrived
        seen, since_s = progress(), time.monotonic()
        while not condition():
            time.sleep(0.2)
            if self._station.process.poll() is not None or (self._collector.poll() is not None and not self._is_away):
                raise RuntimeError(f"a process has ended by itself: see the logs in {self._folder}")
            if (now := progress()) != seen:
                seen, since_s = now, time.monotonic()
            if time.monotonic() - since_s > PATIENCE_S:
                raise RuntimeError(f"nothing has moved for {PATIENCE_S:.0f} s: {seen} of {self._station.offered}")

    def _in_outbox(self, condition: str) -> int:
        with closing(sqlite3.connect(self._folder / "outbox.db", timeout=10)) as db:
            return int(db.execute(f"SELECT count(*) FROM event WHERE {condition}").fetchone()[0])


def soak(folder: Path, plan: Plan, seed: int = 0) -> Found:
    """Prints its tables; everything it leaves lies in `folder`."""
    (folder / "broker").mkdir(parents=True)
    with mosquitto(folder / "broker", settings=ITS_OWN_LIMITS) as broker, Soak(folder, plan, broker, seed) as run:
        found = run.run()
    print_account(found.account, found.facts)
    return found


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, required=True, help="a new folder for what the processes write")
    parser.add_argument("--seed", type=int, default=0, help="of the order and the moments of the kills")
    parser.add_argument("--kills", type=int, nargs=3, default=(50, 50, 20), metavar=("BROKER", "STATION", "COLLECTOR"))
    options = parser.parse_args(words)
    if options.out.exists():
        parser.error(f"--out {options.out}: is there already, expected a new folder: remove it or name another one")
    plan = Plan(options.events, *options.kills)
    found = soak(options.out, plan, options.seed)
    is_good = found.account.is_clean and found.disk_mb <= plan.disk_mb
    print("\nnothing lost, nothing twice, all in its place" if is_good else "\nNOT CLEAN")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
