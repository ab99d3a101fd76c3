"""What a driver of a real camera gives: a source of frames, each of them with what tells it from the one before."""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Protocol

from numpy.typing import NDArray

from agent.inspection import Fault


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What a source gave.

    image: as the sensor gives it, in `layout` (agent/cameras/_pixels.py), or the Fault of a torn one. arrived_ns: on
    CLOCK_MONOTONIC; earliest_ns: since when it may have been there (agent/cameras/_arrival.py), None where nobody has looked
    after that. stamps: the camera's own count and time, which never repeat; 0 or none where it has none.
    """

    image: NDArray[Any] | Fault
    layout: str
    arrived_ns: int
    stamps: tuple[int, ...] = ()
    earliest_ns: int | None = None


class Exposes(Enum):
    """When a camera does: TOLD by `fire`, CABLED by a signal on its own input, FREE all the time."""

    TOLD = "told"
    CABLED = "cabled"
    FREE = "free"


class Source(Protocol):
    """An opened device; used by one thread. Everything raises CameraLostError once it is gone."""

    def fire(self) -> None:
        """Exposes now; called for each trigger of a camera that is to be TOLD."""
        ...

    def next_frame(self, timeout_s: float) -> Frame | None:
        """The next one; None when none came in time."""
        ...

    def look(self) -> None:
        """Whether it is still there, asked while nothing is expected of it."""
        ...


def fresh(frame: Frame, before: tuple[int, ...]) -> Frame:
    """The frame, or a Fault in the place of one that the camera has sent before."""
    if any(stamp != 0 and stamp == old for stamp, old in zip(frame.stamps, before, strict=False)):
        return replace(frame, image=Fault(f"stale frame: the camera's count and time stand at {frame.stamps}"))
    return frame


def missing(frame: Frame, before: tuple[int, ...]) -> int:
    """How many frames the camera has counted since the one with the stamps `before`, and nobody has got.

    >>> missing(Frame(Fault(""), "rgb8", 0, stamps=(7, 5000)), before=(4, 2000))
    2
    """
    if not before or not frame.stamps or 0 in (before[0], frame.stamps[0]):
        return 0
    return max(0, frame.stamps[0] - before[0] - 1)  # a count of 16 bits begins anew


def since(trigger_ns: int, frame: Frame) -> Frame:
    """The frame, or a Fault in the place of one that may be from before the trigger."""
    if frame.earliest_ns is not None and frame.earliest_ns < trigger_ns:
        return replace(frame, image=Fault("its frame came after a pause, and may be from before the trigger"))
    return frame
