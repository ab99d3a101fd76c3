"""MVTec 3D-AD: each photograph has the points that a scanner measured, pixel by pixel."""

from collections.abc import Iterator
from pathlib import Path

from training.layouts.listing import DataError, Listed, pictures, refuse
from training.layouts.mvtec import Mvtec


class Mvtec3d(Mvtec):
    """MVTec 3D-AD: <split>/<class>/rgb/<stem>.png with its place in xyz/<stem>.tiff, and gt/<stem>.png in test."""

    __slots__ = ()
    name = "MVTec 3D-AD"
    held_out_in = "validation/good/rgb, with their xyz in validation/good/xyz"

    def test_files(self) -> list[Path]:
        return [path for folder in sorted((self.root / "test").glob("*/rgb")) for path in pictures(folder)]

    def _place(self, folder: Path) -> Path:
        return folder / "rgb"

    def _good(self, split: str) -> list[Listed]:
        return list(self._with_depth(self.root / split / "good"))

    def _listed(self, folder: Path) -> Iterator[Listed]:
        return self._with_depth(folder)

    def _with_depth(self, folder: Path) -> Iterator[Listed]:
        """The pictures of one class; DataError names those without their xyz."""
        found = pictures(folder / "rgb")
        if folder.is_dir() and not found:
            raise DataError(f"{folder / 'rgb'}: no photographs in this class; fill the folder or remove it")
        depth = {path: folder / "xyz" / f"{path.stem}.tiff" for path in found}
        refuse([f"{path}: expected its depth in {xyz}, found none" for path, xyz in depth.items() if not xyz.is_file()])
        for path, xyz in depth.items():
            mask = folder / "gt" / f"{path.stem}.png"
            good = folder.name == "good"
            yield Listed(path, None if good else folder.name, mask if mask.is_file() and not good else None, xyz)
