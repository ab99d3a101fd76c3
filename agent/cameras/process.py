"""Any program that writes frames to its standard output: GStreamer, ffmpeg, libcamera, a vendor's tool.

Its crashes and leaks stay its own: it is ended and started again. One that decodes video should write neither what its decoder
makes up for lost pictures (`avdec_h264 output-corrupt=false`) nor what has queued up (`queue leaky=downstream`).

Nothing but frames may come that way: a word that a library prints between pixels without a header shifts all pictures from then
on. `pnm` would notice. Where the program can write elsewhere, give it a descriptor of its own; what is printed is told when it
ends. For a Jetson's CSI camera, whose driver prints:
`command: [sh, -c, "exec gst-launch-1.0 -q nvarguscamerasrc ! nvvidconv ! video/x-raw,format=GRAY8 ! fdsink fd=3 3>&1 1>&2"]`
with `layout: mono8`.
"""

from typing import Annotated, Literal

import msgspec

from agent.cameras._pipe import Program
from agent.cameras._piped import PipedConfig

_Word = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*$")]


class Config(PipedConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """command: program and arguments. layout: of the pixels (`rgb8` and so on), rows without padding; `pnm` for PGM and PPM
    images one after the other, which carry their size.
    """

    command: Annotated[tuple[_Word, ...], msgspec.Meta(min_length=1)]
    layout: Literal["rgb8", "bgr8", "mono8", "mono16", "bayer_rg8", "bayer_gr8", "bayer_gb8", "bayer_bg8", "pnm"] = "rgb8"

    @property
    def name(self) -> str:
        return self.command[0]

    def program(self) -> Program:
        return Program(self.name, self.command, (self.width, self.height), self.stall_ms / 1e3, layout=self.layout)
