"""A folder of photographs as a camera: one file per trigger, in name order; for demo, tests and replay.

With `depth`, each photograph has the file of its depth there, under its own name but `.tiff` (MVTec 3D-AD: `rgb` and `xyz`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from agent.cameras import CameraLostError
from agent.inspection import Fault
from agent.preprocess import IMAGE_SUFFIXES, Pixels, PixelsWithDepth, RefusedImageError, read_depth, read_image


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """path: a folder, searched with its sub-folders. repeat: start again after the last file, else later triggers are faults.

    depth: the folder of their depth.
    """

    path: str
    repeat: bool = True
    depth: str | None = None

    @contextmanager
    def open(self) -> Iterator["FolderCamera"]:
        folder = Path(self.path)
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            state = "has no images" if folder.is_dir() else "is not a folder"
            raise CameraLostError(f"{folder} {state}, expected files such as *{', *'.join(sorted(IMAGE_SUFFIXES)[:3])}")
        if self.depth is not None and (not Path(self.depth).is_dir() or folder in (Path(self.depth), *Path(self.depth).parents)):
            raise CameraLostError(f"{self.depth} is not a folder beside {folder}, expected there the depth of its photographs")
        yield FolderCamera(folder, files, self.repeat, Path(self.depth) if self.depth is not None else None)


class FolderCamera:
    """Files in order, each shot read when it is asked for."""

    def __init__(self, folder: Path, files: list[Path], repeat: bool, depth: Path | None) -> None:
        self._folder = folder
        self._files = files
        self._repeat = repeat
        self._depth = depth
        self._next = 0

    @property
    def trouble(self) -> str:
        """Each file speaks for itself."""
        return ""

    def shoot(self, triggered_ns: int) -> Pixels | PixelsWithDepth | Fault:
        if self._next >= len(self._files) and not self._repeat:
            return Fault(f"no photograph left: all {len(self._files)} have been shown")
        file = self._files[self._next % len(self._files)]
        self._next += 1
        try:
            image = read_image(file)
            depth = (
                None if self._depth is None else read_depth((self._depth / file.relative_to(self._folder)).with_suffix(".tiff"))
            )
        except RefusedImageError as e:
            return Fault(str(e).encode(errors="replace").decode())  # a file's name need not be Unicode, a message must
        image.flags.writeable = False
        if depth is None:
            return image
        depth.flags.writeable = False
        return PixelsWithDepth(image, depth)
