"""How far a long stage is: a bar with rate and remaining time for people, one line per stage for log files."""

import time
from collections.abc import Collection, Iterator
from typing import Protocol, TextIO, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

T = TypeVar("T")

_LINE_EVERY_S, _FIRST_LINE_S = 30.0, 1.0


class Progress(Protocol):
    """Told of each stage of a long task."""

    def track(self, items: Collection[T], stage: str) -> Iterator[T]:
        """The items, one by one, while their passing is shown."""
        ...

    def tell(self, figures: str) -> None:
        """What is to be seen beside the running stage, such as its loss."""
        ...


class Unwatched:
    """Nobody looks."""

    def track(self, items: Collection[T], stage: str) -> Iterator[T]:
        del stage
        return iter(items)

    def tell(self, figures: str) -> None:
        del figures


UNWATCHED = Unwatched()


class Bars:
    """A bar per stage, for a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream)
        self._figures = ""

    def track(self, items: Collection[T], stage: str) -> Iterator[T]:
        self._figures = ""
        numbers = (MofNCompleteColumn(), _Rate(), TimeRemainingColumn(), TextColumn("{task.fields[figures]}"))
        with RichProgress(TextColumn("{task.description:<16}"), BarColumn(), *numbers, console=self._console) as bars:
            task = bars.add_task(stage, total=len(items), figures="")
            for item in items:
                yield item
                bars.update(task, advance=1, figures=self._figures)

    def tell(self, figures: str) -> None:
        self._figures = figures


class Lines:
    """One line per finished stage; in a long one a line soon, with how long it will take, and one now and then. For a file."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._figures = ""

    def track(self, items: Collection[T], stage: str) -> Iterator[T]:
        self._figures = ""
        start = time.perf_counter()
        due_s = _FIRST_LINE_S
        for done, item in enumerate(items):
            if done and (passed_s := time.perf_counter() - start) > due_s:
                left_s = (len(items) - done) * passed_s / done
                if due_s > _FIRST_LINE_S or left_s > _LINE_EVERY_S:
                    self._print(f"{stage}: {done} of {len(items)} ({done / passed_s:.3g}/s, {left_s / 60:.0f} min left)")
                due_s = passed_s + _LINE_EVERY_S
            yield item
        seconds = time.perf_counter() - start
        self._print(f"{stage}: {len(items)} in {seconds:.1f} s ({len(items) / max(seconds, 1e-9):.3g}/s)")

    def tell(self, figures: str) -> None:
        self._figures = figures

    def _print(self, line: str) -> None:
        print(f"{line}  {self._figures}".rstrip(), file=self._stream, flush=True)


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
