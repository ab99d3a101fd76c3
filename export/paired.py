"""How long one model file takes beside another, measured in turn, since a shared machine's speed changes by the second."""

import statistics
import time
from contextlib import ExitStack
from pathlib import Path

from agent.drivers import section
from agent.inspection import Depth, Image

_ROUNDS, _WARM = 25, 3


def time_ratio(runtime: str, file: Path, others: list[Path], image: Image, depth: Depth | None) -> float:
    """Time of `file` for one graph input, as a share of the fastest of the others'; the medians of runs in turn."""
    with ExitStack() as stack:
        opened = [stack.enter_context(section("agent.runtimes", {"type": runtime}).open(path)) for path in (file, *others)]
        taken_s: list[list[float]] = [[] for _ in opened]
        for _ in range(_WARM + _ROUNDS):
            for model, times in zip(opened, taken_s, strict=True):
                start = time.perf_counter()
                model.infer(image, depth)
                times.append(time.perf_counter() - start)
    own, *rest = (statistics.median(times[_WARM:]) for times in taken_s)
    return own / min(rest)
