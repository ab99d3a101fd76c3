"""What the soak's driver measured and counted, and the account of each event at its end."""

import sqlite3
import threading
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

_LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class Sample:
    """A process at one moment."""

    rss_mb: float
    descriptors: int
    threads: int


class Watch:
    """Looks at processes and at the outbox's files twice a second. processes: name to process id, changed by the driver."""

    def __init__(self, outbox: Path) -> None:
        self.processes: dict[str, int] = {}
        self.samples: dict[tuple[str, int], list[Sample]] = {}
        self.disk_mb = 0.0
        self._outbox = outbox
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def growth(self, name: str) -> str:
        """Of the longest-lived process of that name, from when it had settled to its end, for people."""
        seen = max((seen for (of, _), seen in self.samples.items() if of == name), key=len)
        first, last, most = seen[len(seen) // 4], seen[-2], max(one.rss_mb for one in seen)
        memory = f"{first.rss_mb:.1f} to {last.rss_mb:.1f} MB (at most {most:.1f})"
        counts = f"{first.descriptors} to {last.descriptors} descriptors, {first.threads} to {last.threads} threads"
        return f"{memory}, {counts} in {len(seen) * _LOOK_EVERY_S:.0f} s"

    def _look_forever(self) -> None:
        while not self._stop.wait(_LOOK_EVERY_S):
            files = [file for end in ("", "-wal", "-shm") if (file := self._outbox.with_name(self._outbox.name + end)).exists()]
            self.disk_mb = max(self.disk_mb, sum(file.stat().st_size for file in files) / 1e6)
            for name, process_id in list(self.processes.items()):
                if (seen := sample(process_id)) is not None:
                    self.samples.setdefault((name, process_id), []).append(seen)


def sample(process_id: int) -> Sample | None:
    """None when it is gone."""
    try:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{process_id}/status").read_text().splitlines())
        descriptors = len(list(Path(f"/proc/{process_id}/fd").iterdir()))
        return Sample(int(status["VmRSS"].split()[0]) / 1024, descriptors, int(status["Threads"]))
    except (OSError, KeyError):
        return None


@dataclass(frozen=True)
class Account:
    """Each event, compared by the number of its part. durable: by the driver's own list. given_up: ranges that the station
    called lost."""

    durable: int
    collected: int
    lost: int
    twice: int
    unknown: int
    out_of_order: int
    given_up: int

    @property
    def is_clean(self) -> bool:
        return self.durable == self.collected and not any((self.lost, self.twice, self.unknown, self.out_of_order, self.given_up))


def account_of(durable: Path, ledger: Path) -> Account:
    """durable: part numbers, one in a line. ledger: the collector's file, nobody else's."""
    expected = set(map(int, durable.read_text().split()))
    with closing(sqlite3.connect(ledger)) as db:
        rows = db.execute(
            "SELECT stream, json_extract(data, '$.part.n') FROM event WHERE outcome IS NOT NULL ORDER BY stream, seq"
        ).fetchall()
        (given_up,) = db.execute("SELECT count(*) FROM lost").fetchone()
    found = {n for _, n in rows}
    falls = sum(a[0] == b[0] and a[1] >= b[1] for a, b in pairwise(rows))
    return Account(
        durable=len(expected),
        collected=len(rows),
        lost=len(expected - found),
        twice=len(rows) - len(found),
        unknown=len(found - expected),
        out_of_order=falls,
        given_up=given_up,
    )


def events_in(ledger: Path) -> int:
    """How many events the collector has, of parts and others; 0 where there is no ledger yet."""
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as db:
        return int(db.execute("SELECT max(rowid) FROM event").fetchone()[0] or 0)  # none is ever deleted
    return 0


def parts_in(ledger: Path) -> int:
    """How many events of parts the collector has. Reads all of them."""
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as db:
        return int(db.execute("SELECT count(outcome) FROM event").fetchone()[0])


class Phases:
    """The table of what was done: a row when a phase ends."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._started_s = time.monotonic()
        print("| phase | events | s | events/s | station: MB, fds, threads | collector | outbox, MB |")
        print("|---|---|---|---|---|---|---|")

    def end(self, name: str, events: int) -> None:
        now_s = time.monotonic()
        took_s, self._started_s = now_s - self._started_s, now_s
        station, collector = (self._of(role) for role in ("station", "collector"))
        row = [name, f"{events}", f"{took_s:.1f}", f"{events / took_s:.0f}", station, collector, f"{self._watch.disk_mb:.0f}"]
        print(f"| {' | '.join(row)} |", flush=True)

    def _of(self, role: str) -> str:
        found = sample(self._watch.processes.get(role, 0))
        return f"{found.rss_mb:.0f}, {found.descriptors}, {found.threads}" if found else "-"


def print_account(account: Account, facts: Mapping[str, object]) -> None:
    """One line for each figure."""
    print("\n| account | |\n|---|---|")
    for name in ("durable", "collected", "lost", "twice", "unknown", "out_of_order", "given_up"):
        print(f"| {name.replace('_', ' ')} | {getattr(account, name)} |")
    for what, value in facts.items():
        print(f"| {what} | {value} |")
