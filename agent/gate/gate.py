"""Parts from trigger to close: who is in flight, how each one ended, and what was counted."""

import logging
from collections import Counter

from agent.ejectors import Ejector
from agent.gate.alarms import Alarms
from agent.gate.belt import Belt
from agent.gate.ejection import INERT, Ejection
from agent.gate.journal import Journal, Way
from agent.gate.line_stop import Reason
from agent.gate.orders import OrderBook
from agent.gate.placing import Placing
from agent.gate.plan import GatePlan
from agent.gate.schedule import InFlight, Schedule
from agent.gate.standstill import Standstill
from agent.inspection import Cause, Closed, Outcome, Part, Verdict

log = logging.getLogger(__name__)

_NOBODY = Verdict(Outcome.REJECT, Cause.MISSED, "no inspection process was attached when the part was triggered")
_LOST = Verdict(Outcome.REJECT, Cause.MISSED, "the inspection process was lost before it gave a verdict")
_RESTARTED = Verdict(Outcome.REJECT, Cause.MISSED, "the ejector process was restarted while the part was on the belt")

_NO_PROCESS = "went by while no ejector process ran"
_NO_PLACE = "nobody knows where on the belt it is: the encoder was lost"
_LEFT_BEHIND = "still on the belt when the ejector process was told to end: no process will eject it"


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
        self.belt = Belt(1 if plan.travel_counts > 0 else -1) if plan.travel_counts is not None else None
        self._placing = Placing(self.belt)
        self._standstill = Standstill(plan.stop, self.alarms, orders)
        self._ejection = Ejection(ejector, plan, self.belt, confirms, self._standstill, self.alarms)
        self.output, self.confirmation = self._ejection.output, self._ejection.confirmation
        self._boot = boot
        self._plan = plan
        self._journal = journal
        self._schedule = Schedule(plan.delay_ns, plan.delay_counts)
        self._n = 0

    def __len__(self) -> int:
        """Parts in flight."""
        return len(self._schedule) + len(self._ejection)

    @property
    def held(self) -> dict[Reason, str]:
        """Why the line has to stand until a person has looked; while it has, each part is rejected."""
        return self._standstill.held

    @property
    def why_held(self) -> str:
        """The same in a line for people, maintenance among it; empty where nothing is."""
        reasons = [f"{reason.value} ({detail})" if detail else reason.value for reason, detail in self.held.items()]
        return ", ".join([*(["maintenance"] if self.in_maintenance else []), *reasons])

    @property
    def in_maintenance(self) -> bool:
        """The outputs are inert."""
        return self._standstill.in_maintenance

    @property
    def is_at_rest(self) -> bool:
        """No part in flight, no pulse to end, no answer to come."""
        return not len(self) and self.output.is_at_rest

    def recover(self, now_ns: int, recipe: int = 0) -> None:
        """Puts the parts a killed ejector process left on the belt back on the line, to be rejected where their own way ends.

        recipe: that runs now, for parts of which the journal of an older version does not say it.
        """
        if unreadable := ", ".join(self._journal.unreadable):
            what = f"{unreadable} of the journal cannot be read: parts that were on the belt before may have gone by"
            self.alarms.add("maybe-not-ejected", what, now_ns)
        for part, (triggered_ns, same_boot) in self._journal.left_open.items():
            self.account["triggers"] += 1
            way = self._journal.ways.get(part) or Way(self._plan.delay_ns, recipe)
            planned_ns = triggered_ns + way.delay_ns
            found = InFlight(part, triggered_ns, planned_ns, _RESTARTED, planned_ns, way.recipe)
            if same_boot and planned_ns > now_ns and self.belt is None:
                self._schedule.put(found)
                continue
            log.error("part %s went by the gate while no ejector process ran: look for it behind the gate", part)
            self._close(found, now_ns, problem=_NO_PROCESS)

    def trigger(self, triggered_ns: int, attached: bool, recipe: int | None = 0, unsettled: str = "") -> InFlight:
        """Opens the next part; without an inspection process, or while the line should stand, it is rejected already.

        recipe: as Closed has it. unsettled: why the part must not be judged by any, empty where it may.
        """
        self.account["triggers"] += 1
        self._n += 1
        part = Part(self._boot, self._n)
        self._journal.opened(part, triggered_ns, Way(self._plan.delay_ns, recipe))
        place, dead = self._placing.place_of(triggered_ns)
        if dead:
            self.encoder_lost(dead, triggered_ns)
        in_flight = self._schedule.open(part, triggered_ns, self._foregone(attached, unsettled), place, recipe)
        in_flight.came_held = bool(self.held)
        self._placing.placed(in_flight, place)
        return in_flight

    def tell(self, part: Part, verdict: Verdict, recipe: int = 0) -> None:
        if not self._schedule.tell(part, verdict, recipe):
            self.account["verdicts_too_late"] += 1

    @property
    def of_a_recipe(self) -> int:
        """Parts in flight but those that came during a change-over."""
        return sum(part.recipe is not None for part in (*self._schedule.parts, *self._ejection.parts))

    def change(self, plan: GatePlan) -> None:
        """The plan of parts that come from now on; those in flight keep their way to the gate."""
        self._plan = plan
        self._schedule.change(plan.delay_ns, plan.delay_counts)
        self._ejection.change(plan)

    def inspection_lost(self) -> None:
        if given_up := self._schedule.give_up(_LOST):
            log.error("inspection process lost: %d parts in flight are rejected", given_up)

    def act(self, now_ns: int) -> list[Closed]:
        """Closes the parts that are due and ends pulses; raises EjectorError where the output cannot be driven."""
        closed = self._close_gone(now_ns)
        closed += self._correct_places(now_ns)
        place = now_ns if self.belt is None else self.belt.place
        for in_flight in self._schedule.due(place) if place is not None else []:
            closed += self._arrive(in_flight, now_ns)
        self._ejection.follow_belt(now_ns)
        closed += self._close_gone(now_ns)
        self._ejection.end_pulse(now_ns, self._schedule.rejects_before)
        self._ejection.look_for_unconfirmed(now_ns)
        self._standstill.look_after(now_ns)
        return closed

    def leave_behind(self, now_ns: int) -> list[Closed]:
        """Closes the parts that a belt that stands does not bring to the gate: nobody will be here when it goes on."""
        return self._give_up(_LEFT_BEHIND, now_ns)

    def switch_off(self, now_ns: int) -> None:
        self.output.switch_off(now_ns)

    def wake_ns(self) -> int | None:
        """When `act` has something to do next, as far as it is known by the clock."""
        return min((ns for ns in (self._schedule.wake_ns(), self._ejection.wake_ns()) if ns is not None), default=None)

    def hold(self, reason: Reason, detail: str, now_ns: int) -> None:
        """The line has to stand until a person has looked."""
        self._standstill.hold(reason, detail, now_ns)

    def reset(self) -> None:
        """A person has looked: the line may go on."""
        self._standstill.reset()
        self._placing.reset()

    def maintain(self, begin: bool, now_ns: int) -> None:
        """Maintenance begins: outputs go off and stay inert. It ends: they work again."""
        if self._standstill.maintain(begin) and begin:
            self.switch_off(now_ns)

    def belt_read(self, count: int, read_ns: int, now_ns: int) -> None:
        """The encoder stood there. One whose counter was set tells of the parts that are on the belt nothing any more."""
        if self.belt is not None and (why := self.belt.read(count, read_ns, self._plan.fastest_counts)):
            log.warning("%s; %d parts on the belt", why, len(self))
            if len(self):
                self.encoder_lost(why, now_ns)

    def encoder_lost(self, why: str, now_ns: int) -> None:
        self.hold(Reason.ENCODER, why, now_ns)

    def _foregone(self, attached: bool, unsettled: str) -> Verdict | None:
        """The verdict that is known before anybody looks."""
        if self.held:
            reasons = ", ".join(reason.value for reason in self.held)
            return Verdict(Outcome.REJECT, Cause.MISSED, f"held until a person resets the gate: {reasons}")
        if not attached:
            return _NOBODY
        return Verdict(Outcome.REJECT, Cause.FAULT, unsettled) if unsettled else None

    def _correct_places(self, now_ns: int) -> list[Closed]:
        """Shifts parts that were further back or ahead than was thought; closes all where nobody knows where they are."""
        for in_flight, counts in self._placing.corrections():
            self._schedule.shift(in_flight, counts)
        if self.belt is None or Reason.ENCODER not in self.held:
            return []
        self._placing.clear()
        return self._give_up(_NO_PLACE, now_ns)

    def _give_up(self, problem: str, now_ns: int) -> list[Closed]:
        """Closes all that have not come through."""
        return [self._close(lost, now_ns, problem=problem) for lost in (*self._ejection.lost(), *self._schedule.clear())]

    def _arrive(self, in_flight: InFlight, now_ns: int) -> list[Closed]:
        """A part is at the gate. A reject is closed when the output has answered, with an encoder when it has gone through."""
        if self.belt is not None:
            in_flight.planned_ns = self.belt.when(in_flight.due) or now_ns
        if in_flight.final.outcome is Outcome.PASS:
            return [self._close(in_flight, now_ns)]
        if self.in_maintenance:
            return [self._close(in_flight, now_ns, problem=INERT)]
        self._ejection.eject(in_flight, now_ns)
        return []

    def _close_gone(self, now_ns: int) -> list[Closed]:
        return [self._close(gone.in_flight, now_ns, gone.at_ns, gone.problem) for gone in self._ejection.gone(now_ns)]

    def _close(self, in_flight: InFlight, now_ns: int, actual_ns: int | None = None, problem: str = "") -> Closed:
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
        if in_flight.recipe is not None and not in_flight.came_held:  # such parts say nothing about the process
            self._standstill.closed(verdict, now_ns)
        return closed
