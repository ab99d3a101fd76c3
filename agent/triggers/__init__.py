"""Triggers: what tells the ejector process that a part is there. One driver per file, chosen by `type:`.

The contract: `Config.open()` is a context manager that yields a Trigger. The ejector process polls it from its only
thread; nothing here may block.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol


class Trigger(Protocol):
    """An opened trigger input."""

    def take(self, now_ns: int) -> Sequence[int]:
        """The instants (CLOCK_MONOTONIC ns) of the edges since the last call, oldest first, none later than now_ns."""
        ...

    def wake_ns(self) -> int | None:
        """When `take` should be called next; None when no edge will ever come again."""
        ...


class TriggerConfig(Protocol):
    """The section of the trigger."""

    def open(self) -> AbstractContextManager[Trigger]: ...
