"""PURE  Which frame belongs to which trigger, and when nobody can know.

A frame may be a trigger's that arrives between delay_ms and timeout_ms after it. A cabled camera exposes unasked: a frame of its
that may be of two triggers is of none, and what was given before the second one was heard of is called back.
"""

from collections import deque
from dataclasses import dataclass

from agent.cameras._source import Exposes, Frame, since

_KEPT = 8  # frames that no trigger has asked for yet; the oldest go first


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a frame may be another part's."""

    why: str


@dataclass(frozen=True, slots=True)
class _Given:
    """The frame that was given last. newest_ns: instant of the last trigger that it may be of."""

    triggered_ns: int
    arrived_ns: int
    newest_ns: int


class Matching:
    """Of one camera. Instants are CLOCK_MONOTONIC. unasked: frames so far that were of no trigger."""

    def __init__(self, exposes: Exposes, delay_ms: float, timeout_ms: float) -> None:
        self._is_cabled = exposes is Exposes.CABLED
        self._delay_ns, self._timeout_ns = round(delay_ms * 1e6), round(timeout_ms * 1e6)
        self._frames: deque[Frame] = deque()
        self._without_frame: deque[int] = deque(maxlen=2 * _KEPT)  # the newest triggers that have none, and may still get one
        self._given: _Given | None = None
        self._opened_ns = 0
        self.unasked = 0

    def opened(self, now_ns: int) -> None:
        """The camera has been opened, perhaps anew: frames of before are nobody's."""
        self.clear()
        self._without_frame.clear()
        self._opened_ns = now_ns

    def clear(self) -> None:
        self._frames.clear()

    def came(self, frame: Frame) -> None:
        if len(self._frames) == _KEPT:
            self._frames.popleft()
            self.unasked += 1
        self._frames.append(frame)

    def heard(self, triggered_ns: int) -> int | None:
        """A trigger was heard of. Gives the one whose frame, given already, may be this one's: it may not be judged by it."""
        if triggered_ns > self._opened_ns:
            self._without_frame.append(triggered_ns)
        given = self._given
        if not self._is_cabled or given is None or triggered_ns > given.newest_ns:
            return None
        self._given = None
        return given.triggered_ns

    def is_still_taking(self, triggered_ns: int) -> bool:
        """Whether the frame that was given last had not arrived yet at that trigger."""
        return self._given is not None and triggered_ns < self._given.arrived_ns

    def came_before_opening(self, triggered_ns: int) -> bool:
        """Whether a cabled camera may still have been closed at that trigger: the frames that come now are of later ones."""
        return self._is_cabled and triggered_ns + min(0, self._delay_ns) < self._opened_ns

    def until_ns(self, triggered_ns: int) -> int:
        """When the trigger's frame must be there."""
        return triggered_ns + self._timeout_ns

    def take(self, triggered_ns: int) -> Frame | Doubt | None:
        """The first frame, not given to another trigger, that may be this one's; None where there is none yet."""
        first_ns = triggered_ns + self._delay_ns
        passed_over_ns = self._pass_over(first_ns)
        if self._is_cabled and first_ns - passed_over_ns <= self._timeout_ns:
            early = f"a frame came {(first_ns - passed_over_ns) / 1e6:.0f} ms too early to be that of the part behind it"
            return Doubt(f"{early}: the camera exposed without a part, or its triggers are late and delay_ms must be lower")
        if not self._frames or self._frames[0].arrived_ns > self.until_ns(triggered_ns):
            return None
        frame = self._frames.popleft()
        if triggered_ns in self._without_frame:
            self._without_frame.remove(triggered_ns)
        oldest_ns, newest_ns = frame.arrived_ns - self._timeout_ns, frame.arrived_ns - self._delay_ns
        if self._is_cabled and any(oldest_ns <= other <= newest_ns for other in self._without_frame):
            return Doubt(self.two_parts)
        self._given = _Given(triggered_ns, frame.arrived_ns, newest_ns)
        return since(first_ns, frame)

    @property
    def two_parts(self) -> str:
        """Of two parts that were triggered before a frame came, one has lost its own; which, nobody knows."""
        remedy = f"timeout_ms {self._timeout_ns / 1e6:g} must be shorter than the time between two parts"
        return f"the frame of one part may be taken for another's: {remedy}, or delay_ms nearer to what a frame takes"

    def _pass_over(self, first_ns: int) -> int:
        """Drops what came before; when the last of it had come, long ago where there was none."""
        last_ns = -(1 << 62)
        while self._frames and self._frames[0].arrived_ns < first_ns:
            last_ns = self._frames.popleft().arrived_ns
            self.unasked += 1
        return last_ns
