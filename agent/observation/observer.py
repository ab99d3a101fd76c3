"""Looks at each judged part after its verdict, and never in its way: counts, drift, pictures to keep, pictures to show.

The hot path leaves a part here with `saw`, which waits for nothing. A thread of its own does the rest, a few times a second.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from agent.clock import utc, utc_now
from agent.config import Line
from agent.error import OutageError
from agent.give_way import this_thread_gives_way
from agent.inspection import Closed, Fault, Measured, Part, Verdict
from agent.model import Model
from agent.observation.alarm_watch import FILE as ALARMS
from agent.observation.alarm_watch import AlarmWatch
from agent.observation.around import Around
from agent.observation.certificate_watch import CertificateWatch
from agent.observation.drift import Drift
from agent.observation.live_picture import LivePicture
from agent.observation.metrics import Tally
from agent.observation.page_channel import PageChannel
from agent.observation.pressure import Pressure
from agent.observation.seen import Seen
from agent.observation.shown import Ended, Health, Judged, View
from agent.record.record import FOLDER, Record

_LOOK_EVERY_S = 0.05
_HEALTH_EVERY_NS = 1_000_000_000
_FACTS = 4096
_AFTER_DUE_NS = 30_000_000_000  # a part's end may be told so much later than it should have ended


class ObserverError(OutageError):
    """The observer's thread has stopped, or its socket cannot be made."""


@dataclass(frozen=True, slots=True)
class _Took:
    """A verdict that was told to the gate: a part as it was seen, without its images."""

    part: Part
    numbers: tuple[Measured, ...]
    verdicts: tuple[Verdict, ...]
    deciding: int


class Observer:
    """state: folder of the socket. due_ns: time from trigger to gate; longest_ns: the longest of any recipe's, None where
    an encoder says when a part has come. record, drift, certificates: None where the line has none.

    Raises ObserverError.
    """

    def __init__(
        self,
        state: Path,
        due_ns: int,
        longest_ns: int | None,
        around: Around,
        record: Record | None = None,
        drift: Drift | None = None,
        certificates: CertificateWatch | None = None,
    ) -> None:
        self._around = around
        self._record = record
        self._drift = drift
        self._certificates = certificates
        self._tally = Tally(None if longest_ns is None else longest_ns + _AFTER_DUE_NS)
        self._pressure = Pressure(due_ns)
        self._live = LivePicture()
        self._alarms = AlarmWatch(around.alert, state / ALARMS)
        self._facts: deque[_Took | Closed] = deque()
        self._looked_at: Seen | None = None
        self._started_ns = time.monotonic_ns()
        self._health_ns = 0
        self.dropped = 0
        self._stop = threading.Event()
        self._failure: Exception | None = None
        try:
            self._page = PageChannel(state, around.birth)
        except OSError as e:
            raise ObserverError(f"{state}: the socket for the page's process cannot be made: {e}") from e
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Observer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(timeout=10)

    def judged_by(self, models: Sequence[Model], birth: Mapping[str, str | float], due_ns: int) -> None:
        """Another model from now on: drift and pressure begin anew. Waits for nothing.

        models: all that judge, the line's own first. birth: what is new. due_ns: time from trigger to gate, as the recipe that is
        judged by now has it.
        """
        self._pressure = Pressure(due_ns)
        self._page.birth = {**self._page.birth, **birth, "threshold": models[0].calibration.threshold}
        if self._drift is not None:
            self._drift = self._drift.anew(_fewest_good_parts(models))

    def check(self) -> None:
        """Raises what ended its thread or the record's, if one ended."""
        if self._failure:
            raise ObserverError("observer stopped") from self._failure
        if self._record is not None:
            self._record.check()

    def saw(self, seen: Seen) -> None:
        """A part has its verdict. For the hot path: waits for nothing, copies no image, writes nothing."""
        if self._record is not None:
            self._record.offer(seen)
        self._live.newest = seen  # the newest one is shown, the others are counted
        self._note(_Took(seen.part, tuple(seen.numbers), tuple(seen.verdicts), seen.deciding))

    def ended(self, closed: Closed) -> None:
        """A part has passed the gate; this may be told twice. Waits for nothing."""
        self._note(closed)

    def _note(self, fact: _Took | Closed) -> None:
        if len(self._facts) >= _FACTS:
            self.dropped += 1
        else:
            self._facts.append(fact)

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        this_thread_gives_way()
        try:
            while not self._stop.wait(_LOOK_EVERY_S):
                self._look(time.monotonic_ns())
        except Exception as e:  # noqa: BLE001 - raised in the loop by check()
            self._failure = e
        finally:
            self._page.close()
            self._alarms.close()

    def _look(self, now_ns: int) -> None:
        self._page.serve(now_ns)
        while self._facts:
            self._take(self._facts.popleft(), now_ns)
        if now_ns - self._health_ns >= _HEALTH_EVERY_NS:
            self._health_ns = now_ns
            self._look_at_light()
            self._alarms.look(self._what_is_wrong(now_ns))
            self._page.tell(self._health(now_ns))
        self._page.flush()

    def _take(self, fact: _Took | Closed, now_ns: int) -> None:
        if isinstance(fact, Closed):
            if self._tally.closed(fact):
                self._page.part(_ended(fact))
                if self._drift is not None:
                    self._drift.ended(fact.verdict)
            return
        decided = fact.numbers[fact.deciding]
        self._tally.account.opened(fact.part, now_ns)
        self._tally.took(decided)
        if decided.latency_ms is not None:
            self._pressure.took(decided.latency_ms, now_ns)
        if self._drift is not None:
            for measured in fact.numbers:  # of each camera: the strictest alone would always look strange
                self._drift.took(measured)
        pictures = self._live.of(fact.part, now_ns, self._pressure.is_on) if self._page.somebody_looks(now_ns) else []
        self._page.part(_judged(fact, pictures))

    def _look_at_light(self) -> None:
        """At one image a second, of the first camera, and at one pixel of 64."""
        newest = self._live.newest
        if self._drift is None or newest is None or newest is self._looked_at:
            return
        self._looked_at = newest
        if not isinstance(image := newest.shots[0].image, Fault):
            self._drift.looked(float(image[::8, ::8].mean()))

    def _what_is_wrong(self, now_ns: int) -> dict[str, str]:
        self._pressure.look(now_ns)
        found = self._drift.alarms if self._drift is not None else {}
        if self._certificates is not None:
            found |= self._certificates.alarms(now_ns, utc())
        if self._pressure.is_on:
            found["slow"] = self._pressure.words
        if self._record is not None and self._record.trouble:
            found["record"] = self._record.trouble
        return found

    def _health(self, now_ns: int) -> Health:
        tally, record = self._tally, self._record
        drops = {"observer": self.dropped, "display": self._live.not_shown, **self._around.drops()}
        queues = {"observer": len(self._facts), **self._around.queues()}
        gauges = {"latency_recent_ms": self._pressure.slow_ms}
        if record is not None:
            drops |= record.drops
            queues["record"] = record.waiting
            gauges |= record.gauges
        broker, broker_away_s = self._around.broker()
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
            alarms=dict(self._alarms.raised),
            trouble=trouble,
            broker=broker,
            broker_away_s=broker_away_s,
        )


