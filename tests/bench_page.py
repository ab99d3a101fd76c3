"""What the page costs the line: 99th percentile from trigger to verdict with three pages open and /metrics read each second.

Paired: windows with and without visitors follow each other in one run of one line, so that both see the same machine.
"""

import http.client
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).parent
sys.path[:0] = [str(ROOT), str(ROOT / "web"), str(ROOT / "agent")]

# ruff: noqa: E402 - the tests' own helpers
from broker import free_port, mosquitto
from running_line import RunningLine, Subscriber, write_line
from small_bundle import edit_manifest, write_bundle
from visitor import Visitor

PASSWORD = "only for this bench"
PERIOD_MS, WINDOW_S, SETTLE_S = 50, 4.0, 1.0
PAGES = 3


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


class Visitors:
    """Pages that hear the events and fetch each picture as a browser does, and a Prometheus."""

    def __init__(self, port: int, engineer: Visitor) -> None:
        self._stop = threading.Event()
        self.pictures = self.scrapes = 0
        acts: list[Callable[[], None]] = [lambda: self._look(port, engineer)] * PAGES + [lambda: self._scrape(engineer)]
        self._threads = [threading.Thread(target=act) for act in acts]
        for thread in self._threads:
            thread.start()

    def leave(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _look(self, port: int, engineer: Visitor) -> None:
        headers = {"Cookie": f"kensa-session={engineer.cookie}", "User-Agent": engineer.agent}
        events = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        pictures = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        events.request("GET", "/api/events", headers=headers)
        stream = events.getresponse()
        while not self._stop.is_set():
            line = stream.readline()
            if line.startswith(b"data: ") and (part := json.loads(line[6:])).get("is_shown"):
                for suffix in ("jpg", "png"):
                    pictures.request("GET", f"/live/{part['part']}.{suffix}", headers=headers)
                    pictures.getresponse().read()
                    self.pictures += 1
        events.close()
        pictures.close()

    def _scrape(self, engineer: Visitor) -> None:
        while not self._stop.wait(1.0):
            assert engineer.ask("GET", "/metrics").status == 200
            self.scrapes += 1


@contextmanager
def line_with_page(pairs: int) -> Iterator[tuple[Subscriber, int, Visitor]]:
    """A line that runs long enough, and somebody who is logged in at its page."""
    with tempfile.TemporaryDirectory(prefix="k") as name:
        folder, port = Path(name), free_port()
        (folder / "broker").mkdir()
        write_bundle(folder / "bundle")
        edit_manifest(folder / "bundle", allow_large)
        write_large_photographs(folder / "parts", 20)
        with mosquitto(folder / "broker") as broker:
            count = int((2 * pairs + 2) * (WINDOW_S + SETTLE_S) * 1000 / PERIOD_MS)
            file = write_line(folder, broker, folder / "bundle", folder / "parts", count=count, period_ms=PERIOD_MS)
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


def latencies(subscriber: Subscriber, start: int) -> list[float]:
    """Trigger to verdict in ms of the parts whose events came since."""
    readings = [event["data"]["readings"] for event in list(subscriber.results)[start:]]
    return [one[0]["latency_ms"] for one in readings if one]


def page_cost(pairs: int = 6) -> tuple[list[float], list[float], int]:
    """Latencies in ms without and with visitors, sorted, and the pictures that those were shown."""
    without: list[float] = []
    visited: list[float] = []
    pictures = 0
    with line_with_page(pairs) as (subscriber, port, engineer):
        for _ in range(pairs):
            time.sleep(SETTLE_S)
            start = len(subscriber.results)
            time.sleep(WINDOW_S)
            without += latencies(subscriber, start)
            visitors = Visitors(port, engineer)
            time.sleep(SETTLE_S)
            start = len(subscriber.results)
            time.sleep(WINDOW_S)
            visited += latencies(subscriber, start)
            visitors.leave()
            pictures += visitors.pictures
    return sorted(without), sorted(visited), pictures


def told(without: list[float], visited: list[float], pictures: int) -> tuple[float, str]:
    """Ratio of the 99th percentiles, and words about both."""
    (p50, p99), (visited_p50, visited_p99) = (np.percentile(one, (50, 99)) for one in (without, visited))
    words = f"p50 {p50:.1f} and {visited_p50:.1f} ms, p99 {p99:.1f} and {visited_p99:.1f} ms"
    return float(visited_p99 / p99), f"({words} of {len(without)} and {len(visited)} parts; {pictures} pictures shown)"


if __name__ == "__main__":
    ratio, words = told(*page_cost(int(sys.argv[1]) if len(sys.argv) > 1 else 6))
    print(f"trigger to verdict with {PAGES} pages open over without: {ratio:.2f} x at p99 {words}")
