"""Looks at each judged part after its verdict, and never in its way: counts, drift, pictures to keep, pictures to show.

The hot path leaves a part here with `saw`, which waits for nothing. A thread of its own does the rest, a few times a second, and
serves one reader at a Unix socket: the page's process. Pictures are made small only while somebody looks at the page, at most
three a second, and not while verdicts come so late that the line itself needs the processor.
"""

import logging
import socket
import struct
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import msgspec

from agent.clock import utc_now
from agent.config import Line
from agent.events.event import alert
from agent.events.outbox import Outbox
from agent.gate_link import GateLink
from agent.inspection import Closed, Fault, Measured, Part, Prediction, Reading, Shot, Verdict
from agent.model import Model
from agent.observation.drift import Drift
from agent.observation.metrics import Tally
from agent.observation.picture import heat_over, small_photograph
from agent.observation.shown import PAGE_SOCKET, Ended, Health, Judged, Station, Told, framed
from agent.preprocess import InputContract
from agent.record.record import FOLDER, Record

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.05
_HEALTH_EVERY_NS = 1_000_000_000
_SHOW_EVERY_NS = 300_000_000
_SOMEBODY_LOOKS_NS = 4_000_000_000  # after the page's process last said so
_FACTS = 4096
_REMEMBERED = 400  # parts told to a page that comes later
_SEND_WITHIN_S = 2
_NO_EJECTOR = "the ejector process is not there: every part is rejected"
_SLOWLY = 0.05  # weight of one part in the moving mean of the latency
_PRESSED = 0.5  # share of the time to the gate that verdicts may need before nothing is shown any more
_AFTER_DUE_NS = 30_000_000_000  # a part's end may be told so much later than it should have ended


class ObserverError(Exception):
    """The observer's thread has stopped, or its socket cannot be made."""


@dataclass(frozen=True, slots=True)
class Around:
    """What the observer asks of the rest of the station. gauges, drops, queues: names to numbers as they are now.

    alert: tells people, with a name, `raised` or `cleared`, and words. trouble: what is wrong now, empty when nothing is.
    """

    birth: Mapping[str, str | float] = field(default_factory=dict)
    gauges: Callable[[], dict[str, float]] = dict
    drops: Callable[[], dict[str, int]] = dict
    queues: Callable[[], dict[str, int]] = dict
    trouble: Callable[[], str] = str
    alert: Callable[[str, str, str], None] = lambda name, state, detail: None


@dataclass(frozen=True, slots=True)
class _Took:
    """A verdict that was told to the gate."""

    part: Part
    measured: Measured
    verdict: Verdict


@dataclass(slots=True)
class _Page:
    """The page's process at the other end."""

    channel: socket.socket
    looks_until_ns: int = 0


