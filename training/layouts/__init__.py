"""Which layout a data set has; each module knows one, and where it keeps good parts, test parts and drawn defects."""

from pathlib import Path

from training.layouts.listing import EXPECTED, DataError, folders_with_pictures, pictures
from training.layouts.loco import Loco, is_loco
from training.layouts.mvtec import Mvtec, Plain
from training.layouts.mvtec3d import Mvtec3d
from training.layouts.visa import Visa

_SPLITS = ("train", "validation", "test")

Layout = Mvtec | Visa


def layout_of(root: Path) -> Layout:
    """The layout of the data set in `root`, known by its folders. Raises DataError."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder, expected photographs of good parts")
    if (root / "Data" / "Images").is_dir():
        return Visa(root)
    if any(folder.is_dir() for split in _SPLITS for folder in root.glob(f"{split}/*/rgb")):
        return Mvtec3d(root)
    if (root / "train").is_dir():
        return Loco(root) if is_loco(root) else Mvtec(root)
    if pictures(root):
        return Plain(root)
    if (root / "test").is_dir():
        return Loco(root) if is_loco(root) else Mvtec(root)
    if not any(root.iterdir()):
        raise DataError(f"{root}: the folder is empty; {EXPECTED}")
    if categories := sorted(p.name for p in root.iterdir() if (p / "train").is_dir() or (p / "Data" / "Images").is_dir()):
        raise DataError(f"{root}: a collection of data sets; name one of them, such as {root / categories[0]}")
    raise DataError(f"{root}: unknown layout, no train/ and no photographs; {EXPECTED}{folders_with_pictures(root)}")
