"""What the page costs the line: 99th percentile from trigger to verdict with three pages open and /metrics read each second.

Paired: windows with and without visitors alternate in one run of one line, so that both see the same machine; which of a pair
comes first alternates too. The visitors are a process that gives way to all others (tests/page_visitors.py).
"""

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).parent
sys.path[:0] = [str(ROOT), str(ROOT / "web"), str(ROOT / "agent")]

# ruff: noqa: E402 - the tests' own helpers
from broker import free_port, mosquitto
from page_visitors import PAGES
from running_line import RunningLine, Subscriber, write_line
from small_bundle import edit_manifest, write_bundle
from visitor import Visitor

PASSWORD = "only for this bench"
PERIOD_MS, WINDOW_S, SETTLE_S = 50, 6.0, 1.0


def write_large_photographs(folder: Path, n: int) -> None:
    """1280x1024, every fifth one with a defect."""
    folder.mkdir()
    random = np.random.default_rng(1)
    for k in range(n):
        image = cv2.resize(random.integers(40, 80, (64, 80, 3), dtype=np.uint8), (1280, 1024), interpolation=cv2.INTER_CUBIC)
        if k % 5 == 0:
            image[300:600, 400:800] = 230
        cv2.imwrite(str(folder / f"{k:03d}.bmp"), image)


def allow_large(manifest: dict[str, Any]) -> None:
    """The small bundle takes small photographs only."""
    manifest["input"].update(max_width=2560, max_height=2560)


@contextmanager
def visitors(port: int, engineer: Visitor, counts: Counter[str]) -> Iterator[None]:
    """Somebody looks while the block runs; what they were given is added to the counts."""
    command = [sys.executable, str(ROOT / "page_visitors.py"), str(port), engineer.cookie, engineer.agent]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as process:
        yield
        out, _ = process.communicate(timeout=60)
        counts.update(json.loads(out))


@contextmanager
def line_with_page() -> Iterator[tuple[Subscriber, int, Visitor]]:
    """A line that runs until the block is left, and somebody who is logged in at its page."""
    with tempfile.TemporaryDirectory(prefix="k") as name:
        folder, port = Path(name), free_port()
        (folder / "broker").mkdir()
        write_bundle(folder / "bundle")
        edit_manifest(folder / "bundle", allow_large)
        write_large_photographs(folder / "parts", 20)
        with mosquitto(folder / "broker") as broker:
            file = write_line(folder, broker, folder / "bundle", folder / "parts", count=1_000_000, period_ms=PERIOD_MS)
            file.write_text(file.read_text() + f"record: {{mb: 200, leave_free_mb: 0}}\nweb: {{port: {port}}}\n")
            subscriber = Subscriber(broker)
            line = RunningLine(file, folder / "line.log")
            try:
                subscriber.wait_for(20, timeout_s=60)
                engineer = Visitor(port)
                token = (folder / "state" / "web" / "first-run-token").read_text()
                assert engineer.first_run(token, "engineer", PASSWORD).status == 200
                yield subscriber, port, engineer
            finally:
                line.stop()
                subscriber.close()


def window(subscriber: Subscriber) -> list[float]:
    """Trigger to verdict in ms of the parts whose events come in one window."""
    time.sleep(SETTLE_S)
    start = len(subscriber.results)
    time.sleep(WINDOW_S)
    readings = [event["data"]["readings"] for event in list(subscriber.results)[start:]]
    return [one[0]["latency_ms"] for one in readings if one]


def page_cost(pairs: int = 12) -> tuple[list[list[float]], list[list[float]], Counter[str]]:
    """Latencies in ms of each window without and with visitors, and what those were given."""
    without: list[list[float]] = []
    visited: list[list[float]] = []
    counts: Counter[str] = Counter()

    def with_visitors() -> None:
        with visitors(port, engineer, counts):
            time.sleep(SETTLE_S)  # until they are all there
            visited.append(window(subscriber))

    with line_with_page() as (subscriber, port, engineer):
        for k in range(pairs):
            if k % 2:
                with_visitors()
                without.append(window(subscriber))
            else:
                without.append(window(subscriber))
                with_visitors()
    return without, visited, counts


def told(without: list[list[float]], visited: list[list[float]], counts: Counter[str]) -> tuple[float, str]:
    """Ratio of the 99th percentiles of all parts; words about it: its 95 % interval over the pairs, and the pairs' own ratios."""

    def ratio(pairs: np.ndarray) -> float:
        with_visitors, alone = (np.concatenate([side[k] for k in pairs]) for side in (visited, without))
        return float(np.percentile(with_visitors, 99) / np.percentile(alone, 99))

    n, random = len(without), np.random.default_rng(0)
    low, high = np.percentile([ratio(random.integers(0, n, n)) for _ in range(1000)], (2.5, 97.5))
    each = sorted(ratio(np.array([k])) for k in range(n))
    (p50, p99), (visited_p50, visited_p99) = (np.percentile(np.concatenate(side), (50, 99)) for side in (without, visited))
    given = ", ".join(f"{count} {what}" for what, count in counts.items())
    words = (
        f"(95 % interval {low:.2f} to {high:.2f}; pair by pair median {np.median(each):.2f}, {each[0]:.2f} to {each[-1]:.2f} "
        f"in {n} pairs; p50 {p50:.1f} and {visited_p50:.1f} ms, p99 {p99:.1f} and {visited_p99:.1f} ms "
        f"of {sum(map(len, without))} and {sum(map(len, visited))} parts; given: {given})"
    )
    return ratio(np.arange(n)), words


if __name__ == "__main__":
    found, words = told(*page_cost(int(sys.argv[1]) if len(sys.argv) > 1 else 12))
    print(f"trigger to verdict with {PAGES} pages open over without: {found:.2f} x at p99 {words}")
