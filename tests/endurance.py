"""`make endurance`: what a whole line keeps: two cameras, the page, a browser that looks at it, a collector, a broker that goes.

Parts come far faster than on a belt, so that an hour stands for days: memory, descriptors and threads of each process, and what
lies on the disk, over the parts. Exit 1 where one still grows: in the last three quarters, by more than 1 MB an hour would be at
a part a second. The collector's ledger grows, as it should; nothing is ever deleted there.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

TESTS = Path(__file__).parent
sys.path[:0] = [str(TESTS.parent), str(TESTS), str(TESTS / "web"), str(TESTS / "agent")]  # ours first: tests/agent is no package

# ruff: noqa: E402 - the tests' own helpers
from browser import Tab
from page_line import Line, page_line
from real_world import LEDGER, collecting
from small_bundle import write_bundle
from soak_account import events_in, sample

ALLOWED_BYTES = 1e6 / 3600  # a part
OUTAGE_EVERY, OUTAGE_S = 30, 5.0  # looks between them
ROLES = ("run", "eject", "inspect", "web")


@dataclass(frozen=True)
class Look:
    """Everything at one moment. kept: MB by name. counts: descriptors and threads by process. nodes: of the browser's page."""

    parts: int
    kept: Mapping[str, float]
    counts: Mapping[str, tuple[int, int]]
    nodes: int


def looks(line: Line, ledger: Path, tab: Tab, seconds: float, every_s: float) -> Iterator[Look]:
    """One every so often, until the time is over; the broker is killed now and then."""
    until_s, n = time.monotonic() + seconds, 0
    while time.monotonic() < until_s:
        n += 1
        if n % OUTAGE_EVERY == 0:
            line.broker.kill()
            time.sleep(OUTAGE_S)
            line.broker.start()
        time.sleep(every_s)
        found = {name: sample(process) for name, process in _processes(line.file, ledger)}
        lost = [name for name, one in found.items() if one is None]
        assert not lost, f"gone: {lost}\n{(line.file.parent / 'line.log').read_text()[-5000:]}"
        kept = {name: one.rss_mb for name, one in found.items() if one}
        kept["JavaScript in the browser"], nodes = tab.keeps()
        kept["the station's disk"] = _disk_mb(line.file.parent / "state")
        counts = {name: (one.descriptors, one.threads) for name, one in found.items() if one}
        yield Look(events_in(ledger), kept, counts, nodes)


def _processes(file: Path, ledger: Path) -> Iterator[tuple[str, int]]:
    for role in ROLES:
        yield role, _process(f"kensa(.py)? {role} {file}")
    yield "collect", _process(f"kensa collect .*{ledger}")


def _disk_mb(folder: Path) -> float:
    """Of the files that stay while they are counted."""
    total = 0
    for below, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(below, name).stat().st_size
    return total / 1e6


def _process(pattern: str) -> int:
    found = subprocess.run(["pgrep", "-o", "-f", pattern], capture_output=True, text=True, check=False).stdout.split()
    return int(found[0]) if found else 0


def growth(seen: Sequence[Look], name: str) -> float:
    """Bytes a part, a line through the last three quarters."""
    settled = seen[len(seen) // 4 :]
    return float(np.polyfit([one.parts for one in settled], [one.kept[name] * 1e6 for one in settled], 1)[0])


def table(seen: Sequence[Look]) -> list[str]:
    """Rows for people; where each stood after a quarter, a half, three quarters, at the end."""
    moments = [seen[max(0, len(seen) * k // 4 - 1)] for k in (1, 2, 3, 4)]
    columns = ["", *(f"{one.parts} events" for one in moments), "bytes a part", "descriptors", "threads"]
    rows = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name in seen[0].kept:
        kept = " | ".join(f"{one.kept[name]:.1f} MB" for one in moments)
        counts = [one.counts.get(name) for one in (moments[0], moments[-1])]
        pairs = [" to ".join(str(count[k]) for count in counts if count) or "-" for k in (0, 1)]
        rows.append(f"| {name} | {kept} | {growth(seen, name):.0f} | {' | '.join(pairs)} |")
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--period-ms", type=float, default=40)
    parser.add_argument("--every-s", type=float, default=10)
    options = parser.parse_args()
    with TemporaryDirectory(prefix="k") as name:
        folder = Path(name)
        write_bundle(folder / "bundle", openvino_too=True)
        small = "{pass: {mb: 3}, reject: {mb: 3}}"  # so that it is soon full
        with page_line(folder / "bundle", options.period_ms, 10**9, small) as line, collecting(line.broker, folder):
            tab = line.tab("operator")
            seen = list(looks(line, folder / LEDGER, tab, options.minutes * 60, options.every_s))
            errors = tab.errors
    print(*table(seen), f"nodes of the page: {seen[len(seen) // 4].nodes} to {seen[-1].nodes}", sep="\n")
    grows = [name for name in seen[0].kept if growth(seen, name) > ALLOWED_BYTES]
    print("grows: " + (", ".join(grows) or "nothing"), *errors, sep="\n")
    return 1 if grows or errors else 0


if __name__ == "__main__":
    sys.exit(main())
