"""An ejector process's answers to the page, held by a test in place of one."""

import msgspec

from agent.gate.handshake import Signals, Wishes
from agent.gate.operator_side import GateState, Order, PlcState, RecipeState

ALL_WELL = GateState(
    ready=True,
    attached=True,
    maintenance=False,
    in_flight=1,
    place=None,
    held={},
    problems={},
    account={"triggers": 41, "pass": 30, "reject": 10},
    incidents={},
    pulses={},
    outputs={"ejector": True},
    inputs={"trigger": False},
    plc=PlcState(Signals(ready=True, valid=True, ok=True, heartbeat=True, trigger_id=41, result_id=40), Wishes(ack=True)),
)


class FakeGate:
    """An ejector process that stands as it is told and remembers its orders. A wish for a recipe ends as the test says."""

    def __init__(self) -> None:
        self.state = ALL_WELL
        self.orders: list[Order] = []

    def obey(self, order: Order) -> GateState:
        self.orders.append(order)
        changes = {"reset": {"held": {}}, "maintenance": {"maintenance": True}, "resume": {"maintenance": False}}
        self.state = replaced(self.state, **changes.get(order.action, {}))
        if order.action != "recipe":
            return self.state
        self._recipe(wanted=order.recipe, unsettled=f"change-over to recipe {order.recipe}")
        return replaced(self.state, recipe=msgspec.structs.replace(self._recipes, asked=self._wish))

    def end_wish(self, refusal: str = "") -> None:
        """The newest one; every later answer says so."""
        ended = {**self._recipes.ended, self._wish: refusal}
        self.run(self._recipes.number if refusal else self._recipes.wanted, ended=ended)

    def run(self, number: int, **changes: object) -> None:
        """This recipe, whoever wished it."""
        self._recipe(number=number, name=self._recipes.known[number], wanted=0, unsettled="", **changes)

    @property
    def _recipes(self) -> RecipeState:
        assert self.state.recipe is not None
        return self.state.recipe

    @property
    def _wish(self) -> str:
        return f"boot/recipe/{sum(order.action == 'recipe' for order in self.orders)}"

    def _recipe(self, **changes: object) -> None:
        self.state = replaced(self.state, recipe=msgspec.structs.replace(self._recipes, **changes))

    @property
    def ordered(self) -> list[tuple[str, str]]:
        return [(order.action, order.by) for order in self.orders if order.action != "status"]


def replaced(state: GateState, **changes: object) -> GateState:
    return msgspec.structs.replace(state, **changes)
