"""PURE  Since when a frame may have been there: what waited while nobody looked, or comes in a heap behind a pause, is older
than it seems, and would be taken for the part that was triggered meanwhile."""

from collections import deque
from statistics import median
from typing import Protocol

_PAUSE_NS = 250_000_000  # shorter ones are not told from an ordinary day of a busy machine
_WAITED_NS = 2_000_000  # a look that took longer has found nothing at first
_USUAL_OF = 16  # intervals of a stream
_FEWEST = 4
_MANY_TIMES = 3
_CLOCKS_DIFFER = 0.001  # the camera's from ours
_SET_ANEW_MS = 5000.0  # a longer way ahead, or any back, is no time between two pictures
_OPENING_NS = 2_000_000_000  # what a decoder has looked at to know the stream comes first


class Arrival(Protocol):
    """Of one camera's frames, for its thread."""

    def opened(self) -> None:
        """The camera has been opened, perhaps anew."""
        ...

    def looked(self, asked_ns: int, now_ns: int) -> None:
        """The source was asked for a frame then, and has answered now."""
        ...

    def earliest_ns(self, arrived_ns: int) -> int:
        """Since when the frame that has just come may have been there."""
        ...


class Lateness:
    """How much later than the quickest of them the pictures of a stream come, by the stream's own time: what a decoder, a network
    or a reader that is too slow has let queue up."""

    def __init__(self) -> None:
        self._before: tuple[float, float] | None = None
        self._late_ms = 0.0

    def of(self, stamped_ms: float, arrived_ms: float) -> float:
        """In ms. stamped_ms: in the stream's time, always 0 where it has none."""
        before, self._before = self._before, (stamped_ms, arrived_ms)
        if before is not None and 0 < (step_ms := stamped_ms - before[0]) < _SET_ANEW_MS:
            waited_ms = (arrived_ms - before[1]) * (1 - _CLOCKS_DIFFER)
            self._late_ms = max(0.0, self._late_ms + waited_ms - step_ms)
        return self._late_ms


class OnceAPart:
    """Of a camera that exposes when it is told to. Frames wait in its buffers while the thread that looks stands still.

    look_ns: how long one look lasts where nothing comes.
    """

    def __init__(self, look_ns: int) -> None:
        self._longest_ns = look_ns + _PAUSE_NS
        self._looked_ns: int | None = None
        self._stood_since_ns: int | None = None

    def opened(self) -> None:
        self._looked_ns = self._stood_since_ns = None

    def looked(self, asked_ns: int, now_ns: int) -> None:
        before_ns, self._looked_ns = self._looked_ns, now_ns
        if before_ns is not None and now_ns - before_ns > self._longest_ns:
            self._stood_since_ns = before_ns
        elif now_ns - asked_ns > _WAITED_NS:
            self._stood_since_ns = None

    def earliest_ns(self, arrived_ns: int) -> int:
        return arrived_ns if self._stood_since_ns is None else self._stood_since_ns


class Stream:
    """Of a camera that exposes all the time: after a pause, of the network or of the thread that looks, what was held up comes
    faster than the stream's own pace. What comes first from a camera that is opened anew may be of before, too."""

    def __init__(self) -> None:
        self._last_ns: int | None = None
        self._intervals_ns: deque[int] = deque(maxlen=_USUAL_OF)
        self._behind_since_ns: int | None = None
        self._behind_until_ns = 0

    def opened(self) -> None:
        self._last_ns = None
        self._behind_since_ns = 0 if len(self._intervals_ns) >= _FEWEST else None

    def looked(self, asked_ns: int, now_ns: int) -> None:
        """Its frames tell all."""

    def earliest_ns(self, arrived_ns: int) -> int:
        last_ns, self._last_ns = self._last_ns, arrived_ns
        if last_ns is None:
            self._behind_until_ns = arrived_ns + _OPENING_NS
        else:
            self._follow(last_ns, arrived_ns)
        return arrived_ns if self._behind_since_ns is None else self._behind_since_ns

    def _follow(self, last_ns: int, arrived_ns: int) -> None:
        interval_ns = arrived_ns - last_ns
        usual_ns = median(self._intervals_ns) if len(self._intervals_ns) >= _FEWEST else interval_ns
        if interval_ns > max(_MANY_TIMES * usual_ns, _PAUSE_NS):
            # at twice its pace and more it has caught up after as long as it has paused
            self._behind_since_ns, self._behind_until_ns = last_ns, arrived_ns + interval_ns
        elif self._behind_since_ns is not None and 2 * interval_ns < usual_ns and arrived_ns < self._behind_until_ns:
            return  # held up: no interval of its own
        else:
            self._behind_since_ns = None
        self._intervals_ns.append(interval_ns)
