"""The ejector process: trigger, part counter, reject schedule, actuator and journal, and nothing that could stall them.

One thread, no disk wait, no network. A part exists from its trigger on, whatever the inspection process does.
"""

import logging
import select
import time
import uuid
from collections import Counter, deque
from contextlib import ExitStack, closing
from threading import Event as Stop

from agent.clock import machine_boot
from agent.config import Line
from agent.ejectors import Ejector
from agent.health import notify
from agent.inspection import Cause, Closed, Outcome, Part, Verdict
from agent.journal import Journal
from agent.link import PARTS_PER_REPORT, Attach, Channel, Confirm, LinkLostError, Listener, Report, Tell, Triggered
from agent.only_one import only_one
from agent.schedule import InFlight, Schedule

log = logging.getLogger(__name__)

_LONGEST_WAIT_S = 0.5  # also the pace of the watchdog on an idle line
_CONFIRM_WITHIN_NS = 2_000_000_000  # then unconfirmed parts are reported again
_PARTS_UNDER_WAY = 256
_GOODBYE_NS = 5_000_000_000

_NOBODY = Verdict(Outcome.REJECT, Cause.MISSED, "no inspection process was attached when the part was triggered")
_LOST = Verdict(Outcome.REJECT, Cause.MISSED, "the inspection process was lost before it gave a verdict")
_RESTARTED = Verdict(Outcome.REJECT, Cause.MISSED, "the ejector process was restarted while the part was on the belt")


class Gate:
    """Parts from trigger to close. `now_ns` is CLOCK_MONOTONIC and always an argument.

    account: what was counted here: triggers, pass, reject and reject by cause; triggers = pass + reject + in flight.
    """

    def __init__(self, boot: str, delay_ns: int, pulse_ns: int, ejector: Ejector, journal: Journal) -> None:
        self.account: Counter[str] = Counter()
        self._boot = boot
        self._delay_ns = delay_ns
        self._pulse_ns = pulse_ns
        self._ejector = ejector
        self._journal = journal
        self._schedule = Schedule(delay_ns)
        self._off_ns: int | None = None
        self._n = 0

    def __len__(self) -> int:
        """Parts in flight."""
        return len(self._schedule)

    def recover(self, now_ns: int) -> None:
        """Puts the parts a killed ejector process left on the belt back on the line, to be rejected."""
        for part, (triggered_ns, same_boot) in self._journal.left_open.items():
            self.account["triggers"] += 1
            if same_boot and triggered_ns + self._delay_ns > now_ns:
                self._schedule.open(part, triggered_ns, _RESTARTED)
                continue
            log.error("part %s went by the gate while no ejector process ran: look for it behind the gate", part)
            self._close(InFlight(part, triggered_ns, triggered_ns + self._delay_ns, _RESTARTED), actual_ns=None)

    def trigger(self, triggered_ns: int, attached: bool) -> InFlight:
        """Opens the next part; without an inspection process it is rejected already."""
        self.account["triggers"] += 1
        self._n += 1
        part = Part(self._boot, self._n)
        self._journal.opened(part, triggered_ns)
        return self._schedule.open(part, triggered_ns, None if attached else _NOBODY)

    def tell(self, part: Part, verdict: Verdict) -> None:
        if not self._schedule.tell(part, verdict):
            self.account["verdicts_too_late"] += 1

    def inspection_lost(self) -> None:
        if given_up := self._schedule.give_up(_LOST):
            log.error("inspection process lost: %d parts in flight are rejected", given_up)

    def act(self, now_ns: int) -> list[Closed]:
        """Ends pulses and closes the parts that are due; raises EjectorError where the output cannot be driven."""
        if self._off_ns is not None and now_ns >= self._off_ns:
            self.switch_off()
        return [self._gate(in_flight) for in_flight in self._schedule.due(now_ns)]

    def switch_off(self) -> None:
        self._ejector.switch(on=False)
        self._off_ns = None

    def wake_ns(self) -> int | None:
        """When `act` has something to do next."""
        return min((ns for ns in (self._schedule.wake_ns(), self._off_ns) if ns is not None), default=None)

    def _gate(self, in_flight: InFlight) -> Closed:
        if in_flight.final.outcome is Outcome.PASS:
            return self._close(in_flight, actual_ns=None)
        self._ejector.switch(on=True)
        actual_ns = time.monotonic_ns()
        self._off_ns = actual_ns + self._pulse_ns
        return self._close(in_flight, actual_ns)

    def _close(self, in_flight: InFlight, actual_ns: int | None) -> Closed:
        verdict = in_flight.final
        closed = Closed(in_flight.part, verdict, in_flight.triggered_ns, in_flight.planned_ns, actual_ns)
        self._journal.closed(closed)
        self.account[verdict.outcome.value] += 1
        if verdict.outcome is Outcome.REJECT:
            self.account[f"reject_{verdict.cause.value}"] += 1
        return closed


