"""Ejectors: the output that takes a part off the belt. One driver per file, chosen by `type:`.

The contract: `Config.open()` is a context manager that yields an Ejector with its output off, and switches it off when
left, whatever happened. `switch` is called from the ejector process's only thread and must return within a millisecond;
it raises EjectorError when the output may not have the state asked for.
"""

from contextlib import AbstractContextManager
from typing import Protocol


class EjectorError(Exception):
    """The output could not be driven; what it does now is unknown."""


class Ejector(Protocol):
    """An opened output."""

    def switch(self, on: bool) -> None: ...


class EjectorConfig(Protocol):
    """The section of the ejector."""

    def open(self) -> AbstractContextManager[Ejector]: ...
