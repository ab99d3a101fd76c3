"""The ejector process: trigger, part counter, reject schedule, actuator and journal, and nothing that could stall them.

One thread, no disk wait, no network: drivers that speak to one have a thread of their own. A part exists from its trigger on,
whatever the inspection process does.
"""

import logging
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack, closing
from threading import Event as Stop

from agent.clock import machine_boot
from agent.config import Line
from agent.gate.change_over import ChangeOver
from agent.gate.devices import open_devices
from agent.gate.gate import Gate
from agent.gate.gate_loop import GateLoop
from agent.gate.inspection_side import InspectionSide
from agent.gate.journal import Journal
from agent.gate.line_stop import Reason
from agent.gate.operator_side import OPERATOR_SOCKET, OperatorSide
from agent.gate.orders import OrderBook
from agent.gate.recipe_book import recipe_of
from agent.gate.recipe_side import RecipeSide
from agent.health import ALIVE, notify
from agent.link import Listener, digest_of
from agent.only_one import only_one

log = logging.getLogger(__name__)

_GOODBYE_NS = 5_000_000_000


def eject_forever(line: Line, stop: Stop, opened: Callable[[], None] = lambda: None) -> None:
    """Runs the gate until `stop`; then takes no more triggers, sees the parts in flight through, and says goodbye.

    opened: called once everything that the line names is there.
    """
    boot = uuid.uuid4().hex[:12]
    with ExitStack() as stack:
        stack.enter_context(only_one(line.state, "eject"))
        journal = stack.enter_context(Journal(line.state / "journal", machine_boot()))
        devices = open_devices(line, stack)
        recipe, recipe_trouble = recipe_of(line)
        plan, orders = line.by(recipe).gate, OrderBook(line.state / "orders.json")
        gate = Gate(boot, plan, devices.ejector, journal, orders, line.confirm is not None)
        gate.recover(time.monotonic_ns(), recipe)
        if recipe_trouble:
            gate.hold(Reason.RECIPE, recipe_trouble, time.monotonic_ns())
        changes = ChangeOver({number: one.product for number, one in line.recipes.items()}, recipe)
        inspection = stack.enter_context(closing(InspectionSide(Listener(line.socket), gate, journal, changes, digest_of(line))))
        operator = stack.enter_context(closing(OperatorSide(line.state / OPERATOR_SOCKET)))
        recipes = RecipeSide(boot, line, changes, gate, inspection)
        loop = GateLoop(line, gate, devices, inspection, operator, changes, recipes)
        opened()
        log.info("ejector ready", extra={"data": {"boot": boot, "travel_ms": plan.travel_ms, "recipe": recipe}})
        leave_ns: int | None = None
        while True:
            now_ns = time.monotonic_ns()
            if stop.is_set():
                loop.leave(now_ns)
            loop.turn(now_ns)
            if loop.is_leaving and gate.is_at_rest:
                leave_ns = leave_ns or now_ns + _GOODBYE_NS
                if not journal.unconfirmed or not inspection.is_attached or now_ns > leave_ns:
                    break
            notify(ALIVE)
            loop.wait()
        gate.switch_off(time.monotonic_ns())
        inspection.say_goodbye()
        notify("STOPPING=1")
        held = {"unconfirmed": len(journal.unconfirmed), "given_up": journal.given_up, "unwritten": journal.unwritten}
        state = loop.state(time.monotonic_ns())
        told = {"account": dict(gate.account) | held, "incidents": state.incidents, "pulses": state.pulses, "held": state.held}
        log.info("account", extra={"data": told})
