"""Encoders: where the belt is. One driver per file, chosen by `type:`.

The contract is that of the triggers: opened by a context manager, polled by the ejector process's only thread, never blocking.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol


class Encoder(Protocol):
    """An opened encoder."""

    def readings(self) -> Sequence[tuple[int, int]]:
        """(instant in CLOCK_MONOTONIC ns, count) since the last call, oldest first. The count does not wrap.

        Raises EjectorError where there will be no more of them; the process ends and is started again.
        """
        ...

    def filenos(self) -> Sequence[int]:
        """What can be read when there are readings."""
        ...

    def problem(self) -> str | None:
        """Why nobody knows where the belt is; None where all is well."""
        ...


class EncoderConfig(Protocol):
    """The section of the encoder."""

    @property
    def bits(self) -> int:
        """Of its counter, which wraps: half a turn of it and more cannot be told from coming back."""
        ...

    @property
    def lost_ms(self) -> float:
        """A silence that is too long; a shorter one is no problem."""
        ...

    def open(self) -> AbstractContextManager[Encoder]: ...
