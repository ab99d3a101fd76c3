"""The PLC: it sees where the station stands and takes each result. One driver per file, chosen by `type:` of the section `plc`.

The contract is that of the ejectors: opened by a context manager, called from the ejector process's only thread, never blocking.
What the signals mean, and in which order they change, is agent/gate/handshake.py; a driver only carries them.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from agent.gate.handshake import Signals, Wishes


class Plc(Protocol):
    """An opened connection to a PLC."""

    def exchange(self, signals: Signals) -> Sequence[Wishes]:
        """Shows the PLC our signals, and gives what it has shown us since the last call, oldest first."""
        ...

    def filenos(self) -> Sequence[int]:
        """What can be read when the PLC has shown something new."""
        ...

    def problem(self) -> str | None:
        """Why the PLC may not see our signals; None where all is well."""
        ...


class PlcConfig(Protocol):
    """The section of the PLC."""

    def open(self) -> AbstractContextManager[Plc]: ...
