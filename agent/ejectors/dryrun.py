"""An ejector that moves nothing and logs each switch: for demo, tests and the first day on a new line."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from agent.ejectors import Switched

log = logging.getLogger(__name__)


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to set."""

    @contextmanager
    def open(self) -> Iterator["DryRun"]:
        ejector = DryRun()
        try:
            yield ejector
        finally:
            ejector.switch(on=False, now_ns=0)


class DryRun:
    """Counts the pulses it would have given."""

    def __init__(self) -> None:
        self.is_on = False
        self.pulses = 0
        self._answers: list[Switched] = []

    def switch(self, on: bool, now_ns: int) -> None:
        if on and not self.is_on:
            self.pulses += 1
            log.debug("pulse %d", self.pulses)
        self.is_on = on
        self._answers.append(Switched(on, time.monotonic_ns()))

    def answers(self) -> Sequence[Switched]:
        answers, self._answers = self._answers, []
        return answers

    def problem(self) -> str | None:
        return None

    def filenos(self) -> Sequence[int]:
        return []
