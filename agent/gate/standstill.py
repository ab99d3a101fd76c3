"""Why the line has to stand, and whether people work at it: told once, and kept over a restart."""

import logging

from agent.gate.alarms import Alarms
from agent.gate.line_stop import Reason, Rejects
from agent.gate.orders import OrderBook, Orders
from agent.gate.plan import StopRules
from agent.inspection import Verdict

log = logging.getLogger(__name__)

_AGAIN_NS = 10_000_000_000


class Standstill:
    """The reasons of one gate, with what a person should know of each; a person takes them away.

    held: while there is one, each part is rejected. orders: where they are kept; without it they last as long as this.
    """

    def __init__(self, stop: StopRules, alarms: Alarms, orders: OrderBook | None) -> None:
        known = orders.read() if orders else Orders()
        self.held = dict(known.held)
        self.in_maintenance = known.maintenance
        self._rejects = Rejects(stop)
        self._alarms = alarms
        self._orders = orders
        self._again_ns: int | None = None  # when the disk is asked again; None while it has all

    def hold(self, reason: Reason, detail: str, now_ns: int) -> None:
        """From now on, if not already."""
        if reason not in self.held:
            self.held[reason] = detail
            self._alarms.add(reason.value, detail, now_ns)
            self._remember()

    def closed(self, verdict: Verdict, now_ns: int) -> None:
        """A part has closed so: it may break a rule of the line."""
        for reason, detail in self._rejects.broken_by(verdict):
            self.hold(reason, detail, now_ns)

    def reset(self) -> None:
        """A person has looked: the line may go on."""
        log.warning("gate reset by a person; it was held for: %s", ", ".join(r.value for r in self.held) or "nothing")
        self.held.clear()
        self._rejects.reset()
        self._alarms.reset()
        self._remember()

    def maintain(self, begin: bool) -> bool:
        """People begin to work at the line, or have ended; False where that is known already."""
        if begin == self.in_maintenance:
            return False
        log.warning("maintenance %s: the outputs are %s", *(("begins", "inert") if begin else ("ends", "live")))
        self.in_maintenance = begin
        self._remember()
        return True

    def look_after(self, now_ns: int) -> None:
        """What the disk has not taken is tried again, and told of as long as a restart would not know it."""
        if self._again_ns is None or now_ns < self._again_ns:
            return
        self._remember()
        if self._again_ns is not None:
            self._again_ns = now_ns + _AGAIN_NS
            detail = "the disk does not take it: a restart would not know of maintenance and halts, or of their end"
            self._alarms.add("orders-not-kept", detail, now_ns)

    def _remember(self) -> None:
        is_kept = self._orders is None or self._orders.write(Orders(self.in_maintenance, dict(self.held)))
        self._again_ns = None if is_kept else 0
