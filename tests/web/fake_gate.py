"""An ejector process's answers to the page, held by a test in place of one."""

from agent.gate.handshake import Signals, Wishes
from agent.gate.operator_side import GateState, Order, PlcState

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
    """An ejector process that stands as it is told and remembers its orders."""

    def __init__(self) -> None:
        self.state = ALL_WELL
        self.orders: list[Order] = []

    def obey(self, order: Order) -> GateState:
        self.orders.append(order)
        changes = {"reset": {"held": {}}, "maintenance": {"maintenance": True}, "resume": {"maintenance": False}}
        self.state = replaced(self.state, **changes.get(order.action, {}))
        return self.state

    @property
    def ordered(self) -> list[tuple[str, str]]:
        return [(order.action, order.by) for order in self.orders if order.action != "status"]


def replaced(state: GateState, **changes: object) -> GateState:
    return GateState(**{name: getattr(state, name) for name in GateState.__struct_fields__} | changes)
