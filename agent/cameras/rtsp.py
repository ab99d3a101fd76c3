"""A network camera by RTSP, decoded in a process of its own (agent/cameras/_grab.py).

Such a camera exposes when it likes and its pictures come late: `delay_ms` is how late, so that a trigger gets the picture of its
own instant. Pictures that are late, and those behind a lost one until the next key picture, are left out: let the camera send a
key picture a second, or MJPEG. Parts that move want a camera with a trigger.
"""

import os
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, urlsplit

from msgspec import Meta

from agent.cameras import CameraLostError
from agent.cameras._pipe import Program
from agent.cameras._piped import PipedConfig

_OPENS_WITHIN_S = 8.0  # FFmpeg's own limit is 5 s


class Config(PipedConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """url: without user and password; these have fields of their own, since the configuration is logged. password_file: a file
    with nothing else in it. transport: `udp` where the camera speaks no TCP.
    """

    url: Annotated[str, Meta(pattern=r"^rtsps?://[^@\s\x00]+$", max_length=500)]
    user: str | None = None
    password_file: str | None = None
    transport: Annotated[str, Meta(pattern="^(tcp|udp)$")] = "tcp"

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file belong together: give both or none")

    @property
    def name(self) -> str:
        return self.url

    def program(self) -> Program:
        command = (sys.executable, "-m", "agent.cameras._grab", "rtsp", self.url)
        size, stall_s = (self.width, self.height), self.stall_ms / 1e3
        return Program(self.name, command, size, stall_s, _OPENS_WITHIN_S, environment=_environment(self))


def _environment(config: Config) -> dict[str, str]:
    """Of the process, with the password: a command line can be read by everybody. Raises CameraLostError without its file."""
    url = config.url
    if config.user is not None and config.password_file is not None:
        try:
            password = Path(config.password_file).read_text("utf-8-sig").strip()
        except OSError as e:
            raise CameraLostError(f"{config.password_file}: {e.strerror}: expected the password of {config.user}") from e
        except ValueError as e:  # not told, it quotes from the password
            raise CameraLostError(f"{config.password_file}: is no text in UTF-8, expected the password of {config.user}") from e
        parts = urlsplit(url)
        url = parts._replace(netloc=f"{quote(config.user, safe='')}:{quote(password, safe='')}@{parts.netloc}").geturl()
    options = f"rtsp_transport;{config.transport}|fflags;nobuffer|flags;low_delay|analyzeduration;500000"
    return {**os.environ, "KENSA_URL": url, "OPENCV_FFMPEG_CAPTURE_OPTIONS": options}
