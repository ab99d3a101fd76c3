"""PURE  Which pictures of a video stream are whole: most are told as differences from the one before, and a decoder that has lost
one goes on from what it has, without a word: for seconds it shows the part before, or a mixture."""

from collections import deque
from statistics import median

KEY = "I"  # a picture that needs no other
_USUAL_OF = 16  # intervals
_FEWEST = 4
_MISSING = 1.75  # usual intervals
_REORDERED = 3  # pictures that a decoder may give behind the one that it complained of


class Intact:
    """Of one stream, picture by picture."""

    def __init__(self) -> None:
        self._stamped_ms: float | None = None
        self._intervals_ms: deque[float] = deque(maxlen=_USUAL_OF)
        self._suspect = 0
        self._is_broken = False

    def of(self, stamped_ms: float, kind: str, complained: bool) -> bool:
        """Whether the next one is whole. stamped_ms: in the stream's time, always 0 where it has none. kind: `I`, `P`, `B`, or
        another letter where nobody knows. complained: the decoder did, since the picture before."""
        self._suspect = _REORDERED if complained else max(0, self._suspect - 1)
        if complained or self._one_is_missing(stamped_ms):
            self._is_broken = True
        if kind not in ("P", "B") and not self._suspect:
            self._is_broken = False
        return not self._is_broken

    def _one_is_missing(self, stamped_ms: float) -> bool:
        before_ms, self._stamped_ms = self._stamped_ms, stamped_ms
        if before_ms is None or (step_ms := stamped_ms - before_ms) <= 0:
            return False
        usual_ms = median(self._intervals_ms) if len(self._intervals_ms) >= _FEWEST else step_ms
        self._intervals_ms.append(step_ms)
        return step_ms > _MISSING * usual_ms
