"""A belt in real time: where it is at each instant, what is on it, and what its flap has taken off. This is the truth."""

import socket
import threading
import time
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from libmodbus import Plc

from agent.simulation.belt import LENGTH_MM, MM_PER_MS, BeltPart

TRAVEL_MM = 600.0  # from the trigger to the gate; the encoder gives a count for each mm
LAG_NS = 20_000_000  # the flap is slower than its coil
_RAMP_STEPS, _RAMP_NS = 5, 25_000_000  # a belt has mass: 100 ms from standing to full speed


@dataclass(frozen=True, slots=True)
class Stretch:
    """The belt from an instant on, as long as its speed stays the same. speed: mm per ms."""

    since_ns: int
    since_mm: float
    speed: float


class Drive:
    """Moves the belt; one that changes its speed also stands for up to three seconds and runs back a little, by chance."""

    def __init__(self, changes_speed: bool, random: Random) -> None:
        self.stretches = [Stretch(time.monotonic_ns(), 0.0, MM_PER_MS)]
        self._changes_speed = changes_speed
        self._random = random
        self._until_ns = self.stretches[0].since_ns + 1_000_000_000
        self._lock = threading.Lock()

    def place(self, ns: int) -> float:
        """Where the belt is at an instant that is not in the future, mm."""
        with self._lock:
            while self._changes_speed and self._until_ns <= ns:
                self._change_speed()
            stretch = self.stretches[self._at(ns)]
        return stretch.since_mm + (ns - stretch.since_ns) / 1e6 * stretch.speed

    def within(self, first_mm: float, last_mm: float, since_ns: int) -> list[tuple[int, int]]:
        """From when to when the belt was between two places, ns, after an instant at which it was before them."""
        found = []
        for k in range(self._at(since_ns), len(self.stretches)):
            here = self.stretches[k]
            end_ns = self.stretches[k + 1].since_ns if k + 1 < len(self.stretches) else time.monotonic_ns()
            end_mm = here.since_mm + (end_ns - here.since_ns) / 1e6 * here.speed
            if here.speed == 0.0:
                span = (here.since_ns, end_ns) if first_mm <= here.since_mm <= last_mm else (0, 0)
            else:
                crossed = sorted(here.since_ns + round((mm - here.since_mm) / here.speed * 1e6) for mm in (first_mm, last_mm))
                span = (max(here.since_ns, crossed[0]), min(end_ns, crossed[1]))
            if span[0] < span[1]:
                found.append(span)
            if end_mm > last_mm + 2 * LENGTH_MM:  # it never runs back so far
                break
        return found

    def _at(self, ns: int) -> int:
        return max(0, bisect_right(self.stretches, ns, key=lambda stretch: stretch.since_ns) - 1)

    def _change_speed(self) -> None:
        last = self.stretches[-1]
        speed = self._random.choices((1.0, 0.6, 0.2, 0.0, -0.1), (60, 20, 8, 8, 4))[0] * MM_PER_MS
        for k in range(1, _RAMP_STEPS + 1):
            before = self.stretches[-1]
            place = before.since_mm + (self._until_ns - before.since_ns) / 1e6 * before.speed
            self.stretches.append(Stretch(self._until_ns, place, last.speed + (speed - last.speed) * k / _RAMP_STEPS))
            self._until_ns += _RAMP_NS
        lasts_ms = self._random.uniform(100, 300) if speed < 0 else self._random.uniform(200, 3000)
        self._until_ns += round(lasts_ms * 1e6)


