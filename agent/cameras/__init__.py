"""Cameras. One driver per file; `type: acme` in the configuration is `acme.py` here, with a frozen `Config` that opens it.

The contract: `Config.open()` is a context manager that yields a Camera, complete at birth; it raises CameraLostError when
there is nothing to open. The loop calls `shoot` once per trigger, from one thread, in the order of the triggers.
Vendor SDKs are imported inside `open()`.
"""

from contextlib import AbstractContextManager
from typing import Protocol

from agent.inspection import Fault
from agent.preprocess import Pixels, PixelsWithDepth


class CameraLostError(Exception):
    """The camera is not there; the message says which, and how it was looked for."""


class Camera(Protocol):
    """An opened camera."""

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
