"""Any program that writes frames to its standard output: GStreamer, ffmpeg, libcamera, a vendor's tool.

Its crashes and leaks stay its own: it is ended and started again. One that decodes video should write neither what its decoder
makes up for lost pictures (`avdec_h264 output-corrupt=false`) nor what has queued up (`queue leaky=downstream`). For a Jetson's
CSI camera, for instance:
`command: [gst-launch-1.0, -q, nvarguscamerasrc, "!", nvvidconv, "!", "video/x-raw,format=GRAY8", "!", fdsink]`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

import msgspec

from agent.cameras._live import LiveCamera
from agent.cameras._live_config import LiveConfig
from agent.cameras._pipe import open_pipe


class Config(LiveConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """command: program and arguments. layout: of the pixels (`rgb8` and so on), rows without padding; `pnm` for PGM and PPM
    images one after the other, which carry their size. width, height: of the frames in px. stall_ms: longest time without one.
    """

    command: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    width: Annotated[int, msgspec.Meta(ge=1, le=65_535)]
    height: Annotated[int, msgspec.Meta(ge=1, le=65_535)]
    layout: Literal["rgb8", "bgr8", "mono8", "mono16", "bayer_rg8", "bayer_gr8", "bayer_gb8", "bayer_bg8", "pnm"] = "rgb8"
    stall_ms: Annotated[float, msgspec.Meta(ge=50, le=60_000)] = 2000.0

    @contextmanager
    def open(self) -> Iterator[LiveCamera]:
        size = (self.width, self.height)
        with LiveCamera(self.command[0], lambda: open_pipe(self.command, self.layout, size, self.stall_ms / 1e3), self) as camera:
            yield camera
