"""A PLC beside a belt in real time: it takes results, lets parts in only while the station is ready, and at times does neither.

Its Modbus is libmodbus, in either role. What it saw is kept, to be compared with the belt's truth.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from broker import free_port
from libmodbus import Master, Plc

WORDS, VERSION = 12, 1
THEIRS = 20  # where the PLC's own words are, when it is polled
_SCAN_S, _TRY_AGAIN_S = 0.01, 0.1
_BEAT_WITHIN_NS = 1_200_000_000  # the station's changes twice a second
_FEEDER_NS = 300_000_000  # so long the feeder runs on: those parts come although the station is not ready


class Wire(Protocol):
    """Twelve words of the station, two bits of the PLC. All raise OSError where the other side is not there."""

    def words(self) -> list[int]: ...

    def show(self, ack: bool, reset: bool) -> None: ...

    def leave(self) -> None: ...


class Polls:
    """The station is the server: `plc: {type: modbus_server}`."""

    def __init__(self) -> None:
        self.port = free_port()
        self._master: Master | None = None

    @property
    def section(self) -> str:
        return f"{{type: modbus_server, host: 127.0.0.1, port: {self.port}}}"

    def words(self) -> list[int]:
        with self._connected() as master:
            return master.inputs(0, WORDS)

    def show(self, ack: bool, reset: bool) -> None:
        with self._connected() as master:
            master.write_coils(0, [False, ack, reset])

    def leave(self) -> None:
        if self._master is not None:
            self._master.close()
        self._master = None

    @contextmanager
    def _connected(self) -> Iterator[Master]:
        """Thrown away after an error, and made anew for the next request."""
        if self._master is None:
            self._master = Master(self.port)
        try:
            yield self._master
        except OSError:
            self.leave()
            raise


class IsPolled:
    """The station is the client: `plc: {type: modbus_client}`. A PLC that comes back has forgotten its tables."""

    def __init__(self) -> None:
        self._server: Plc | None = Plc()
        self.port = self._server.port

    @property
    def section(self) -> str:
        return f"{{type: modbus_client, host: 127.0.0.1, port: {self.port}, ours: 0, theirs: {THEIRS}}}"

    def words(self) -> list[int]:
        if self._server is None:
            self._server = Plc(self.port)
        words = self._server.held(0, WORDS)
        if words[WORDS - 1] != VERSION:
            raise ConnectionError("nothing written yet")
        return words

    def show(self, ack: bool, reset: bool) -> None:
        if self._server is not None:
            self._server.holding[THEIRS] = ack << 1 | reset << 2

    def leave(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
            server.free()


class Shown(NamedTuple):
    """A result as the PLC saw it. number: of the part, by the station's count."""

    at_ns: int
    number: int
    is_ok: bool


class RealPlc:
    """One thread that scans. shown: what it saw. deaf_ns: instants at which it took no results, or could not."""

    def __init__(self, wire: Wire) -> None:
        self.counts: Counter[str] = Counter()
        self.shown: list[Shown] = []
        self.deaf_ns: list[int] = []
        self.violations: list[str] = []
        self._wire = wire
        self._stop = threading.Event()
        self._faults: deque[BaseException] = deque(maxlen=1)
        self._ready_ns = self._beat_ns = self._away_until_ns = self._takes_from_ns = self._resets_ns = 0
        self._beat = self._status = -1
        self._number: int | None = None
        self._ack = self._reset = False
        self._told: tuple[bool, bool] | None = None
        self._thread = threading.Thread(target=self._guarded, daemon=True)

    def __enter__(self) -> "RealPlc":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)
        self._wire.leave()
        if self._faults:
            raise self._faults[0]

    def may_feed(self) -> bool:
        """Whether parts come: the station was ready a moment ago."""
        return time.monotonic_ns() - self._ready_ns < _FEEDER_NS

    def take_late(self, for_s: float) -> None:
        self.counts["made: PLC acknowledged late"] += 1
        self._takes_from_ns = time.monotonic_ns() + round(for_s * 1e9)

    def take_nothing(self) -> None:
        """No acknowledgement until the station has told of an overrun, for half a minute at most."""
        self.counts["made: PLC did not acknowledge"] += 1
        self._takes_from_ns = time.monotonic_ns() + 30_000_000_000

    def vanish(self, for_s: float) -> None:
        self.counts["made: PLC vanished"] += 1
        self._away_until_ns = time.monotonic_ns() + round(for_s * 1e9)

    def _guarded(self) -> None:
        try:
            while not self._stop.wait(_SCAN_S):
                self._scan(time.monotonic_ns())
        except BaseException as e:  # noqa: BLE001 - raised when the PLC is left
            self._faults.append(e)

    def _scan(self, now_ns: int) -> None:
        if now_ns < self._away_until_ns:
            self._wire.leave()
            self._told = None
            self.deaf_ns.append(now_ns)
            return
        try:
            self._see(self._wire.words(), now_ns)
            if self._told != (self._ack, self._reset):
                self._wire.show(self._ack, self._reset)
                self._told = (self._ack, self._reset)
        except OSError:
            self._told = None
            self.deaf_ns.append(now_ns)
            self._stop.wait(_TRY_AGAIN_S)

    def _see(self, words: Sequence[int], now_ns: int) -> None:
        ready, _, _, valid, ok, ng, error, overrun, _, may_run, _ = (words[0] >> k & 1 for k in range(11))
        if (ok and ng) or valid != (ok or ng):
            self.violations.append(f"the PLC saw valid {valid}, ok {ok}, ng {ng}")
        if words[8] != self._beat:
            self._beat, self._beat_ns = words[8], now_ns
        if ready and may_run and now_ns - self._beat_ns < _BEAT_WITHIN_NS:
            self._ready_ns = now_ns
        self._count_edges(error=error, overrun=overrun, stop=not may_run)
        number = words[3] << 16 | words[4]
        if valid and number != self._number:
            self.shown.append(Shown(now_ns, number, bool(ok)))
        self._number = number if valid else None
        self._look_after_overrun(bool(overrun), now_ns)
        takes = now_ns >= self._takes_from_ns
        if not takes or overrun:
            self.deaf_ns.append(now_ns)
        self._ack = bool(valid) and (self._ack or takes)

    def _count_edges(self, error: int, overrun: int, stop: bool) -> None:
        before, self._status = self._status, error | overrun << 1 | stop << 2
        for k, what in enumerate(("an error", "an overrun", "that the line has to stand")):
            self.counts[f"the PLC saw {what}"] += bool(before >= 0 and self._status & ~before & 1 << k)

    def _look_after_overrun(self, overrun: bool, now_ns: int) -> None:
        """Half a second after an overrun somebody presses its button: it takes results again and resets the station."""
        if not overrun:
            self._resets_ns, self._reset = 0, False
        elif not self._resets_ns:
            self._resets_ns = now_ns + 500_000_000
        elif now_ns >= self._resets_ns:
            self._reset = True
            self._takes_from_ns = min(self._takes_from_ns, now_ns)
