"""A part every so many milliseconds: for demo, tests and free-running lines."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, ClassVar

import msgspec


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """period_ms: between two triggers. count: how many in all, for ever without it. delay_ms: before the first."""

    period_ms: Annotated[float, msgspec.Meta(ge=1, le=3_600_000)]
    count: Annotated[int, msgspec.Meta(ge=1)] | None = None
    delay_ms: Annotated[float, msgspec.Meta(ge=0, le=3_600_000)] = 0.0
    bounces: ClassVar[bool] = False

    @contextmanager
    def open(self) -> Iterator["Timer"]:
        first_ns = time.monotonic_ns() + round(self.delay_ms * 1e6)
        yield Timer(first_ns, round(self.period_ms * 1e6), self.count)


class Timer:
    """Edges at first_ns, first_ns + period_ns ... An edge that could not be taken in time keeps its instant."""

    def __init__(self, first_ns: int, period_ns: int, count: int | None) -> None:
        self._next_ns = first_ns
        self._period_ns = period_ns
        self._left = count

    def take(self, now_ns: int) -> Sequence[int]:
        """
        >>> Timer(first_ns=10, period_ns=5, count=2).take(now_ns=30)
        [10, 15]
        """
        edges: list[int] = []
        while self._next_ns <= now_ns and self._left != 0:
            edges.append(self._next_ns)
            self._next_ns += self._period_ns
            self._left = None if self._left is None else self._left - 1
        return edges

    def wake_ns(self) -> int | None:
        return None if self._left == 0 else self._next_ns

    def filenos(self) -> Sequence[int]:
        return []

    def active_since_ns(self) -> int | None:
        return None

    def problem(self) -> str | None:
        return None