class RealBelt:
    """Puts parts on the belt and triggers. parts: by the trigger's instant; may_feed: whether the PLC lets parts in.

    socket: of the software trigger.
    """

    def __init__(self, drive: Drive, socket: Path, parts: int, bad_share: float, may_feed: Callable[[], bool], seed: int) -> None:
        self.drive = drive
        self.counts: Counter[str] = Counter()
        self.parts: dict[int, BeltPart] = {}
        self.is_done = threading.Event()
        self._socket = socket
        self._most = parts
        self._bad_share = bad_share
        self._may_feed = may_feed
        self._random = Random(seed)
        self._faults: deque[BaseException] = deque(maxlen=1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._guarded, daemon=True)

    def __enter__(self) -> "RealBelt":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)
        if self._faults:
            raise self._faults[0]

    def count_stops(self) -> None:
        """How often the belt stood or ran back, and with parts between camera and gate."""
        for stretch in self.drive.stretches:
            between = any(part.entered_mm <= stretch.since_mm < part.entered_mm + TRAVEL_MM for part in self.parts.values())
            if stretch.speed <= 0.0:
                what = "stood" if stretch.speed == 0.0 else "ran back"
                self.counts[f"made: belt {what}"] += 1
                self.counts[f"made: belt {what} with parts between camera and gate"] += between

    def _guarded(self) -> None:
        try:
            self._feed()
        except BaseException as e:  # noqa: BLE001 - raised when the belt is left
            self._faults.append(e)
        self.is_done.set()

    def _feed(self) -> None:
        """A part every now and then, as the PLC lets them in; then the last ones travel to the gate and through."""
        next_at_mm, place = 0.0, 0.0
        while len(self.parts) < self._most and not self._stop.wait(0.002):
            now_ns = time.monotonic_ns()
            place = self.drive.place(now_ns)
            if not self._may_feed():
                next_at_mm = max(next_at_mm, place + 2 * LENGTH_MM)
            elif place >= next_at_mm:
                next_at_mm = place + self._random.uniform(1.6, 8.0) * LENGTH_MM
                self._trigger(now_ns, place)
        while self.drive.place(time.monotonic_ns()) < place + 2 * TRAVEL_MM and not self._stop.wait(0.1):
            pass

    def _trigger(self, now_ns: int, place: float) -> None:
        self.parts[now_ns] = BeltPart(len(self.parts) + 1, self._random.random() < self._bad_share, place)
        if not self._send(now_ns):
            del self.parts[now_ns]
            self.counts["taken off by the PLC, trigger not acknowledged"] += 1
        elif self._random.random() < 0.02:
            self.counts["made: trigger bounced"] += 1
            self._send(now_ns + 200_000)

    def _send(self, edge_ns: int) -> bool:
        """To the gate; False where nobody is there."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            try:
                out.connect(str(self._socket))
                return out.send(str(edge_ns).encode()) > 0
            except OSError:
                return False


def acting(coupler: Plc) -> list[tuple[int, int]]:
    """From when to when the flap stood in the way, ns: the coil's times, a lag later."""
    found: list[tuple[int, int]] = []
    since_ns: int | None = None
    for (_, said), at_ns in zip(coupler.writes, coupler.written_ns, strict=True):
        is_on = said[2] == 0xFF  # of a single coil: address, then 0xFF00 or 0
        if is_on and since_ns is None:
            since_ns = at_ns
        elif not is_on and since_ns is not None:
            found.append((since_ns + LAG_NS, at_ns + LAG_NS))
            since_ns = None
    return found if since_ns is None else [*found, (since_ns + LAG_NS, time.monotonic_ns())]


def at_gate(drive: Drive, part: BeltPart, triggered_ns: int) -> list[tuple[int, int]]:
    """From when to when a part was where the flap can catch it, ns."""
    first_mm = part.entered_mm + TRAVEL_MM
    return drive.within(first_mm, first_mm + LENGTH_MM, triggered_ns)


def caught_ms(spans: list[tuple[int, int]], flap: list[tuple[int, int]]) -> float:
    """How long the flap acted on a part that was at the gate in these spans."""
    overlaps = (max(0, min(gone, until) - max(here, since)) for here, gone in spans for since, until in flap)
    return sum(overlaps) / 1e6
