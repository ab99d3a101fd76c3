"""Ejectors: the output that takes a part off the belt. One driver per file, chosen by `type:`.

The contract: `Config.open()` is a context manager that yields an Ejector with its output off, and switches it off when
left, whatever happened. All is called from the ejector process's only thread and returns within a millisecond: a driver that
speaks to a network has a thread of its own. Each `switch` gets exactly one answer, in order, at most two seconds later.
EjectorError from any of them ends the process, which is started again; an answer with an error does not.
The same drivers serve as the line-stop output.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from agent.error import OutageError


class EjectorError(OutageError):
    """The output could not be driven; what it does now is unknown."""


@dataclass(frozen=True, slots=True)
class Switched:
    """The answer to one `switch`. at_ns: when the output surely had the state asked for. error: why it may not have it."""

    on: bool
    at_ns: int
    error: str = ""


class Ejector(Protocol):
    """An opened output."""

    def switch(self, on: bool, now_ns: int) -> None:
        """Asks for a state; also where it has that state already."""
        ...

    def answers(self) -> Sequence[Switched]:
        """What became of what was asked since the last call."""
        ...

    def problem(self) -> str | None:
        """Why a pulse asked for now would probably fail; None where all is well."""
        ...

    def filenos(self) -> Sequence[int]:
        """What can be read when there are answers; empty where they are there at once."""
        ...


class EjectorConfig(Protocol):
    """The section of the ejector."""

    def open(self) -> AbstractContextManager[Ejector]: ...
