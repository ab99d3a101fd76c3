"""MVTec LOCO: regions that are judged one by one, each with the area that counts as all of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from agent.preprocess import RefusedImageError, read_image
from training.layouts.listing import DataError, Listed, Region, pictures
from training.layouts.mvtec import Mvtec

_CONFIG = "defects_config.json"


class Loco(Mvtec):
    """MVTec LOCO: as MVTec AD, and ground_truth/<class>/<stem>/000.png ..., whose pixel values defects_config.json explains."""

    __slots__ = ()
    name = "MVTec LOCO"

    def _listed(self, folder: Path) -> Iterator[Listed]:
        defects = {} if folder.name == "good" else _defects(self.root / _CONFIG)
        for path in pictures(folder):
            if folder.name == "good":
                yield Listed(path)
            else:
                drawn = pictures(self.root / "ground_truth" / folder.name / path.stem)
                yield Listed(path, folder.name, regions=tuple(r for p in drawn for r in _regions(p, defects)))


def is_loco(root: Path) -> bool:
    """Whether defects are drawn in a folder for each picture; merged masks in files are MVTec AD's way, whatever the parts."""
    return any(p.is_dir() and pictures(p) for p in root.glob("ground_truth/*/*"))


class _Defect(msgspec.Struct, frozen=True):
    """One entry of defects_config.json."""

    defect_name: str
    pixel_value: Annotated[int, msgspec.Meta(ge=1, le=255)]
    saturation_threshold: Annotated[float, msgspec.Meta(gt=0)]
    relative_saturation: bool

    def __post_init__(self) -> None:
        if self.relative_saturation and self.saturation_threshold > 1:
            found = f"relative saturation_threshold {self.saturation_threshold:g} of {self.defect_name}"
            raise ValueError(f"{found}: expected at most 1, which is the whole region")


def _defects(file: Path) -> dict[int, _Defect]:
    """By pixel value."""
    try:
        defects = msgspec.json.decode(file.read_bytes(), type=list[_Defect])
    except OSError as e:
        raise DataError(f"{file}: cannot be read ({e.strerror}); MVTec LOCO's regions need it, copy it from the data set") from e
    except msgspec.DecodeError as e:
        raise DataError(f"{file}: {e}; expected MVTec LOCO's list of defects") from e
    return {defect.pixel_value: defect for defect in defects}


def _regions(path: Path, defects: dict[int, _Defect]) -> Iterator[Region]:
    """One for each value in the picture. Raises DataError for a value that nobody has explained."""
    try:
        values = [int(v) for v in np.unique(read_image(path)[..., 0]) if v]
    except RefusedImageError as e:
        raise DataError(str(e)) from e
    for value in values:
        if value not in defects:
            known = ", ".join(map(str, sorted(defects)))
            raise DataError(f"{path}: pixel value {value}, {_CONFIG} knows {known}; is it of another category?")
        defect = defects[value]
        yield Region(path, value, defect.defect_name, defect.saturation_threshold, defect.relative_saturation)
