"""How far a long stage is: a bar with rate and remaining time for people, one line per stage for log files."""

import time
from collections.abc import Collection, Iterator
from typing import Protocol, TextIO, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

T = TypeVar("T")


class Progress(Protocol):
    """Told of each stage of a long task."""

    def track(self, items: Collection[T], stage: str) -> Iterator[T]:
        """The items, one by one, while their passing is shown."""
        ...


class Bars:
    """A bar per stage, for a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream)

    def track(self, items: Collection[T], stage: str) -> Iterator[T]:
        numbers = (MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
        with RichProgress(TextColumn("{task.description:<16}"), BarColumn(), *numbers, console=self._console) as bars:
            yield from bars.track(items, total=len(items), description=stage)


class Lines:
    """One line per finished stage, for a file or a test."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def track(self, items: Collection[T], stage: str) -> Iterator[T]:
        start = time.perf_counter()
        yield from items
        seconds = time.perf_counter() - start
        rate = len(items) / max(seconds, 1e-9)
        print(f"{stage}: {len(items)} in {seconds:.1f} s ({rate:.3g}/s)", file=self._stream, flush=True)


def progress_on(stream: TextIO) -> Progress:
    """Bars where somebody watches, lines where not.

    >>> import sys
    >>> list(progress_on(sys.stdout).track([1, 2], "reading"))  # doctest: +ELLIPSIS
    reading: 2 in ... s (.../s)
    [1, 2]
    """
    return Bars(stream) if stream.isatty() else Lines(stream)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.3g}/s")