def _judged(took: _Took, pictures: list[tuple[bytes, bytes]]) -> Judged:
    views = tuple(
        View(measured.camera, verdict.outcome.value, verdict.cause.value, verdict.detail, measured.score, jpeg, heat)
        for measured, verdict, (jpeg, heat) in zip(
            took.numbers, took.verdicts, pictures or [(b"", b"")] * len(took.numbers), strict=True
        )
    )
    return Judged(str(took.part), utc_now(), took.numbers[took.deciding].latency_ms, views, took.deciding)


def _ended(closed: Closed) -> Ended:
    late_ms = None if closed.actual_ns is None else round((closed.actual_ns - closed.planned_ns) / 1e6, 3)
    verdict = closed.verdict
    return Ended(str(closed.part), utc_now(), verdict.outcome.value, verdict.cause.value, verdict.detail, late_ms)


def _fewest_good_parts(models: Sequence[Model]) -> int:
    """That the p-values of any of the models rest on."""
    return min(len(model.calibration.raw_scores) for model in models)


@contextmanager
def open_observer(line: Line, models: Sequence[Model], due_ns: int, around: Around) -> Iterator[Observer]:
    """The observer of a line, with the record and the alarms that its file asks for. models: all that judge, the line's own
    first. due_ns: as Observer has it."""
    around = replace(around, birth={**around.birth, "threshold": models[0].calibration.threshold})
    drift = Drift(line.drift, _fewest_good_parts(models)) if line.drift else None
    with ExitStack() as opened:
        record = opened.enter_context(Record(line.state / FOLDER, line.record)) if line.record else None
        by_time = all(one.gate.travel_counts is None for one in line.each)
        longest_ns = max(one.gate.delay_ns for one in line.each) if by_time else None
        certificates = CertificateWatch(line.mqtt, line.web)
        yield opened.enter_context(Observer(line.state, due_ns, longest_ns, around, record, drift, certificates))
