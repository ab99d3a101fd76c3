"""What the observer asks of the rest of the station, and whom it tells of alarms."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from agent.events.event import alert
from agent.events.outbox import Outbox
from agent.gate_link import GateLink


@dataclass(frozen=True, slots=True)
class Around:
    """birth: what does not change. drops, queues: names to numbers as they are now.

    alert: tells people, with a name, `raised` or `cleared`, and words. trouble: what is wrong now, empty when nothing is. broker:
    why it takes no event, empty where it does, and for how many seconds.
    """

    birth: Mapping[str, str | float] = field(default_factory=dict)
    drops: Callable[[], dict[str, int]] = dict
    queues: Callable[[], dict[str, int]] = dict
    trouble: Callable[[], str] = str
    broker: Callable[[], tuple[str, float]] = lambda: ("", 0.0)
    alert: Callable[[str, str, str], None] = lambda name, state, detail: None


def around_station(
    birth: Mapping[str, str | float],
    gate: GateLink,
    outbox: Outbox,
    trouble: Callable[[], str],
    broker: Callable[[], tuple[str, float]],
) -> Around:
    """trouble: what else may be wrong. Alarms become alerts in the outbox."""

    def tell(name: str, state: str, detail: str) -> None:
        outbox.alert(f"{name}/{state}/{uuid.uuid4().hex}", alert(name, detail, state))

    return Around(
        birth=birth,
        drops=lambda: {"trigger": gate.overrun},
        queues=lambda: {"trigger": gate.waiting},
        trouble=lambda: "; ".join(filter(None, (trouble(), outbox.trouble))),
        broker=broker,
        alert=tell,
    )
