"""Times of two programs that take turns: their ratio run by run, since a shared machine's speed changes by the second.

Beside the clock, the time that all cores worked: it hardly changes where others keep the machine busy.
"""

import statistics
import time
from dataclasses import dataclass, field
from itertools import chain

from scipy.stats import spearmanr


class Watch:
    """Milliseconds since its birth: by the clock, and of all cores for this process."""

    def __init__(self) -> None:
        self._clock, self._cores = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        return 1000 * (time.perf_counter() - self._clock), 1000 * (time.process_time() - self._cores)


@dataclass
class Series:
    """Milliseconds of every frame, and of all cores for it, a list for each run; and the score of each frame."""

    runs: list[list[float]] = field(default_factory=list)
    work: list[list[float]] = field(default_factory=list)
    scores: dict[int, float] = field(default_factory=dict)

    def begin(self) -> None:
        self.runs.append([])
        self.work.append([])

    def forget(self) -> None:
        self.runs.clear()
        self.work.clear()

    def add(self, frame: int, ms: float, work_ms: float, score: float) -> None:
        self.runs[-1].append(ms)
        self.work[-1].append(work_ms)
        self.scores[frame] = score

    @property
    def medians(self) -> list[float]:
        return [statistics.median(run) for run in self.runs]

    @property
    def ms(self) -> float:
        """The median run."""
        return statistics.median(self.medians)

    @property
    def work_ms(self) -> float:
        return statistics.median(statistics.median(run) for run in self.work)

    def order(self, other: "Series") -> float:
        """Spearman's correlation of the scores."""
        frames = sorted(self.scores)
        return float(spearmanr([self.scores[k] for k in frames], [other.scores[k] for k in frames])[0])


def ratios(theirs: Series, ours: Series) -> tuple[str, str]:
    """How many times slower they are, the median run, the least and the most; and how many times as long cores work for it."""
    found = sorted(a / b for a, b in zip(theirs.medians, ours.medians, strict=True))
    return f"{statistics.median(found):.2f} ({found[0]:.2f} to {found[-1]:.2f})", f"{theirs.work_ms / ours.work_ms:.2f}"


def over_ms(whole: Series, graph: Series) -> tuple[float, float]:
    """By how much the median frame takes longer, and by how much more cores work for it."""
    clock = zip(chain(*whole.runs), chain(*graph.runs), strict=True)
    work = zip(chain(*whole.work), chain(*graph.work), strict=True)
    return statistics.median(a - b for a, b in clock), statistics.median(a - b for a, b in work)
