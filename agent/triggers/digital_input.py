"""A light barrier or sensor at a GPIO line (libgpiod v2): the kernel notes the instant of each edge."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar

import msgspec

from agent.triggers import TriggerError

_MOST_KEPT = 1024  # edges, by the kernel; it would keep 16, the newest
_READS_AT_ONCE = 16  # an input that swings all the time must not keep the gate from its parts
_TOLD_NS = 5_000_000_000  # what is over at once would be told to nobody


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """chip: a device such as /dev/gpiochip0. line: its number there, or its name. active_low: a part pulls the line down.

    debounce_us: the kernel drops shorter pulses, where the chip can.
    """

    line: int | str
    chip: str = "/dev/gpiochip0"
    active_low: bool = False
    debounce_us: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    bounces: ClassVar[bool] = True

    @contextmanager
    def open(self) -> Iterator["DigitalInput"]:
        try:
            import gpiod
            from gpiod.line import Clock, Direction, Edge, Value
        except ImportError as e:
            raise TriggerError("trigger digital_input needs libgpiod: pip install gpiod") from e
        from datetime import timedelta

        settings = gpiod.LineSettings(
            direction=Direction.INPUT,
            edge_detection=Edge.BOTH,
            active_low=self.active_low,
            event_clock=Clock.MONOTONIC,
            debounce_period=timedelta(microseconds=self.debounce_us),
        )
        try:
            request = gpiod.request_lines(self.chip, config={self.line: settings}, consumer="kensa", event_buffer_size=_MOST_KEPT)
        except (OSError, ValueError) as e:
            raise TriggerError(f"{self.chip} line {self.line}: {e}") from e
        with request:
            since_ns = time.monotonic_ns() if request.get_value(self.line) is Value.ACTIVE else None
            yield DigitalInput(request, gpiod.EdgeEvent.Type.RISING_EDGE, since_ns)


class DigitalInput:
    """Edges as the kernel saw them, which numbers them: what it could not keep is told of.

    active_since_ns: of a line that was active when it was opened; that is no part.
    """

    def __init__(self, request: Any, rising: Any, active_since_ns: int | None) -> None:
        self._request = request
        self._rising = rising
        self._active_since_ns = active_since_ns
        self._seen = 0  # the newest edge's number
        self._lost, self._told_until_ns = 0, 0

    def take(self, now_ns: int) -> Sequence[int]:
        edges = []
        try:
            for _ in range(_READS_AT_ONCE):
                if not self._request.wait_edge_events(0):
                    break
                for event in self._request.read_edge_events():
                    self._count(event.line_seqno, now_ns)
                    is_rising = event.event_type == self._rising
                    self._active_since_ns = event.timestamp_ns if is_rising else None
                    if is_rising:
                        edges.append(min(event.timestamp_ns, now_ns))
        except OSError as e:
            raise TriggerError(f"the trigger line cannot be read: {e}") from e
        return edges

    def wake_ns(self) -> int | None:
        return None

    def filenos(self) -> Sequence[int]:
        return [self._request.fd]

    def active_since_ns(self) -> int | None:
        return self._active_since_ns

    def problem(self) -> str | None:
        if time.monotonic_ns() >= self._told_until_ns:
            return None
        return (
            f"{self._lost} edges came faster than they were read: parts may have come by unseen, look at the sensor and its cable"
        )

    def _count(self, number: int, now_ns: int) -> None:
        """The kernel's, from 1."""
        if (lost := number - self._seen - 1) > 0:
            self._lost += lost
            self._told_until_ns = now_ns + _TOLD_NS
        self._seen = number
