"""What the sections of cameras have whose frames come from a program of their own (agent/cameras/_pipe.py)."""

from typing import Annotated

from msgspec import Meta

from agent.cameras._live import LiveCamera
from agent.cameras._live_config import LiveConfig
from agent.cameras._pipe import Program, open_pipe


class PipedConfig(LiveConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """width, height: of the frames in px. stall_ms: longest time without one."""

    width: Annotated[int, Meta(ge=1, le=65_535)]
    height: Annotated[int, Meta(ge=1, le=65_535)]
    stall_ms: Annotated[float, Meta(ge=50, le=60_000)] = 2000.0

    def open(self) -> LiveCamera:
        return LiveCamera(self.name, lambda: open_pipe(self.program()), self)

    @property
    def name(self) -> str:
        """For messages."""
        raise NotImplementedError

    def program(self) -> Program:
        """As it is to be started now. Raises CameraLostError."""
        raise NotImplementedError
