"""Cameras. One driver per file; `type: acme` in the configuration is `acme.py` here, with a frozen `Config` that opens it.

The contract: `Config.open()` is a context manager that yields a Camera, complete at birth; it raises CameraLostError where
there can never be one. A device that is not there yet, or no longer, is looked for for ever (agent/cameras/_live.py), and its
parts are faults meanwhile. `shoot` is called once per trigger, from one thread, in the order of the triggers, and as soon as the
part is triggered or the photograph before it is taken; `expect` at the trigger, from another thread, whatever is awaited then.
Vendor SDKs are imported inside `open()`.
"""

import time
from contextlib import AbstractContextManager
from typing import Protocol

from agent.error import OutageError
from agent.inspection import Fault
from agent.preprocess import Pixels, PixelsWithDepth

NOT_YET = "it has not answered yet, or sends nothing"
_LONGEST_OPENING_S = 12.0  # drivers give up after 10 s, and a program takes a moment to start
_LOOK_EVERY_S = 0.05


class CameraLostError(OutageError):
    """The camera is not there; the message says which, and how it was looked for."""


class Camera(Protocol):
    """An opened camera."""

    @property
    def trouble(self) -> str:
        """What is wrong with it now, for people; empty when nothing is."""
        ...

    @property
    def is_there(self) -> bool:
        """False while each part is a fault, whatever it looks like; `trouble` says why. It comes back without a part."""
        ...

    def expect(self, triggered_ns: int) -> int | None:
        """A part has been triggered, and `shoot` will be called for it, unless too much is owed already. Waits for nothing.

        Gives the trigger whose image, given already, may be this part's instead: its part may not pass by it. None usually.
        """
        ...

    def shoot(self, triggered_ns: int) -> Pixels | PixelsWithDepth | Fault:
        """The image that belongs to the trigger at triggered_ns (CLOCK_MONOTONIC): (H, W, 3) RGB, 8 or 16 bit as it came; with
        the depth of its pixels from a camera that measures it.

        What becomes white in 8 bit is the bundle's business, not the camera's.

        A frame that is missing, torn or in the wrong format is a Fault with the reason, never an exception.
        """
        ...


class CameraConfig(Protocol):
    """The section of one camera."""

    def open(self) -> AbstractContextManager[Camera]: ...


def trouble_of(config: CameraConfig, within_s: float, known_within_s: float = _LONGEST_OPENING_S) -> str:
    """What is wrong with a camera that has had so long to be found; empty when nothing is. Raises CameraLostError.

    known_within_s: the same for one of which nothing is known by then, not even why it does not answer.
    """
    with config.open() as opened:
        began_s = time.monotonic()
        while trouble := opened.trouble:
            if time.monotonic() - began_s > (known_within_s if NOT_YET in trouble else within_s):
                break
            time.sleep(_LOOK_EVERY_S)
        return trouble
