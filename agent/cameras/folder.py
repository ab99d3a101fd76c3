"""A folder of photographs and videos as a camera: one file or frame per trigger, in name order; for demo, tests and replay.

With `depth`, each photograph has the file of its depth there, under its own name but `.tiff` (MVTec 3D-AD: `rgb` and `xyz`).
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from agent.cameras import CameraLostError
from agent.cameras._video import VIDEO_SUFFIXES, frames
from agent.inspection import Fault
from agent.preprocess import IMAGE_SUFFIXES, Pixels, PixelsWithDepth, RefusedImageError, read_depth, read_image


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """path: a folder, searched with its sub-folders, or one file. repeat: start again after the last, else later triggers are
    faults.

    depth: the folder of their depth; videos have none.
    """

    path: str
    repeat: bool = True
    depth: str | None = None

    @contextmanager
    def open(self) -> Iterator["FolderCamera"]:
        shots = self._shots(self._files())
        try:
            yield FolderCamera(shots)
        finally:
            with suppress(ValueError):  # a thread still waits for a disk that hangs
                shots.close()

    def _files(self) -> list[Path]:
        """In the order in which they are shown. Raises CameraLostError where there can be no photograph."""
        path, known = Path(self.path), IMAGE_SUFFIXES | VIDEO_SUFFIXES
        files = [path] if path.is_file() else sorted(path.rglob("*"))
        files = [file for file in files if file.suffix.lower() in known]
        if not files:
            state = "has no images" if path.is_dir() else "is no image" if path.exists() else "is not a folder"
            raise CameraLostError(f"{path} {state}, expected files such as *.png, *.jpg, *.tif or videos such as *.mp4, *.avi")
        if self.depth is None:
            return files
        if path.is_file() or not Path(self.depth).is_dir() or path in (Path(self.depth), *Path(self.depth).parents):
            raise CameraLostError(f"{self.depth} is not a folder beside {path}, expected there the depth of its photographs")
        if videos := [file for file in files if file.suffix.lower() in VIDEO_SUFFIXES]:
            raise CameraLostError(f"{videos[0]} is a video and has no depth: take it out of {path}, or leave out `depth`")
        return files

    def _shots(self, files: list[Path]) -> Generator[Pixels | PixelsWithDepth | Fault, None, None]:
        shown = 0
        while not shown or self.repeat:
            for file in files:
                for shot in frames(file) if file.suffix.lower() in VIDEO_SUFFIXES else [self._photograph(file)]:
                    shown += 1
                    yield shot
        while True:
            yield Fault(f"no photograph left: all {shown} have been shown")

    def _photograph(self, file: Path) -> Pixels | PixelsWithDepth | Fault:
        try:
            image = read_image(file)
            if self.depth is None:
                image.flags.writeable = False
                return image
            depth = read_depth((Path(self.depth) / file.relative_to(self.path)).with_suffix(".tiff"))
        except RefusedImageError as e:
            return Fault(str(e))
        image.flags.writeable = depth.flags.writeable = False
        return PixelsWithDepth(image, depth)


class FolderCamera:
    """Files in order, each shot read when it is asked for."""

    def __init__(self, shots: Iterator[Pixels | PixelsWithDepth | Fault]) -> None:
        self._shots = shots

    @property
    def trouble(self) -> str:
        """Each file speaks for itself."""
        return ""

    @property
    def is_there(self) -> bool:
        return True

    def expect(self, triggered_ns: int) -> None:
        """Files wait."""

    def shoot(self, triggered_ns: int) -> Pixels | PixelsWithDepth | Fault:
        shot = next(self._shots)
        if isinstance(shot, Fault):
            return Fault(shot.reason.encode(errors="replace").decode())  # a file's name need not be Unicode, a message must
        return shot
