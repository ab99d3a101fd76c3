"""The inspection process as the ejector sees it: there or not, and which closed parts it still owes a confirmation."""

import logging
from collections import deque

from agent.gate.change_over import ChangeOver
from agent.gate.gate import Gate
from agent.gate.journal import Journal
from agent.gate.line_stop import Reason
from agent.gate.schedule import InFlight
from agent.inspection import Closed, Part
from agent.link import (
    PARTS_PER_REPORT,
    Alarm,
    Attach,
    Changed,
    ChangeTo,
    Channel,
    Confirm,
    Held,
    Leaving,
    LinkLostError,
    Listener,
    Report,
    Tell,
    Triggered,
    Unable,
    Wish,
    Wished,
)

log = logging.getLogger(__name__)

_CONFIRM_WITHIN_NS = 2_000_000_000  # then a part is reported again
_PARTS_UNDER_WAY = 256
_WISHES = 16
_DEAF_NS = 500_000_000  # to calls, after one that could not be answered: who calls would wake the gate all the time
_RESTARTS = 5  # of the inspection process ...
_RESTARTS_WITHIN_NS = 600_000_000_000  # ... in ten minutes are no accident any more


class InspectionSide:
    """Takes in verdicts and confirmations, gives out triggers, closed parts and alarms; never blocks.

    unable: why no part that comes now can be inspected though somebody is there; empty where it can. trouble: what is wrong at
    the gate and holds no line, for the station's published state.
    changes: told of who is there and by which recipe it judges. recipes: as in Attach, of the gate's own file.
    """

    def __init__(self, listener: Listener, gate: Gate, journal: Journal, changes: ChangeOver, recipes: str = "") -> None:
        self._listener = listener
        self._gate = gate
        self._journal = journal
        self._changes = changes
        self._recipes = recipes
        self._wishes: deque[Wish] = deque(maxlen=_WISHES)
        self._channel: Channel | None = None
        self._to_report: deque[Part] = deque()
        self._under_way: dict[Part, int] = {}  # reported then and not confirmed since, oldest first
        self._deaf_until_ns: int | None = None  # None while calls are heard
        self._attached_ns: deque[int] = deque(maxlen=_RESTARTS + 1)
        self._told_held: Held | None = None
        self._has_left = False  # the inspection process before, which was told to end
        self.is_attached = False
        self.unable = ""
        self.trouble = ""

    def filenos(self) -> list[int]:
        listener = [self._listener.fileno()] if self._deaf_until_ns is None else []
        return [*listener, *([self._channel.fileno()] if self._channel else [])]

    def announce(self, in_flight: InFlight) -> None:
        self._send(Triggered(in_flight.part, in_flight.triggered_ns, in_flight.planned_ns))

    def change_to(self, recipe: int, asked_by: str) -> bool:
        """Whether it could be told."""
        return self._send(ChangeTo(recipe, asked_by[:200], self._changes.until_ns))

    def wishes(self) -> list[Wish]:
        """For another recipe, by commands, since the last call."""
        return [self._wishes.popleft() for _ in range(len(self._wishes))]

    def tell_of(self, wished: Wished) -> None:
        """What became of one. If it cannot be told, who wished it hears that its time is over."""
        self._send(wished)

    def closed(self, parts: list[Closed]) -> None:
        if self.is_attached:  # else they are reported from the journal when somebody is
            self._to_report.extend(closed.part for closed in parts)

    def serve(self, now_ns: int) -> None:
        """Takes in what the inspection process said and tells it what it may know."""
        self._listen(now_ns)  # the last words of one that is replaced count, too
        if (newcomer := self._newcomer(now_ns)) is not None:
            self._lose("replaced by a new one")
            self._channel = newcomer
            self._listen(now_ns)
        self._report(now_ns)

    def say_goodbye(self) -> None:
        """The inspection process shall not take the end for a death."""
        self._send(Leaving())

    def close(self) -> None:
        if self._channel:
            self._channel.close()
        self._listener.close()

    def _newcomer(self, now_ns: int) -> Channel | None:
        if self._deaf_until_ns is not None and now_ns < self._deaf_until_ns:
            return None
        self._deaf_until_ns = None
        try:
            return self._listener.accept()
        except LinkLostError as e:
            self._deaf_until_ns = now_ns + _DEAF_NS
            self._gate.alarms.add("inspection-shut-out", str(e), now_ns)
            return None

    def _listen(self, now_ns: int) -> None:
        try:
            while self._channel and (message := self._channel.receive(wait=False)) is not None:
                self._hear(message, now_ns)
        except LinkLostError as e:
            self._lose(str(e))

    def _hear(self, message: object, now_ns: int) -> None:
        match message:
            case Attach(pid=pid, recipe=recipe, unable=unable, recipes=recipes):
                log.info("inspection process %d attached", pid)
                self.is_attached, self.unable = True, unable
                self._changes.attached(recipe, knows_the_same=recipes == self._recipes)
                if not self._has_left:
                    self._count_restart(now_ns)
                self._has_left = False
                self._gate.alarms.tell_again()
                self._told_held = None
                self._under_way.clear()
                self._to_report = deque(self._journal.unconfirmed)
            case Tell(part=part, verdict=verdict, recipe=recipe):
                self._gate.tell(part, verdict, recipe)
                self._changes.judged_by(recipe)
            case Leaving():
                self._has_left = True
            case Unable(why=why):
                log.warning("no part can be inspected: %s", why) if why else log.info("parts can be inspected again")
                self.unable = why
            case Changed(wanted=wanted, recipe=recipe, why=why):
                self._changes.answered(wanted, recipe, why, now_ns)
            case Wish():
                self._wishes.append(message)
            case Confirm(parts=parts, alarms=alarms):
                self._gate.alarms.heeded(alarms)
                if parts:
                    self._journal.confirmed(parts)
                    for part in parts:
                        self._under_way.pop(part, None)

    def _count_restart(self, now_ns: int) -> None:
        self._attached_ns.append(now_ns)
        if len(self._attached_ns) > _RESTARTS and now_ns - self._attached_ns[0] <= _RESTARTS_WITHIN_NS:
            self._attached_ns.clear()
            self._gate.hold(Reason.CRASH_LOOP, f"inspection was started again {_RESTARTS} times within ten minutes", now_ns)

    def _report(self, now_ns: int) -> None:
        if not self.is_attached:
            return
        while (alarm := self._gate.alarms.next()) is not None and self._send(alarm):
            self._gate.alarms.taken()
        if (held := Held(self._gate.why_held, self.trouble)) != self._told_held and self._send(held):
            self._told_held = held
        for part in [part for part, since_ns in self._under_way.items() if now_ns - since_ns > _CONFIRM_WITHIN_NS]:
            del self._under_way[part]
            self._to_report.append(part)
        while self._to_report and len(self._under_way) < _PARTS_UNDER_WAY:
            parts = [self._to_report.popleft() for _ in range(min(PARTS_PER_REPORT, len(self._to_report)))]
            closed = tuple(self._journal.unconfirmed[part] for part in parts if part in self._journal.unconfirmed)
            if not closed:
                continue
            if not self._send(Report(closed)):
                self._to_report.extendleft(reversed(parts))
                return
            self._under_way |= {one.part: now_ns for one in closed}

    def _send(self, message: Triggered | Report | Alarm | ChangeTo | Wished | Held | Leaving) -> bool:
        if not self._channel:
            return False
        try:
            return self._channel.send(message)
        except LinkLostError as e:
            self._lose(str(e))
            return False

    def _lose(self, why: str) -> None:
        if not self._channel:
            return
        log.warning("inspection process is gone: %s", why)
        self._channel.close()
        self._channel = None
        self.is_attached, self.unable = False, ""
        self._changes.lost()
        self._gate.inspection_lost()
