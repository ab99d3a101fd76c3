"""One round of the ejector process: what comes from devices, inspection, people and PLC, to the gate and back."""

import select
import time

from agent.config import Line
from agent.gate.change_over import ChangeOver
from agent.gate.device_watch import DeviceWatch
from agent.gate.devices import GateDevices, error_code
from agent.gate.gate import Gate
from agent.gate.handshake import ErrorCode, Station
from agent.gate.inspection_side import InspectionSide
from agent.gate.operator_side import GateState, OperatorSide, Order, PlcState
from agent.gate.plc_side import PlcSide
from agent.gate.recipe_side import RecipeSide
from agent.inspection import Closed

_LONGEST_WAIT_S = 0.5  # also the pace of the watchdog on an idle line
_STANDS_NS = 5_000_000_000  # parts in flight so much later than their way takes are on a belt that stands
_PLC_ROUNDS = 4


class GateLoop:
    """The gate with everything around it; `turn` is one round of the process. Time is an argument."""

    def __init__(
        self,
        line: Line,
        gate: Gate,
        devices: GateDevices,
        inspection: InspectionSide,
        operator: OperatorSide,
        changes: ChangeOver,
        recipes: RecipeSide,
    ) -> None:
        self._stop_rules = line.gate.stop
        self._gate = gate
        self._devices = devices
        self._inspection = inspection
        self._operator = operator
        self._changes = changes
        self._recipes = recipes
        self._plc = PlcSide(devices.plc, gate, changes) if devices.plc else None
        self._device_watch = DeviceWatch(gate.alarms)
        self._permitted: bool | None = None
        self._see_through_ns = round(line.longest_travel_ms * 1e6) + _STANDS_NS
        self._leave_behind_ns: int | None = None  # None until it leaves

    @property
    def is_leaving(self) -> bool:
        return self._leave_behind_ns is not None

    def leave(self, now_ns: int) -> None:
        """Takes no more parts. Those in flight are waited for, though not for ever: the belt may stand, too."""
        if self._leave_behind_ns is None:
            self._leave_behind_ns = now_ns + self._see_through_ns

    def turn(self, now_ns: int) -> None:
        """Parts in, verdicts in, pulses and records out."""
        gate, devices = self._gate, self._devices
        self._follow_the_belt(now_ns)
        self._close(gate.act(now_ns), now_ns)
        if self._leave_behind_ns is not None and now_ns > self._leave_behind_ns:
            self._close(gate.leave_behind(now_ns), now_ns)
        edges = devices.parts.parts(devices.trigger.take(now_ns))
        if self.is_leaving:
            gate.incidents["triggers_while_leaving"] += len(edges)
            edges = []
        if devices.confirm is not None and devices.fallen is not None and gate.confirmation is not None:
            for edge_ns in devices.fallen.parts(devices.confirm.take(now_ns)):
                gate.confirmation.seen(edge_ns)
        for edge_ns in edges:
            self._open(edge_ns, now_ns)
        self._inspection.serve(now_ns)
        self._operator.serve(lambda order: self._obey(order, now_ns))
        self._recipes.serve(now_ns)
        self._look_after(now_ns)
        self._serve_plc(now_ns)

    def wait(self) -> None:
        """Until something can be read or the moment has come; select() because poll and epoll count in milliseconds."""
        wakes = [self._gate.wake_ns(), None if self.is_leaving else self._devices.trigger.wake_ns()]
        wakes += [self._plc.wake_ns() if self._plc else None, self._devices.confirm.wake_ns() if self._devices.confirm else None]
        wakes.append(self._recipes.wake_ns())
        until_ns = min((ns for ns in wakes if ns is not None), default=None)
        longest_s = _LONGEST_WAIT_S
        if until_ns is not None:
            longest_s = min(longest_s, max(0.0, (until_ns - time.monotonic_ns()) / 1e9))
        filenos = [*self._inspection.filenos(), *self._operator.filenos(), *self._devices.filenos()]
        select.select(filenos, [], [], longest_s)

    def state(self, now_ns: int, asked: str = "") -> GateState:
        """For people. asked: the name of the wish for a recipe that this answers."""
        gate, station = self._gate, self._station(now_ns)
        counted = {
            "alarms_dropped": gate.alarms.dropped,
            "bounces": self._devices.parts.bounces,
            "merged": gate.output.pulse.merged,
            "short_gaps": gate.output.pulse.short_gaps,
        }
        if gate.confirmation is not None and self._devices.fallen is not None:
            counted["unexpected_confirmations"] = gate.confirmation.unexpected
            counted["confirm_bounces"] = self._devices.fallen.bounces
        return GateState(
            ready=station.is_ready,
            attached=station.is_attached,
            maintenance=station.in_maintenance,
            in_flight=len(gate),
            place=gate.belt.place if gate.belt else None,
            held={reason.value: detail for reason, detail in gate.held.items()},
            problems=self._devices.problems(now_ns),
            account=dict(gate.account),
            incidents=dict(gate.incidents) | counted,
            pulses=gate.output.lateness.figures(),
            recipe=self._recipes.state(asked),
            outputs=self._devices.outputs(gate.output.pulse.is_on, bool(self._permitted)),
            inputs=self._devices.inputs(),
            plc=PlcState(self._plc.signals, self._plc.wishes) if self._plc else None,
            unable=self._inspection.unable,
        )

    def _open(self, edge_ns: int, now_ns: int) -> None:
        was_ready, changes = self._station(now_ns).is_ready, self._changes
        in_flight = self._gate.trigger(edge_ns, self._inspection.is_attached, changes.of_new_part, changes.unsettled)
        if self._plc:
            self._plc.opened(in_flight.part.n, was_ready)
        if in_flight.verdict is None:
            self._inspection.announce(in_flight)

    def _close(self, closed: list[Closed], now_ns: int) -> None:
        self._inspection.closed(closed)
        if self._plc:
            self._plc.closed(closed, now_ns)

    def _serve_plc(self, now_ns: int) -> None:
        """Last in a turn: it sees what the turn has changed; what it asks for is answered at once, as far as that goes."""
        if self._plc is None:
            return
        for _ in range(_PLC_ROUNDS):
            heard = self._plc.serve(self._station(now_ns), now_ns)
            for _ in range(0 if self.is_leaving else sum(asked.trigger for asked in heard)):
                self._open(now_ns, now_ns)
            if not heard:
                return

    def _station(self, now_ns: int) -> Station:
        gate, is_attached = self._gate, self._inspection.is_attached and not self.is_leaving
        stands = gate.held or gate.in_maintenance or self.is_leaving or (self._stop_rules.no_inspection and not is_attached)
        return Station(
            is_attached=is_attached,
            is_held=bool(gate.held),
            in_maintenance=gate.in_maintenance,
            is_busy=len(gate) > 0,
            may_run=not stands,
            error=(self._plc.error if self._plc else ErrorCode.NONE) or error_code(self._devices.problems(now_ns)),
            is_changing=bool(self._changes.unsettled),
            is_unable=bool(self._inspection.unable),
            recipe=self._changes.current,
        )

    def _follow_the_belt(self, now_ns: int) -> None:
        encoder = self._devices.encoder
        if encoder is None or self._gate.belt is None:
            return
        for read_ns, count in encoder.readings():
            self._gate.belt_read(count, read_ns, now_ns)
        if (why := encoder.problem()) is not None:
            self._gate.encoder_lost(why, now_ns)

    def _look_after(self, now_ns: int) -> None:
        """Tells people of what lasts, and shows the line whether it may run."""
        self._device_watch.look(self._devices.problems(now_ns), now_ns)
        no_recipe = "" if self._changes.wanted else self._changes.unsettled
        self._inspection.trouble = "; ".join(filter(None, (self._device_watch.words, no_recipe)))
        if (permit := self._devices.permit) is not None:
            if any(answer.error for answer in permit.answers()):
                self._permitted = None  # asked for again
            if (may_run := self._station(now_ns).may_run) is not self._permitted:
                self._permitted = may_run
                permit.switch(on=may_run, now_ns=now_ns)

    def _obey(self, order: Order, now_ns: int) -> GateState:
        asked = ""
        match order.action:
            case "reset":
                self._gate.reset()
                if self._plc:
                    self._plc.reset()
            case "maintenance":
                self._gate.maintain(True, now_ns)
            case "resume":
                self._gate.maintain(False, now_ns)
            case "recipe":
                asked = self._recipes.ask(order.recipe, order.by, now_ns)
        return self.state(now_ns, asked)
