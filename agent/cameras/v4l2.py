"""A USB or CSI camera that Linux knows as a video device, read in a process of its own (agent/cameras/_grab.py).

It is named by its serial number or its socket (`ls /dev/v4l/by-id /dev/v4l/by-path`): `/dev/video0` may be another one tomorrow.
"""

import sys
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from agent.cameras import CameraLostError
from agent.cameras._pipe import Program
from agent.cameras._piped import PipedConfig

_OPENS_WITHIN_S = 5.0


class Config(PipedConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """path: a link below /dev/v4l, by id or by path. fourcc: of the format, such as MJPG or YUYV; None leaves the device's."""

    path: Annotated[str, Meta(pattern=r"^[^\x00]+$")]
    fourcc: Annotated[str, Meta(pattern="^[A-Z0-9]{4}$")] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if Path(self.path).name.startswith("video"):
            raise ValueError(
                f"{self.path} may be another camera after the next start: give its link below /dev/v4l/by-id or /dev/v4l/by-path"
            )

    @property
    def name(self) -> str:
        return self.path

    def program(self) -> Program:
        """The link is followed anew at each opening: behind it is another number after the camera was plugged in again."""
        device = Path(self.path).resolve()
        if not device.exists():
            raise CameraLostError(f"{self.path} is not there: is it plugged in?")
        words = ("v4l2", str(device), str(self.width), str(self.height), self.fourcc or "")
        command = (sys.executable, "-m", "agent.cameras._grab", *words)
        return Program(self.name, command, (self.width, self.height), self.stall_ms / 1e3, _OPENS_WITHIN_S)
