"""An ejector that moves nothing and logs each switch: for demo, tests and the first day on a new line."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

log = logging.getLogger(__name__)


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to set."""

    @contextmanager
    def open(self) -> Iterator["DryRun"]:
        ejector = DryRun()
        try:
            yield ejector
        finally:
            ejector.switch(on=False)


class DryRun:
    """Counts the pulses it would have given."""

    def __init__(self) -> None:
        self.is_on = False
        self.pulses = 0

    def switch(self, on: bool) -> None:
        if on and not self.is_on:
            self.pulses += 1
            log.debug("pulse %d", self.pulses)
        self.is_on = on
