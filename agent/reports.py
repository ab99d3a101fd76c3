"""What the inspection process reports: each closed part joined with what was measured on it, and alerts; into the outbox."""

import uuid
from collections.abc import Callable

from agent.clock import now
from agent.config import Line
from agent.events.event import alert, kind, payload, topic
from agent.events.memory import Entry
from agent.events.outbox import Outbox
from agent.inspection import Closed, Event
from agent.readings import Readings


class Reports:
    """Of one station. boot: of the machine."""

    def __init__(self, line: Line, boot: str, outbox: Outbox, readings: Readings) -> None:
        self._product_of = {number: one.product for number, one in line.recipes.items()}
        self._config_sha256 = line.sha256
        self._boot = boot
        self._outbox = outbox
        self._readings = readings

    def part(self, closed: Closed, durable: Callable[[], None]) -> None:
        """If the outbox is too far behind, the gate will report the part again. durable: called once its event is."""
        measured, judge = self._readings.of(closed.part)
        if not measured and closed.verdict.by is not None:  # whoever judged it died before it was reported
            judge = closed.verdict.by
        product = self._product_of.get(closed.recipe or 0, "")
        event = Event(closed, measured, judge.bundle_id, judge.threshold, judge.model, self._config_sha256, product)

        def on_durable(key: str) -> None:
            self._readings.forget(closed.part)
            durable()

        instant = now(self._boot)
        data = payload(event, self._boot, instant.clock, instant.mono_ns)
        self._outbox.put(Entry(str(closed.part), kind(event), topic(event), instant.utc, data, on_durable))

    def alert(self, name: str, detail: str) -> None:
        """Of what happened once."""
        self._outbox.alert(f"{name}/{uuid.uuid4().hex}", alert(name, detail))
