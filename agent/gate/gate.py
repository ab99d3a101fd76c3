"""Parts from trigger to close: who is in flight, what the output does, what was counted, and when the line has to stand."""

import logging
from collections import Counter

from agent.ejectors import Ejector
from agent.gate.actuation import Actuation
from agent.gate.alarms import Alarms
from agent.gate.belt import Belt
from agent.gate.confirmation import Confirmation
from agent.gate.journal import Journal
from agent.gate.line_stop import LineStop, Reason, Rules
from agent.gate.orders import OrderBook, Orders
from agent.gate.placing import Placing
from agent.gate.plan import GatePlan
from agent.gate.schedule import InFlight, Schedule
from agent.gate.window import Windows, Wish
from agent.inspection import Cause, Closed, Outcome, Part, Verdict

log = logging.getLogger(__name__)

_NOBODY = Verdict(Outcome.REJECT, Cause.MISSED, "no inspection process was attached when the part was triggered")
_LOST = Verdict(Outcome.REJECT, Cause.MISSED, "the inspection process was lost before it gave a verdict")
_RESTARTED = Verdict(Outcome.REJECT, Cause.MISSED, "the ejector process was restarted while the part was on the belt")

_MAINTENANCE = "maintenance: the outputs are inert"
_NO_PROCESS = "went by while no ejector process ran"
_NO_PLACE = "nobody knows where on the belt it is: the encoder was lost"