class InspectionSide:
    """The inspection process as the ejector sees it: there or not, and which closed parts it still owes a confirmation."""

    def __init__(self, listener: Listener, gate: Gate, journal: Journal) -> None:
        self._listener = listener
        self._gate = gate
        self._journal = journal
        self._channel: Channel | None = None
        self._to_report: deque[Part] = deque()
        self._under_way = 0
        self._progress_ns = 0
        self.is_attached = False

    def filenos(self) -> list[int]:
        return [self._listener.fileno(), *([self._channel.fileno()] if self._channel else [])]

    def announce(self, in_flight: InFlight) -> None:
        self._send(Triggered(in_flight.part, in_flight.triggered_ns, in_flight.planned_ns))

    def closed(self, parts: list[Closed]) -> None:
        if self.is_attached:  # else they are reported from the journal when somebody is
            self._to_report.extend(closed.part for closed in parts)

    def serve(self, now_ns: int) -> None:
        """Takes in what the inspection process said and tells it what it may know; never blocks."""
        if (newcomer := self._listener.accept()) is not None:
            self._lose("replaced by a new one")
            self._channel = newcomer
        try:
            while self._channel and (message := self._channel.receive(wait=False)) is not None:
                self._hear(message, now_ns)
        except LinkLostError as e:
            self._lose(str(e))
        self._report(now_ns)

    def close(self) -> None:
        if self._channel:
            self._channel.close()
        self._listener.close()

    def _hear(self, message: object, now_ns: int) -> None:
        match message:
            case Attach(pid=pid):
                log.info("inspection process %d attached", pid)
                self.is_attached = True
                self._report_again(now_ns)
            case Tell(part=part, verdict=verdict):
                self._gate.tell(part, verdict)
            case Confirm(parts=parts):
                self._journal.confirmed(parts)
                self._under_way = max(0, self._under_way - len(parts))
                self._progress_ns = now_ns

    def _report(self, now_ns: int) -> None:
        if not self.is_attached:
            return
        if self._under_way and now_ns - self._progress_ns > _CONFIRM_WITHIN_NS:
            self._report_again(now_ns)
        while self._to_report and self._under_way < _PARTS_UNDER_WAY:
            parts = [self._to_report.popleft() for _ in range(min(PARTS_PER_REPORT, len(self._to_report)))]
            closed = tuple(self._journal.unconfirmed[part] for part in parts if part in self._journal.unconfirmed)
            if not closed:
                continue
            if not self._send(Report(closed)):
                self._to_report.extendleft(reversed(parts))
                return
            if not self._under_way:
                self._progress_ns = now_ns
            self._under_way += len(closed)

    def _report_again(self, now_ns: int) -> None:
        self._to_report = deque(self._journal.unconfirmed)
        self._under_way = 0
        self._progress_ns = now_ns

    def _send(self, message: Triggered | Report) -> bool:
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
        self.is_attached = False
        self._gate.inspection_lost()


def eject_forever(line: Line, stop: Stop) -> None:
    """Runs the gate until `stop`; then takes no more triggers, sees the parts in flight through, and says goodbye."""
    boot = uuid.uuid4().hex[:12]
    with ExitStack() as devices:
        devices.enter_context(only_one(line.state, "eject"))
        journal = devices.enter_context(Journal(line.state / "journal", machine_boot()))
        ejector = devices.enter_context(line.ejector.open())
        delay_ns = round((line.gate.travel_ms - line.gate.lead_ms) * 1e6)
        gate = Gate(boot, delay_ns, round(line.gate.pulse_ms * 1e6), ejector, journal)
        gate.recover(time.monotonic_ns())
        inspection = devices.enter_context(closing(InspectionSide(Listener(line.socket), gate, journal)))
        trigger = devices.enter_context(line.trigger.open())
        notify("READY=1")
        log.info("ejector ready", extra={"data": {"boot": boot, "travel_ms": line.gate.travel_ms}})
        leave_ns: int | None = None
        while True:
            now_ns = time.monotonic_ns()
            inspection.closed(gate.act(now_ns))
            if not stop.is_set():
                for edge_ns in trigger.take(now_ns):
                    in_flight = gate.trigger(edge_ns, inspection.is_attached)
                    if inspection.is_attached:
                        inspection.announce(in_flight)
            elif gate.wake_ns() is None:  # no part in flight and no pulse to end
                leave_ns = leave_ns or now_ns + _GOODBYE_NS
                if not journal.unconfirmed or not inspection.is_attached or now_ns > leave_ns:
                    break
            inspection.serve(now_ns)
            notify("WATCHDOG=1")
            wakes = [gate.wake_ns(), None if stop.is_set() else trigger.wake_ns()]
            _wait(inspection.filenos(), min((ns for ns in wakes if ns is not None), default=None))
        gate.switch_off()
        notify("STOPPING=1")
        held = {"unconfirmed": len(journal.unconfirmed), "given_up": journal.given_up, "unwritten": journal.unwritten}
        account = dict(gate.account) | held
        log.info("account", extra={"data": {"account": account}})


def _wait(filenos: list[int], until_ns: int | None) -> None:
    """Until something can be read or the moment has come; select() because poll and epoll count in milliseconds."""
    longest_s = _LONGEST_WAIT_S
    if until_ns is not None:
        longest_s = min(longest_s, max(0.0, (until_ns - time.monotonic_ns()) / 1e9))
    select.select(filenos, [], [], longest_s)