class Observer:
    """state: folder of the socket. due_ns: time from trigger to gate. record, drift: None where the line has none.

    Raises ObserverError.
    """

    def __init__(
        self,
        state: Path,
        contract: InputContract,
        due_ns: int,
        around: Around,
        record: Record | None = None,
        drift: Drift | None = None,
    ) -> None:
        self._contract = contract
        self._due_ns = due_ns
        self._around = around
        self._birth = self._told_birth = dict(around.birth)
        self._record = record
        self._drift = drift
        self._tally = Tally(due_ns + _AFTER_DUE_NS)
        self._facts: deque[_Took | Closed] = deque()
        self._newest: tuple[Shot, Reading] | None = None
        self._looked_at: Shot | None = None
        self._told: deque[Told] = deque(maxlen=_REMEMBERED)
        self._page: _Page | None = None
        self._alarms: dict[str, str] = {}
        self._started_ns = time.monotonic_ns()
        self._shown_ns = self._health_ns = 0
        self._slow_ms = 0.0
        self.dropped = self.not_shown = 0
        self._stop = threading.Event()
        self._failure: Exception | None = None
        file = state / PAGE_SOCKET
        try:
            state.mkdir(parents=True, exist_ok=True)
            file.unlink(missing_ok=True)
            self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._server.bind(str(file))
            file.chmod(0o600)
            self._server.listen(1)
            self._server.setblocking(False)
        except OSError as e:
            raise ObserverError(f"{file}: cannot be made for the page's process: {e}") from e
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Observer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(timeout=10)
        self._server.close()

    def judged_by(self, model: Model, bundle_id: str, birth: Mapping[str, str]) -> None:
        """Another model from now on: pictures and record go by it, drift begins anew. Waits for nothing. birth: what is new."""
        self._contract = model.contract
        self._birth = {**self._birth, **birth, "threshold": model.calibration.threshold}
        if self._drift is not None:
            self._drift = self._drift.anew(len(model.calibration.raw_scores))
        if self._record is not None:
            self._record.judged_by(model.contract, bundle_id)

    def check(self) -> None:
        """Raises what ended its thread or the record's, if one ended."""
        if self._failure:
            raise ObserverError("observer stopped") from self._failure
        if self._record is not None:
            self._record.check()

    def saw(self, shot: Shot, reading: Reading, measured: Measured, verdict: Verdict) -> None:
        """A part has its verdict. For the hot path: waits for nothing, copies nothing, writes nothing."""
        if self._record is not None:
            self._record.offer(shot, reading, verdict)
        self._newest = (shot, reading)  # the newest one is shown, the others are counted
        self._note(_Took(shot.part, measured, verdict))

    def ended(self, closed: Closed) -> None:
        """A part has passed the gate; this may be told twice. Waits for nothing."""
        self._note(closed)

    def _note(self, fact: "_Took | Closed") -> None:
        if len(self._facts) >= _FACTS:
            self.dropped += 1
        else:
            self._facts.append(fact)

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        try:
            while not self._stop.wait(_LOOK_EVERY_S):
                self._look(time.monotonic_ns())
        except Exception as e:  # noqa: BLE001 - raised in the loop by check()
            self._failure = e
        finally:
            self._hang_up()

    def _look(self, now_ns: int) -> None:
        self._accept()
        while self._facts:
            self._take(self._facts.popleft(), now_ns)
        if now_ns - self._health_ns >= _HEALTH_EVERY_NS:
            self._health_ns = now_ns
            self._look_at_light()
            self._look_after_alarms()
            self._send(self._health(now_ns))

    def _take(self, fact: "_Took | Closed", now_ns: int) -> None:
        if isinstance(fact, Closed):
            if self._tally.closed(fact, now_ns):
                self._tell(_ended(fact))
                if self._drift is not None:
                    self._drift.ended(fact.verdict)
            return
        self._tally.account.opened(fact.part, now_ns)
        self._tally.took(fact.measured)
        if fact.measured.latency_ms is not None:
            self._slow_ms += _SLOWLY * (fact.measured.latency_ms - self._slow_ms)
        if self._drift is not None:
            self._drift.took(fact.measured)
        jpeg, heat = self._pictures(fact.part, now_ns)
        self._tell(_judged(fact), jpeg, heat)

    def _pictures(self, part: Part, now_ns: int) -> tuple[bytes, bytes]:
        """Of the newest part, if somebody looks, not too often, and never while the line itself is short of time."""
        newest = self._newest
        if newest is None or newest[0].part != part or isinstance(newest[0].image, Fault):
            return b"", b""
        if self._page is None or now_ns > self._page.looks_until_ns or now_ns - self._shown_ns < _SHOW_EVERY_NS:
            return b"", b""
        if self.is_pressed:
            self.not_shown += 1
            return b"", b""
        self._shown_ns = now_ns
        image, reading = newest[0].image, newest[1]
        heat = heat_over(image, reading.anomaly_map, reading.score, self._contract) if isinstance(reading, Prediction) else b""
        return small_photograph(image), heat

    def _look_at_light(self) -> None:
        """At one image a second, and at one pixel of 64."""
        newest = self._newest
        if self._drift is None or newest is None or newest[0] is self._looked_at or isinstance(newest[0].image, Fault):
            return
        self._looked_at = newest[0]
        self._drift.looked(float(newest[0].image[::8, ::8].mean()))

    @property
    def is_pressed(self) -> bool:
        """Verdicts take so much of the time to the gate that nothing but the line may have the processor."""
        return self._slow_ms > _PRESSED * self._due_ns / 1e6

    def _health(self, now_ns: int) -> Health:
        tally, record = self._tally, self._record
        drops = {"observer": self.dropped, "display": self.not_shown, **self._around.drops()}
        queues = {"observer": len(self._facts), **self._around.queues()}
        gauges = {"latency_recent_ms": self._slow_ms, **self._around.gauges()}
        if record is not None:
            drops |= record.drops
            queues["record"] = record.waiting
            gauges |= record.gauges
        trouble = "; ".join(filter(None, (self._around.trouble(), record.trouble if record is not None else "")))
        return Health(
            uptime_s=(now_ns - self._started_ns) / 1e9,
            triggers=tally.account.triggers,
            in_flight=tally.account.in_flight(now_ns),
            account=tally.account.overdue(now_ns),
            counts=dict(tally.counts),
            latency_ms=tally.latency_ms.content,
            late_ms=tally.late_ms.content,
            scores=tally.scores.content,
            drops=drops,
            queues=queues,
            gauges=gauges,
            drift=self._drift.numbers if self._drift is not None else {},
            alarms=dict(self._alarms),
            trouble=trouble,
        )

    def _look_after_alarms(self) -> None:
        """Raises what is new, clears what is over: each alert of the one kind is followed by one of the other."""
        now = dict(self._drift.alarms) if self._drift is not None else {}
        if self.is_pressed:
            share = f"verdicts take {self._slow_ms:.0f} ms of the {self._due_ns / 1e6:.0f} ms to the gate"
            now["slow"] = f"{share}; the live picture is paused: is the processor or accelerator throttled?"
        if self._record is not None and self._record.trouble:
            now["record"] = self._record.trouble
        for name in now.keys() - self._alarms.keys():
            self._around.alert(name, "raised", now[name])
        for name in self._alarms.keys() - now.keys():
            self._around.alert(name, "cleared", self._alarms[name])
        self._alarms = now

    # ------------------------------------------------------------ the page's process

    def _accept(self) -> None:
        """A page that comes takes the place of the one before; it is told the last parts first."""
        try:
            channel, _ = self._server.accept()
        except BlockingIOError:
            channel = None
        if channel is not None:
            self._hang_up()
            channel.setblocking(True)
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND_WITHIN_S, 0))
            self._page = _Page(channel)
            self._told_birth = self._birth
            self._send(Station(self._birth))
            for message in list(self._told):
                self._send(message)
        if self._page is not None and self._told_birth is not self._birth:
            self._told_birth = self._birth
            self._send(Station(self._birth))
        if self._page is not None:
            self._hear(self._page)

    def _hear(self, page: _Page) -> None:
        """Anything it says means that somebody looks; no more than that can be said to this process."""
        try:
            heard = page.channel.recv(64, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            heard = b""
        if heard:
            page.looks_until_ns = time.monotonic_ns() + _SOMEBODY_LOOKS_NS
        else:
            self._hang_up()

    def _tell(self, message: Judged | Ended, jpeg: bytes = b"", heat: bytes = b"") -> None:
        self._told.append(message)
        shown = msgspec.structs.replace(message, jpeg=jpeg, heat=heat) if isinstance(message, Judged) and jpeg else message
        self._send(shown)

    def _send(self, message: Told) -> None:
        """A page that does not read is hung up on; it may call again."""
        if self._page is None:
            return
        try:
            self._page.channel.sendall(framed(message))
        except OSError as e:
            log.warning("the page's process does not listen any more: %s", e)
            self._hang_up()

    def _hang_up(self) -> None:
        if self._page is not None:
            self._page.channel.close()
            self._page = None


def _judged(took: _Took) -> Judged:
    measured, verdict = took.measured, took.verdict
    words = (verdict.outcome.value, verdict.cause.value, verdict.detail)
    numbers = (measured.raw, measured.score, measured.p_value, measured.latency_ms)
    return Judged(str(took.part), measured.camera, utc_now(), *words, *numbers)


def _ended(closed: Closed) -> Ended:
    late_ms = None if closed.actual_ns is None else round((closed.actual_ns - closed.planned_ns) / 1e6, 3)
    verdict = closed.verdict
    return Ended(str(closed.part), utc_now(), verdict.outcome.value, verdict.cause.value, verdict.detail, late_ms)


@contextmanager
def open_observer(
    line: Line, model: Model, birth: Mapping[str, str | float], gate: GateLink, outbox: Outbox, trouble: Callable[[], str]
) -> Iterator[Observer]:
    """The observer of a line, with the record and the alarms that its file asks for. trouble: of cameras, runtime, file."""
    contract, calibration = model.contract, model.calibration

    def tell(name: str, state: str, detail: str) -> None:
        outbox.alert(f"{name}/{state}/{uuid.uuid4().hex}", alert(name, detail, state))

    around = Around(
        birth={**birth, "threshold": calibration.threshold},
        drops=lambda: {"trigger": gate.overrun},
        queues=lambda: {"trigger": gate.waiting},
        trouble=lambda: "; ".join(filter(None, ("" if gate.is_attached else _NO_EJECTOR, trouble()))),
        alert=tell,
    )
    drift = Drift(line.drift, len(calibration.raw_scores)) if line.drift else None
    bundle_id = str(birth["bundle_id"])
    with ExitStack() as opened:
        record = opened.enter_context(Record(line.state / FOLDER, line.record, contract, bundle_id)) if line.record else None
        yield opened.enter_context(Observer(line.state, contract, line.gate.delay_ns, around, record, drift))
