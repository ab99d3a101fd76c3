"""The handshake over GPIO lines (libgpiod v2): one output for each signal that is wired, one input for each wish.

There are no lines for numbers: ids, counts, error codes and recipes stay with Modbus.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import msgspec

from agent.ejectors import EjectorError
from agent.gate.handshake import Signals, Wishes

Output = Literal["ready", "busy", "trigger_ack", "valid", "ok", "ng", "error", "overrun", "heartbeat", "may_run", "maintenance"]
Input = Literal["trigger", "ack", "reset"]


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """outputs, inputs: signal to line, by number or name. active_low: on is the low level, for all of them."""

    outputs: dict[Output, int | str]
    inputs: dict[Input, int | str] = {}
    chip: str = "/dev/gpiochip0"
    active_low: bool = False

    def __post_init__(self) -> None:
        lines = [*self.outputs.values(), *self.inputs.values()]
        if len(set(lines)) != len(lines):
            raise ValueError("each signal needs a line of its own")
        if not self.outputs:
            raise ValueError("outputs: expected at least one signal")

    @contextmanager
    def open(self) -> Iterator["Digital"]:
        try:
            import gpiod
            from gpiod.line import Clock, Direction, Edge, Value
        except ImportError as e:
            raise EjectorError("plc digital needs libgpiod: pip install gpiod") from e
        out = gpiod.LineSettings(direction=Direction.OUTPUT, active_low=self.active_low, output_value=Value.INACTIVE)
        into = gpiod.LineSettings(
            direction=Direction.INPUT, active_low=self.active_low, edge_detection=Edge.BOTH, event_clock=Clock.MONOTONIC
        )
        settings: dict[Iterable[int | str] | int | str, gpiod.LineSettings | None] = dict.fromkeys(self.outputs.values(), out)
        settings.update(dict.fromkeys(self.inputs.values(), into))
        try:
            request = gpiod.request_lines(self.chip, config=settings, consumer="kensa")
        except (OSError, ValueError) as e:
            raise EjectorError(f"{self.chip}: {e}") from e
        with request:
            offsets = {name: gpiod_offset(request, line) for name, line in self.inputs.items()}
            value = {True: Value.ACTIVE, False: Value.INACTIVE}
            digital = Digital(self, request, value, offsets, gpiod.EdgeEvent.Type.RISING_EDGE)
            try:
                yield digital
            finally:
                digital.exchange(Signals())


def gpiod_offset(request: Any, line: int | str) -> int:
    """The number by which events name a line."""
    return int(line) if isinstance(line, int) else int(dict(zip(request.lines, request.offsets, strict=True))[line])


def levels(signals: Signals, outputs: Mapping[Output, int | str]) -> dict[int | str, bool]:
    """
    >>> levels(Signals(ready=True), {"ready": 4, "ng": "GPIO7"})
    {4: True, 'GPIO7': False}
    """
    return {line: bool(getattr(signals, name)) for name, line in outputs.items()}


class Digital:
    """Outputs are written when they change; each edge of an input is one set of wishes, so that none is missed. Where `reset`
    is wired, the first set says whether it was on when the lines were opened."""

    def __init__(self, config: Config, request: Any, value: dict[bool, Any], offsets: dict[Input, int], rising: Any) -> None:
        self._config = config
        self._request = request
        self._value = value
        self._name_of = {offset: name for name, offset in offsets.items()}
        self._rising = rising
        self._shown: dict[int | str, bool] = {}
        reset = config.inputs.get("reset")
        self._wishes = Wishes(reset=reset is not None and request.get_value(reset) == value[True])
        self._first = [self._wishes] if reset is not None else []

    def exchange(self, signals: Signals) -> Sequence[Wishes]:
        wanted = levels(signals, self._config.outputs)
        heard, self._first = self._first, []
        try:
            if wanted != self._shown:
                self._request.set_values({line: self._value[on] for line, on in wanted.items()})
                self._shown = wanted
            while self._config.inputs and self._request.wait_edge_events(0):
                for event in self._request.read_edge_events():
                    changed = {self._name_of[event.line_offset]: event.event_type == self._rising}
                    self._wishes = replaced(self._wishes, changed)
                    heard.append(self._wishes)
        except OSError as e:
            raise EjectorError(f"the PLC's lines: {e}") from e
        return heard

    def filenos(self) -> Sequence[int]:
        return [self._request.fd] if self._config.inputs else []

    def problem(self) -> str | None:
        return None


def replaced(wishes: Wishes, changed: Mapping[Input, bool]) -> Wishes:
    """
    >>> replaced(Wishes(trigger=True), {"ack": True})
    Wishes(trigger=True, ack=True, reset=False, recipe=0)
    """
    kept = {"trigger": wishes.trigger, "ack": wishes.ack, "reset": wishes.reset}
    return Wishes(**(kept | dict(changed)))
