"""A network camera by RTSP, decoded in a process of its own (agent/cameras/_grab.py).

Such a camera exposes when it likes and its pictures come late: `delay_ms` is how late, so that a trigger gets the picture of its
own instant. Pictures that are late, and those behind a lost one until the next key picture, are left out: let the camera send a
key picture a second, or MJPEG. Parts that move want a camera with a trigger.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, urlsplit

from msgspec import Meta

from agent.cameras import CameraLostError
from agent.cameras._live import LiveCamera
from agent.cameras._live_config import LiveConfig
from agent.cameras._pipe import Pipe, open_pipe

_OPENS_WITHIN_S = 8.0  # FFmpeg's own limit is 5 s


class Config(LiveConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """url: without user and password; these have fields of their own, since the configuration is logged. password_file: a file
    with nothing else in it. width, height: of the stream in px. transport: `udp` where the camera speaks no TCP.
    stall_ms: longest time without a frame.
    """

    url: Annotated[str, Meta(pattern=r"^rtsps?://[^@\s]+$", max_length=500)]
    width: Annotated[int, Meta(ge=1, le=65_535)]
    height: Annotated[int, Meta(ge=1, le=65_535)]
    user: str | None = None
    password_file: str | None = None
    transport: Annotated[str, Meta(pattern="^(tcp|udp)$")] = "tcp"
    stall_ms: Annotated[float, Meta(ge=50, le=60_000)] = 2000.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file belong together: give both or none")

    @contextmanager
    def open(self) -> Iterator[LiveCamera]:
        with LiveCamera(self.url, self.opened, self) as camera:
            yield camera

    @contextmanager
    def opened(self) -> Iterator[Pipe]:
        """The stream itself, once. Raises CameraLostError."""
        command = (sys.executable, "-m", "agent.cameras._grab", "rtsp", self.url)
        size, stall_s = (self.width, self.height), self.stall_ms / 1e3
        with open_pipe(command, "pnm", size, stall_s, _OPENS_WITHIN_S, _environment(self), self.url) as pipe:
            yield pipe


def _environment(config: Config) -> dict[str, str]:
    """Of the process, with the password: a command line can be read by everybody. Raises CameraLostError without its file."""
    url = config.url
    if config.user is not None and config.password_file is not None:
        try:
            password = Path(config.password_file).read_text().strip()
        except OSError as e:
            raise CameraLostError(f"{config.password_file}: {e.strerror}: expected the password of {config.user}") from e
        parts = urlsplit(url)
        url = parts._replace(netloc=f"{quote(config.user, safe='')}:{quote(password, safe='')}@{parts.netloc}").geturl()
    options = f"rtsp_transport;{config.transport}|fflags;nobuffer|flags;low_delay|analyzeduration;500000"
    return {**os.environ, "KENSA_URL": url, "OPENCV_FFMPEG_CAPTURE_OPTIONS": options}
