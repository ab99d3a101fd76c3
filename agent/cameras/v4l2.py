"""A USB or CSI camera that Linux knows as a video device, read in a process of its own (agent/cameras/_grab.py).

It is named by its serial number or its socket (`ls /dev/v4l/by-id /dev/v4l/by-path`): `/dev/video0` may be another one tomorrow.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from agent.cameras import CameraLostError
from agent.cameras._live import LiveCamera
from agent.cameras._live_config import LiveConfig
from agent.cameras._pipe import Pipe, open_pipe

_OPENS_WITHIN_S = 5.0


class Config(LiveConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """path: a link below /dev/v4l, by id or by path. width, height: in px. fourcc: of the format, such as MJPG or YUYV; None
    leaves the device's. stall_ms: longest time without a frame.
    """

    path: Annotated[str, Meta(min_length=1)]
    width: Annotated[int, Meta(ge=1, le=65_535)]
    height: Annotated[int, Meta(ge=1, le=65_535)]
    fourcc: Annotated[str, Meta(pattern="^[A-Z0-9]{4}$")] | None = None
    stall_ms: Annotated[float, Meta(ge=50, le=60_000)] = 2000.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if Path(self.path).name.startswith("video"):
            raise ValueError(
                f"{self.path} may be another camera after the next start: give its link below /dev/v4l/by-id or /dev/v4l/by-path"
            )

    @contextmanager
    def open(self) -> Iterator[LiveCamera]:
        with LiveCamera(self.path, self._grabbing, self) as camera:
            yield camera

    @contextmanager
    def _grabbing(self) -> Iterator[Pipe]:
        """The link is followed anew at each opening: behind it is another number after the camera was plugged in again."""
        device = Path(self.path).resolve()
        if not device.exists():
            raise CameraLostError(f"{self.path} is not there: is it plugged in?")
        words = ("v4l2", str(device), str(self.width), str(self.height), self.fourcc or "")
        command = (sys.executable, "-m", "agent.cameras._grab", *words)
        size, stall_s = (self.width, self.height), self.stall_ms / 1e3
        with open_pipe(command, "pnm", size, stall_s, _OPENS_WITHIN_S, dict(os.environ), self.path) as pipe:
            yield pipe
