"""Triggers: what tells the ejector process that a part is there. One driver per file, chosen by `type:`.

The contract: `Config.open()` is a context manager that yields a Trigger. The ejector process polls it from its only
thread; nothing here may block: a driver that speaks to a network has a thread of its own. The same drivers serve as the sensor
behind the gate (section `confirm`).
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from agent.error import OutageError


class TriggerError(OutageError):
    """The input cannot be read: parts would come by unseen."""


class Trigger(Protocol):
    """An opened trigger input. Any of these may raise TriggerError, which ends the process; it is started again."""

    def take(self, now_ns: int) -> Sequence[int]:
        """The instants (CLOCK_MONOTONIC ns) of the edges since the last call, oldest first, none after the call."""
        ...

    def wake_ns(self) -> int | None:
        """When `take` should be called next; None when only `filenos` will tell, or no edge will ever come again."""
        ...

    def filenos(self) -> Sequence[int]:
        """What can be read when there are edges."""
        ...

    def active_since_ns(self) -> int | None:
        """Since when the input has been active; None while it is not, and for a trigger that has no level."""
        ...

    def problem(self) -> str | None:
        """Why parts may come by unseen now; None where all is well."""
        ...


class TriggerConfig(Protocol):
    """The section of the trigger."""

    @property
    def bounces(self) -> bool:
        """Whether one part may bring several edges, as at a contact: those within the gate's debounce_ms are one part. False
        where each part is told of once: then all are parts, however close they come."""
        ...

    def open(self) -> AbstractContextManager[Trigger]: ...
