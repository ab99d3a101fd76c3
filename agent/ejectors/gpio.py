"""An output at a GPIO line (libgpiod v2). The kernel gives the line back when the process ends, however it ends.

What the line does then is decided by an external resistor: wire it so that nothing is ejected, and nothing else moves.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from agent.ejectors import EjectorError, Switched


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """chip: a device such as /dev/gpiochip0. line: its number there, or its name. active_low: on is the low level."""

    line: int | str
    chip: str = "/dev/gpiochip0"
    active_low: bool = False

    @contextmanager
    def open(self) -> Iterator["GpioEjector"]:
        try:
            import gpiod
            from gpiod.line import Direction, Value
        except ImportError as e:
            raise EjectorError("ejector gpio needs libgpiod: pip install gpiod") from e
        settings = gpiod.LineSettings(direction=Direction.OUTPUT, active_low=self.active_low, output_value=Value.INACTIVE)
        try:
            request = gpiod.request_lines(self.chip, config={self.line: settings}, consumer="kensa")
        except (OSError, ValueError) as e:
            raise EjectorError(f"{self.chip} line {self.line}: {e}") from e
        with request:
            ejector = GpioEjector(request, self.line, {True: Value.ACTIVE, False: Value.INACTIVE})
            try:
                yield ejector
            finally:
                ejector.switch(on=False, now_ns=0)


class GpioEjector:
    """One line; it has its level when the system call returns."""

    def __init__(self, request: Any, line: int | str, level: dict[bool, Any]) -> None:
        self._request = request
        self._line = line
        self._level = level
        self._answers: list[Switched] = []

    def switch(self, on: bool, now_ns: int) -> None:
        try:
            self._request.set_value(self._line, self._level[on])
        except OSError as e:
            raise EjectorError(f"line {self._line} cannot be switched: {e}") from e
        self._answers.append(Switched(on, time.monotonic_ns()))

    def answers(self) -> Sequence[Switched]:
        answers, self._answers = self._answers, []
        return answers

    def problem(self) -> str | None:
        return None

    def filenos(self) -> Sequence[int]:
        return []
