"""What a station does when its runtime fails, rung by rung: open it anew, go on with the CPU where that is allowed, stop."""

import logging
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from agent.bundle import BundleError
from agent.runtimes import InferenceError, RuntimeConfig

log = logging.getLogger(__name__)

_REOPENINGS, _WITHIN_S = 3, 600.0  # more often than that, the rung does not hold

T = TypeVar("T")
Open = Callable[[RuntimeConfig], T]


class Ladder:
    """Rungs: the runtime as the line's file has it, then the same on the CPU where the file says `cpu_instead: true`.

    trouble: why the station does not stand on the first one, for its published state; empty when it does.
    news: what happened, for alerts; the oldest are dropped.
    """

    def __init__(self, runtime: RuntimeConfig) -> None:
        on_cpu = runtime.on_cpu()
        self._rungs = [runtime] if on_cpu is None else [runtime, on_cpu]
        self._reopened_s: deque[float] = deque(maxlen=_REOPENINGS)
        self.trouble = ""
        self.news: deque[str] = deque(maxlen=16)

    @property
    def runtime(self) -> RuntimeConfig:
        """The rung that the station stands on."""
        return self._rungs[0]

    def open_first(self, opened: Open[T]) -> T:
        """At the start, or for another bundle. Raises InferenceError where no rung holds, BundleError where it is the bundle."""
        try:
            return opened(self.runtime)
        except InferenceError as e:
            return self._next(str(e), opened)
        except BundleError as e:  # an accelerator that computes something else looks like a bundle that is wrong
            if len(self._rungs) == 1:
                raise
            return self._next(str(e), opened)

    def reopen(self, why: str, opened: Open[T], now_s: float) -> T:
        """After an inference failed twice. why: what it said. Raises InferenceError where no rung holds: stop then."""
        often = len(self._reopened_s) == _REOPENINGS and now_s - self._reopened_s[0] < _WITHIN_S
        self._reopened_s.append(now_s)
        if often:
            return self._next(f"{why}; {_REOPENINGS} new sessions within {_WITHIN_S / 60:.0f} minutes did not help", opened)
        try:
            fresh = opened(self.runtime)
        except (BundleError, InferenceError) as e:  # the bundle ran here a moment ago: what golden images show is the runtime's
            return self._next(f"{why}; a new session: {e}", opened)
        self._tell(f"the runtime failed and was opened anew: {why}")
        return fresh

    def _next(self, why: str, opened: Open[T]) -> T:
        if len(self._rungs) == 1:
            raise InferenceError(f"no runtime is left, parts are rejected: {why}")
        fresh = opened(self._rungs[1])
        del self._rungs[0]
        self._reopened_s.clear()
        self.trouble = f"on the CPU instead of the accelerator: {why}"
        self._tell(self.trouble)
        return fresh

    def _tell(self, what: str) -> None:
        log.error("%s", what)
        self.news.append(what)
