"""The inspection process's end of the page's socket, held by a test in place of one."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.clock import utc_now
from agent.observation.metrics import LATE_MS, LATENCY_MS, SCORES
from agent.observation.page_channel import PageChannel
from agent.observation.shown import Ended, Health, Judged, View

_TELL_EVERY_S = 0.1


def health(**changes: Any) -> Health:
    """Of a station where all is well."""
    histograms = {"latency_ms": LATENCY_MS, "late_ms": LATE_MS, "scores": SCORES}
    well: dict[str, Any] = {
        "uptime_s": 5.0,
        "triggers": 41,
        "in_flight": 1,
        "account": 0,
        "counts": {"pass": 30, "reject": 10, "reject/score": 10},
        **{name: ([0] * (len(bounds) + 1), 0.0) for name, bounds in histograms.items()},
        **{name: {} for name in ("drops", "queues", "gauges", "drift", "alarms")},
        "trouble": "",
    }
    return Health(**well | changes)


def judged(part: str, outcome: str = "pass", jpeg: bytes = b"") -> Judged:
    score = {"pass": 0.1, "reject": 1.9}[outcome]
    return Judged(part, utc_now(), 12.0, (View("top", outcome, "score", f"score {score}", score, jpeg),), 0)


def ended(part: str, outcome: str = "pass", cause: str = "score") -> Ended:
    return Ended(part, utc_now(), outcome, cause, f"it ended by {cause}", None)


class FakeInspection:
    """health: what it says of itself, again and again; None: it hangs. happened: what it tells next."""

    def __init__(self) -> None:
        self.health: Health | None = health()
        self.happened: deque[Judged | Ended] = deque()

    def serve(self, channel: PageChannel, stop: threading.Event) -> None:
        while not stop.wait(_TELL_EVERY_S):
            channel.serve(time.monotonic_ns())
            while self.happened:
                channel.part(self.happened.popleft())
            if self.health is not None:
                channel.tell(self.health)
            channel.flush()


@contextmanager
def inspecting(state: Path, station: str = "press-3") -> Iterator[FakeInspection]:
    """For as long as the block runs."""
    fake, stop = FakeInspection(), threading.Event()
    channel = PageChannel(state, {"station": station, "threshold": 1.0})
    thread = threading.Thread(target=fake.serve, args=(channel, stop))
    thread.start()
    try:
        yield fake
    finally:
        stop.set()
        thread.join(10)
        channel.close()
