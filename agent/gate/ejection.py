"""What becomes of a part to be rejected from the gate on: its pulse, its way through the gate, the sensor behind it."""

from collections.abc import Callable

from agent.ejectors import Ejector
from agent.gate.actuation import Actuation, Ejected
from agent.gate.alarms import Alarms
from agent.gate.belt import Belt
from agent.gate.confirmation import Confirmation
from agent.gate.line_stop import Reason
from agent.gate.plan import GatePlan
from agent.gate.schedule import InFlight
from agent.gate.standstill import Standstill
from agent.gate.window import Stretch, Windows, Wish

INERT = "maintenance: the outputs are inert"


class Ejection:
    """One output and the parts it is on for; len: how many of them have not gone by. `now_ns` is an argument.

    By time a part has gone when the output has answered, with a belt when that has brought it through the gate. What goes wrong
    holds the line. confirms: whether there is a sensor behind the gate.
    """

    def __init__(
        self, ejector: Ejector, plan: GatePlan, belt: Belt | None, confirms: bool, standstill: Standstill, alarms: Alarms
    ) -> None:
        self.output = Actuation(ejector, plan)
        self.confirmation = Confirmation(round(plan.confirm_ms * 1e6)) if confirms else None
        self._plan = plan
        self._belt = belt
        self._windows = Windows(plan.window_counts, plan.lead_counts)
        self._standstill = standstill
        self._alarms = alarms

    def __len__(self) -> int:
        return len(self._windows)

    @property
    def parts(self) -> list[InFlight]:
        """Not gone by."""
        return self._windows.parts

    def change(self, plan: GatePlan) -> None:
        """For parts that come to the gate from now on."""
        self._plan = plan
        self._windows.change(plan.window_counts, plan.lead_counts)
        self.output.pulse.change(round(plan.pulse_ms * 1e6), round(plan.gap_ms * 1e6))

    def eject(self, in_flight: InFlight, now_ns: int) -> None:
        """A part to be rejected is at the gate. Raises EjectorError."""
        self.output.eject(in_flight, now_ns)
        self._windows.reject(in_flight)

    def gone(self, now_ns: int) -> list[Stretch]:
        """Those that are through, or whose output has failed, since the last call: by time when the output has answered, with a
        belt when that has also brought them through the gate, however long it takes."""
        for ejected in self.output.answers():
            self._hear(ejected, now_ns)
        if self._belt is None:
            return self._windows.gone(now_ns)
        gone = self._windows.gone(self._windows.place)
        if self.confirmation:
            for stretch in gone:
                self.confirmation.through(stretch.in_flight.part, now_ns)
        return gone

    def follow_belt(self, now_ns: int) -> None:
        """A part to be rejected is moving through the gate, as slowly as it likes: the output stays on, or comes on again."""
        if self._belt is None or self._belt.place is None:
            return
        pulse, coming = self.output.pulse, self._belt.came(round(self._plan.lead_ms * 1e6)) if len(self._windows) else 0
        why_off = self._why_off()
        match self._windows.moved(self._belt.place, coming, pulse.is_on, why_off):
            case Wish.OFF:
                pulse.let_go()
            case Wish.ON if pulse.is_on:
                pulse.hold_over(now_ns + pulse.width_ns)
            case Wish.ON if not why_off:
                self.output.eject(None, now_ns)

    def lost(self) -> list[InFlight]:
        """Takes all off the belt: nobody knows any more where they are."""
        cleared = self._windows.clear()
        if self.confirmation:
            self.confirmation.forget({in_flight.part for in_flight in cleared})
        return cleared

    def end_pulse(self, now_ns: int, reject_comes_before: Callable[[int], bool]) -> None:
        """The output goes off where its time is over, and stays on for another reject that comes before it could be on again.

        reject_comes_before: that instant, with a belt that place of it.
        """
        if not self.output.has_to_end(now_ns):
            return
        pulse = self.output.pulse
        if pulse.is_too_long(now_ns):
            detail = f"the output was wanted on for more than {self._plan.longest_on_ms} ms and was switched off"
            self._standstill.hold(Reason.OUTPUT_TOO_LONG, detail, now_ns)
        elif pulse.is_on and reject_comes_before(self._place_in(pulse.gap_ns, now_ns)):
            pulse.hold_over(now_ns + pulse.gap_ns)
            return
        self.output.switch_off(now_ns)

    def look_for_unconfirmed(self, now_ns: int) -> None:
        """A part that the sensor behind the gate should have seen by now holds the line."""
        for part in self.confirmation.overdue(now_ns) if self.confirmation else []:
            detail = f"part {part} was ejected and never came by the sensor behind the gate"
            self._standstill.hold(Reason.NOT_CONFIRMED, detail, now_ns)

    def wake_ns(self) -> int | None:
        """When there is something to do next, as far as it is known by the clock."""
        confirm_ns = self.confirmation.wake_ns() if self.confirmation else None
        return min((ns for ns in (self.output.wake_ns(), confirm_ns) if ns is not None), default=None)

    def _hear(self, ejected: Ejected, now_ns: int) -> None:
        if ejected.error:
            self._standstill.hold(Reason.EJECTOR, ejected.error, now_ns)
            if ejected.on:
                self._windows.failed(ejected.error[:100])
        if (in_flight := ejected.in_flight) is None:
            return
        if ejected.error:
            self._windows.answered(in_flight, None, ejected.error[:100])
            return
        if self.confirmation:
            since_ns = ejected.at_ns if self._belt is None else None
            self.confirmation.ejected(in_flight.part, min(in_flight.planned_ns, ejected.at_ns), since_ns)
        self._windows.answered(in_flight, ejected.at_ns, self._too_late(in_flight, ejected.at_ns) or self._cut(ejected.at_ns))

    def _too_late(self, in_flight: InFlight, at_ns: int) -> str:
        late_ns = at_ns - in_flight.planned_ns
        if self.output.lateness.is_over(self._plan.late_ms):
            self._alarms.add("pulses-late", f"limit {self._plan.late_ms} ms, found {self.output.lateness.figures()}", at_ns)
        return f"pulse {late_ns / 1e6:.0f} ms late: the part may have gone by" if late_ns > self._plan.window_ms * 1e6 else ""

    def _cut(self, at_ns: int) -> str:
        """By time; with a belt what goes through the gate with the output off is told of as it moves."""
        if self._belt is not None or self._standstill.in_maintenance or not self.output.pulse.is_cut(at_ns):
            return ""
        return self._never_longer

    @property
    def _never_longer(self) -> str:
        return f"its pulse is cut: the output is never on for more than {self._plan.longest_on_ms:g} ms"

    def _why_off(self) -> str:
        """Why the output does not come on again for a part that is in the gate; empty where it does."""
        if self._standstill.in_maintenance:
            return INERT
        return self._never_longer if Reason.OUTPUT_TOO_LONG in self._standstill.held else ""

    def _place_in(self, later_ns: int, now_ns: int) -> int:
        """The time so much later, or the place of the belt then if it goes on as before."""
        if self._belt is None:
            return now_ns + later_ns
        return (self._belt.place or 0) + self._belt.came(later_ns)
