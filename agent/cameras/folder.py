"""A folder of photographs as a camera: one file per trigger, in name order; for demo, tests and replay."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from agent.cameras import CameraLostError
from agent.inspection import Fault, Image
from agent.preprocess import IMAGE_SUFFIXES, RefusedImageError, read_image, to_8_bit


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """path: a folder, searched with its sub-folders. repeat: start again after the last file, else later triggers are faults.

    white_level: the value of 16-bit files that becomes 255.
    """

    path: str
    repeat: bool = True
    white_level: int = 65535

    @contextmanager
    def open(self) -> Iterator["FolderCamera"]:
        folder = Path(self.path)
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            state = "has no images" if folder.is_dir() else "is not a folder"
            raise CameraLostError(f"{folder} {state}, expected files such as *{', *'.join(sorted(IMAGE_SUFFIXES)[:3])}")
        yield FolderCamera(files, self.repeat, self.white_level)


class FolderCamera:
    """Files in order, each shot read when it is asked for."""

    def __init__(self, files: list[Path], repeat: bool, white_level: int) -> None:
        self._files = files
        self._repeat = repeat
        self._white_level = white_level
        self._next = 0

    def shoot(self, triggered_ns: int) -> Image | Fault:
        if self._next >= len(self._files) and not self._repeat:
            return Fault(f"no photograph left: all {len(self._files)} have been shown")
        file = self._files[self._next % len(self._files)]
        self._next += 1
        try:
            image = to_8_bit(read_image(file), self._white_level)
        except RefusedImageError as e:
            return Fault(str(e))
        image.flags.writeable = False
        return image