class Gate:
    """The gate of one line. `now_ns` is CLOCK_MONOTONIC and always an argument: nothing in here reads a clock.

    account: what was counted here: triggers, pass, reject and reject by cause; triggers = pass + reject + in flight.
    incidents: what should not happen, counted.
    orders: where maintenance and halts are kept over a restart; without it they last as long as this gate.
    """

    def __init__(
        self,
        boot: str,
        plan: GatePlan,
        ejector: Ejector,
        journal: Journal,
        orders: OrderBook | None = None,
        confirms: bool = False,
    ) -> None:
        self.account: Counter[str] = Counter()
        self.incidents: Counter[str] = Counter()
        self.alarms = Alarms(boot)
        self.output = Actuation(ejector, plan)
        self.confirmation = Confirmation(round(plan.confirm_ms * 1e6)) if confirms else None
        self.belt = Belt(1 if plan.travel_counts > 0 else -1) if plan.travel_counts is not None else None
        self._placing = Placing(self.belt) if self.belt is not None else None
        self._windows = Windows(plan.window_counts, plan.lead_counts)
        self._boot = boot
        self._plan = plan
        self._journal = journal
        self._orders = orders
        self._schedule = Schedule(plan.delay_ns, plan.delay_counts)
        self._n = 0
        self._known = orders.read() if orders else Orders()
        of_last = (plan.stop.rejects, plan.stop.of_last) if plan.stop.rejects and plan.stop.of_last else None
        self._line_stop = LineStop(Rules(plan.stop.in_a_row, of_last), dict(self._known.held))

    def __len__(self) -> int:
        """Parts in flight."""
        return len(self._schedule) + (len(self.output) if self.belt is None else len(self._windows))

    @property
    def held(self) -> dict[Reason, str]:
        """Why the line has to stand until a person has looked; while it has, each part is rejected."""
        return self._line_stop.held

    @property
    def in_maintenance(self) -> bool:
        """The outputs are inert."""
        return self._known.maintenance

    @property
    def is_at_rest(self) -> bool:
        """No part in flight, no pulse to end, no answer to come."""
        return not len(self) and self.output.is_at_rest

    def recover(self, now_ns: int, recipe: int = 0) -> None:
        """Puts the parts a killed ejector process left on the belt back on the line, to be rejected."""
        for part, (triggered_ns, same_boot) in self._journal.left_open.items():
            self.account["triggers"] += 1
            planned_ns = triggered_ns + self._plan.delay_ns
            if same_boot and planned_ns > now_ns and self.belt is None:
                self._schedule.open(part, triggered_ns, _RESTARTED, recipe=recipe)
                continue
            log.error("part %s went by the gate while no ejector process ran: look for it behind the gate", part)
            lost = InFlight(part, triggered_ns, planned_ns, _RESTARTED, planned_ns, recipe)
            self._close(lost, now_ns, actual_ns=None, problem=_NO_PROCESS)

    def trigger(self, triggered_ns: int, attached: bool, recipe: int | None = 0, unsettled: str = "") -> InFlight:
        """Opens the next part; without an inspection process, or while the line should stand, it is rejected already.

        recipe: as Closed has it. unsettled: why the part must not be judged by any, empty where it may.
        """
        self.account["triggers"] += 1
        self._n += 1
        part = Part(self._boot, self._n)
        self._journal.opened(part, triggered_ns)
        place = self._place_of(triggered_ns)
        in_flight = self._schedule.open(part, triggered_ns, self._foregone(attached, unsettled), place, recipe)
        if self._placing is not None:
            self._placing.placed(in_flight, place)
        return in_flight

    def tell(self, part: Part, verdict: Verdict, recipe: int = 0) -> None:
        if not self._schedule.tell(part, verdict, recipe):
            self.account["verdicts_too_late"] += 1

    @property
    def of_a_recipe(self) -> int:
        """Parts in flight but those that came during a change-over."""
        in_flight = [*self._schedule.parts, *(self.output.parts if self.belt is None else self._windows.parts)]
        return sum(part.recipe is not None for part in in_flight)

    def change(self, plan: GatePlan) -> None:
        """The plan of parts that come from now on; those in flight keep their way to the gate."""
        self._plan = plan
        self._schedule.change(plan.delay_ns, plan.delay_counts)
        self._windows.change(plan.window_counts, plan.lead_counts)
        self.output.pulse.change(round(plan.pulse_ms * 1e6), round(plan.gap_ms * 1e6))

    def inspection_lost(self) -> None:
        if given_up := self._schedule.give_up(_LOST):
            log.error("inspection process lost: %d parts in flight are rejected", given_up)

    def act(self, now_ns: int) -> list[Closed]:
        """Closes the parts that are due and ends pulses; raises EjectorError where the output cannot be driven."""
        closed = self._hear_ejector(now_ns)
        closed += self._correct_places(now_ns)
        place = now_ns if self.belt is None else self.belt.place
        for in_flight in self._schedule.due(place) if place is not None else []:
            closed += self._arrive(in_flight, now_ns)
        if self.belt is not None and place is not None:
            self._follow_belt(self.belt, place, now_ns)
        closed += self._hear_ejector(now_ns)
        closed += [self._close(gone.in_flight, now_ns, gone.at_ns, gone.problem) for gone in self._windows.gone()]
        self._end_pulse(now_ns)
        for part in self.confirmation.overdue(now_ns) if self.confirmation else []:
            self.hold(Reason.NOT_CONFIRMED, f"part {part} was ejected and never came by the sensor behind the gate", now_ns)
        return closed

    def switch_off(self, now_ns: int) -> None:
        self.output.switch_off(now_ns)

    def wake_ns(self) -> int | None:
        """When `act` has something to do next, as far as it is known by the clock."""
        confirm_ns = self.confirmation.wake_ns() if self.confirmation else None
        return min((ns for ns in (self._schedule.wake_ns(), self.output.wake_ns(), confirm_ns) if ns is not None), default=None)

    def hold(self, reason: Reason, detail: str, now_ns: int) -> None:
        """The line has to stand until a person has looked."""
        if self._line_stop.hold(reason, detail):
            self.alarms.add(reason.value, detail, now_ns)
            self._remember()

    def reset(self) -> None:
        """A person has looked: the line may go on."""
        log.warning("gate reset by a person; it was held for: %s", ", ".join(r.value for r in self.held) or "nothing")
        self._line_stop.reset()
        self.alarms.reset()
        if self._placing is not None:
            self._placing.reset()
        self._remember()

    def maintain(self, begin: bool, now_ns: int) -> None:
        """Maintenance begins: outputs go off and stay inert. It ends: they work again."""
        if begin == self._known.maintenance:
            return
        log.warning("maintenance %s: the outputs are %s", *(("begins", "inert") if begin else ("ends", "live")))
        self._known = Orders(begin, self._known.held)
        self._remember()
        if begin:
            self.switch_off(now_ns)

    def encoder_lost(self, why: str, now_ns: int) -> None:
        self.hold(Reason.ENCODER, why, now_ns)

    def _foregone(self, attached: bool, unsettled: str) -> Verdict | None:
        """The verdict that is known before anybody looks."""
        if self.held:
            return Verdict(
                Outcome.REJECT, Cause.MISSED, f"held until a person resets the gate: {', '.join(r.value for r in self.held)}"
            )
        if not attached:
            return _NOBODY
        return Verdict(Outcome.REJECT, Cause.FAULT, unsettled) if unsettled else None

    def _place_of(self, triggered_ns: int) -> int:
        """Where the belt was at a trigger; 0 for a gate that goes by time."""
        if self._placing is None:
            return 0
        place, dead = self._placing.place_of(triggered_ns)
        if dead:
            self.encoder_lost(dead, triggered_ns)
        return place

    def _correct_places(self, now_ns: int) -> list[Closed]:
        """Shifts parts that were further back or ahead than was thought; closes all where nobody knows where they are."""
        if self._placing is None:
            return []
        for in_flight, counts in self._placing.corrections():
            self._schedule.shift(in_flight, counts)
        if Reason.ENCODER not in self.held:
            return []
        self._placing.clear()
        lost_parts = [*self._windows.clear(), *self._schedule.clear()]
        return [self._close(lost, now_ns, actual_ns=None, problem=_NO_PLACE) for lost in lost_parts]

    def _arrive(self, in_flight: InFlight, now_ns: int) -> list[Closed]:
        """A part is at the gate. A reject is closed when the output has answered, with an encoder when it has gone through."""
        if self.belt is not None:
            in_flight.planned_ns = self.belt.when(in_flight.due) or now_ns
        if in_flight.final.outcome is Outcome.PASS:
            return [self._close(in_flight, now_ns, actual_ns=None)]
        if self.in_maintenance:
            return [self._close(in_flight, now_ns, actual_ns=None, problem=_MAINTENANCE)]
        self.output.eject(in_flight, now_ns)
        if self.belt is not None:
            self._windows.reject(in_flight)
        return []

    def _follow_belt(self, belt: Belt, place: int, now_ns: int) -> None:
        """A part to be rejected is moving through the gate, as slowly as it likes: the output stays on, or comes on again."""
        pulse, coming = self.output.pulse, belt.came(round(self._plan.lead_ms * 1e6)) if len(self._windows) else 0
        match self._windows.moved(place, coming, pulse.is_on):
            case Wish.OFF:
                pulse.let_go()
            case Wish.ON if pulse.is_on:
                pulse.hold_over(now_ns + pulse.width_ns)
            case Wish.ON if not self.in_maintenance and Reason.OUTPUT_TOO_LONG not in self.held:
                self.output.go_on(now_ns)

    def _hear_ejector(self, now_ns: int) -> list[Closed]:
        closed = []
        for ejected in self.output.answers():
            if ejected.error:
                self.hold(Reason.EJECTOR, ejected.error, now_ns)
            if (in_flight := ejected.in_flight) is None:
                continue
            if ejected.error:
                self._windows.clear(in_flight)
                closed.append(self._close(in_flight, now_ns, actual_ns=None, problem=ejected.error[:100]))
                continue
            if self.confirmation:
                self.confirmation.ejected(in_flight.part, min(in_flight.planned_ns, ejected.at_ns), ejected.at_ns)
            problem = self._too_late(in_flight, ejected.at_ns)
            if self.belt is None:
                closed.append(self._close(in_flight, now_ns, ejected.at_ns, problem))
            else:  # closed when it has gone through the gate, however long the belt takes
                self._windows.answered(in_flight, ejected.at_ns, problem)
        return closed

    def _too_late(self, in_flight: InFlight, at_ns: int) -> str:
        late_ns = at_ns - in_flight.planned_ns
        if self.output.lateness.is_over(self._plan.late_ms):
            self.alarms.add("pulses-late", f"limit {self._plan.late_ms} ms, found {self.output.lateness.figures()}", at_ns)
        return f"pulse {late_ns / 1e6:.0f} ms late: the part may have gone by" if late_ns > self._plan.window_ms * 1e6 else ""

    def _end_pulse(self, now_ns: int) -> None:
        if not self.output.has_to_end(now_ns):
            return
        pulse = self.output.pulse
        if pulse.is_too_long(now_ns):
            detail = f"the output was wanted on for more than {self._plan.longest_on_ms} ms and was switched off"
            self.hold(Reason.OUTPUT_TOO_LONG, detail, now_ns)
        elif self._schedule.rejects_before(self._place_in(pulse.gap_ns, now_ns)):
            pulse.hold_over(now_ns + pulse.gap_ns)
            return
        self.switch_off(now_ns)

    def _place_in(self, later_ns: int, now_ns: int) -> int:
        """The time so much later, or the place of the belt then if it goes on as before."""
        if self.belt is None:
            return now_ns + later_ns
        return (self.belt.place or 0) + self.belt.came(later_ns)

    def _close(self, in_flight: InFlight, now_ns: int, actual_ns: int | None, problem: str = "") -> Closed:
        verdict = in_flight.final
        when = (in_flight.triggered_ns, in_flight.planned_ns, actual_ns)
        closed = Closed(in_flight.part, verdict, *when, problem, in_flight.recipe)
        self._journal.closed(closed)
        self.account[verdict.outcome.value] += 1
        if verdict.outcome is Outcome.REJECT:
            self.account[f"reject_{verdict.cause.value}"] += 1
        if problem:
            self.incidents["maybe_not_ejected"] += 1
            self.alarms.add("maybe-not-ejected", f"part {in_flight.part}: {problem}", now_ns)
            if self._plan.stop.part_went_by and not self.in_maintenance:
                self.hold(Reason.WENT_BY, f"part {in_flight.part}: {problem}", now_ns)
        if in_flight.recipe is not None:  # what comes during a change-over says nothing about the process
            for reason, detail in self._line_stop.broken_by(verdict):
                self.hold(reason, detail, now_ns)
        return closed

    def _remember(self) -> None:
        self._known = Orders(self._known.maintenance, dict(self.held))
        if self._orders:
            self._orders.write(self._known)
