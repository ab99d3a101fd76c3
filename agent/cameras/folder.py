"""A folder of photographs as a camera: one file per trigger, in name order; for demo, tests and replay."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from agent.cameras import CameraLostError
from agent.inspection import Fault
from agent.preprocess import IMAGE_SUFFIXES, Pixels, RefusedImageError, read_image


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """path: a folder, searched with its sub-folders. repeat: start again after the last file, else later triggers are faults."""

    path: str
    repeat: bool = True

    @contextmanager
    def open(self) -> Iterator["FolderCamera"]:
        folder = Path(self.path)
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            state = "has no images" if folder.is_dir() else "is not a folder"
            raise CameraLostError(f"{folder} {state}, expected files such as *{', *'.join(sorted(IMAGE_SUFFIXES)[:3])}")
        yield FolderCamera(files, self.repeat)


class FolderCamera:
    """Files in order, each shot read when it is asked for."""

    def __init__(self, files: list[Path], repeat: bool) -> None:
        self._files = files
        self._repeat = repeat
        self._next = 0

    def shoot(self, triggered_ns: int) -> Pixels | Fault:
        if self._next >= len(self._files) and not self._repeat:
            return Fault(f"no photograph left: all {len(self._files)} have been shown")
        file = self._files[self._next % len(self._files)]
        self._next += 1
        try:
            image = read_image(file)
        except RefusedImageError as e:
            return Fault(str(e).encode(errors="replace").decode())  # a file's name need not be Unicode, a message must
        image.flags.writeable = False
        return image
