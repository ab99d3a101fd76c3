"""VisA: one table for all categories says which picture is for what."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.layouts.listing import DataError, Listed, refuse

_SPLIT, _COLUMNS = Path("split_csv", "1cls.csv"), ("object", "split", "label", "image", "mask")
_DEFECTS = {"normal": None, "anomaly": "anomaly"}


@dataclass(frozen=True, slots=True)
class Visa:
    """One category of VisA: <category>/Data/Images and Masks, split as split_csv/1cls.csv beside the category says."""

    root: Path
    name = "VisA"
    held_out_in = ""

    def train(self) -> list[Listed]:
        """The good parts to learn from. Raises DataError where there are none."""
        found = self._rows("train")
        refuse([f"{p.path}: a defect in the training split of {_SPLIT}" for p in found if p.defect])
        if not found:
            raise DataError(f"{self._split_file()}: no row of {self.root.resolve().name!r} with split 'train'")
        return found

    def validation(self) -> list[Listed]:
        """None: VisA holds no good parts out."""
        return []

    def test_files(self) -> list[Path]:
        """Every picture of the test split, by name alone."""
        return [listed.path for listed in self._rows("test")]

    def test(self) -> list[Listed]:
        """The test parts, good ones first. Raises DataError."""
        found = self._rows("test")
        refuse([f"{p.path}: its mask {p.mask} does not exist" for p in found if p.mask and not p.mask.is_file()])
        return sorted(found, key=lambda p: (p.defect is not None, p.path))

    def _split_file(self) -> Path:
        return self.root.resolve().parent / _SPLIT

    def _rows(self, split: str) -> list[Listed]:
        """This category's rows of one split, in their order; DataError names what they name and is not there."""
        file = self._split_file()
        try:
            with file.open(newline="", encoding="utf-8-sig") as lines:
                reader = csv.DictReader(lines)
                rows = [row for row in reader if row.get("object") == self.root.resolve().name and row.get("split") == split]
                columns = reader.fieldnames or ()
        except (OSError, UnicodeDecodeError) as e:
            raise DataError(f"{file}: cannot be read ({e}); VisA's official split must lie beside the category") from e
        if missing := [column for column in _COLUMNS if column not in columns]:
            raise DataError(f"{file}: no column {', '.join(missing)}; found {', '.join(columns)}: use VisA's own 1cls.csv")
        return self._listed(rows, file)

    def _listed(self, rows: Sequence[dict[str, str]], file: Path) -> list[Listed]:
        found, bad = [], []
        for row in rows:
            inside = Path(row["image"] or "").parts[1:]  # the category's name comes first
            path = self.root.joinpath(*inside)
            if row["label"] not in _DEFECTS:
                bad.append(f"{file}: label {row['label']!r} of {row['image']}, expected normal or anomaly")
            elif not inside or ".." in inside or not path.is_file():
                bad.append(f"{file} names {row['image']}, expected it in {path}, found no such file")
            else:
                mask = self.root.joinpath(*Path(row["mask"]).parts[1:]) if row["mask"] else None
                found.append(Listed(path, _DEFECTS[row["label"]], mask))
        refuse(bad)
        return found
