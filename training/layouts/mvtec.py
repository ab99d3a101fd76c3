"""MVTec AD, the layout that most data sets copy, and a plain folder of good parts."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from training.layouts.listing import EXPECTED, DataError, Listed, besides, pictures, refuse, unfit_name


@dataclass(frozen=True, slots=True)
class Mvtec:
    """MVTec AD: train/good, optional validation/good, test/<class>, ground_truth/<class>/<stem>_mask.png."""

    root: Path
    name = "MVTec AD"
    held_out_in = "validation/good"  # where people may put parts for the threshold; empty where no such place is looked into

    def train(self) -> list[Listed]:
        """The good parts to learn from. Raises DataError where there are none."""
        if not (found := self._good("train")):
            raise DataError(f"{self.root}: no good photographs in train/good; {EXPECTED}{besides(self.root / 'train' / 'good')}")
        return found

    def validation(self) -> list[Listed]:
        """The good parts that the data set itself holds out; none for most."""
        return self._good("validation")

    def test_files(self) -> list[Path]:
        """Every picture of the test set, by name alone; a class may be a link to where it lies."""
        test = self.root / "test"
        classes = sorted(p for p in test.iterdir() if p.is_dir()) if test.is_dir() else []
        return [*pictures(test), *(path for folder in classes for path in pictures(folder, deep=True))]

    def test(self) -> list[Listed]:
        """The test parts, good ones first. Raises DataError where there is no test set, or one that is not whole."""
        return [listed for folder in self._test_classes() for listed in self._listed(folder)]

    def _good(self, split: str) -> list[Listed]:
        return [Listed(p) for p in pictures(self.root / split / "good")]

    def _test_classes(self) -> list[Path]:
        folder = self.root / "test"
        if not folder.is_dir():
            raise DataError(f"{self.root}: no test/ folder, expected test/good/ and test/<defect>/ (MVTec layout)")
        classes = [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")]
        refuse([reason for p in classes if (reason := unfit_name(p))], "folder")
        places = [self._place(p) for p in classes]
        refuse(
            [f"{p}: no photographs in this class; fill the folder or remove it{besides(p)}" for p in places if not pictures(p)]
        )
        return sorted(classes, key=lambda p: (p.name != "good", p.name))

    def _place(self, folder: Path) -> Path:
        """Where the photographs of a class lie."""
        return folder

    def _listed(self, folder: Path) -> Iterator[Listed]:
        for path in pictures(folder):
            yield Listed(path) if folder.name == "good" else Listed(path, folder.name, self._mask(path))

    def _mask(self, path: Path) -> Path | None:
        folder = self.root / "ground_truth" / path.parent.name
        return next((m for m in (folder / f"{path.stem}_mask.png", folder / f"{path.stem}.png") if m.is_file()), None)


class Plain(Mvtec):
    """A folder of good pictures; a test/ in it is as MVTec AD's."""

    __slots__ = ()
    name = "plain folder"

    def train(self) -> list[Listed]:
        return [Listed(p) for p in pictures(self.root)]
