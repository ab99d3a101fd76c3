"""The image record as the page shows it: what is kept, one of them at large, reviews, and the data set made of those."""

import io
import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from agent.clock import utc_now
from agent.observation.picture import small_photograph
from agent.preprocess import read_image, to_8_bit
from agent.record.gallery import Gallery
from agent.record.table import IMAGES, INDEX, Kept, Review, Worth

PAGE = 60  # of one answer
_SMALL_PX = 320
_DEFECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


class ReviewError(ValueError):
    """A review that cannot be kept; the message is for the person."""


class MeanwhileError(ReviewError):
    """Somebody else has judged it meanwhile."""


class KeptImages:
    """The record in a folder. Each call opens it anew: the record may begin, end or be made anew at any time.

    Raises sqlite3.Error and OSError.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._one_at_a_time = threading.Lock()

    @property
    def is_there(self) -> bool:
        return (self._folder / INDEX).exists()

    def search(self, kind: str, judgment: str, text: str, before: int | None, after: int) -> dict[str, Any]:
        """A page of what fits, newest first, and how many fit in all. newest: of all that was there; what comes is after it."""
        if not self.is_there:
            return {"total": 0, "kept": [], "page": PAGE, "defects": [], "newest": 0}
        worth = Worth[kind.upper()] if kind.upper() in Worth.__members__ else None
        with Gallery(self._folder) as gallery:
            newest = gallery.newest()  # first: what becomes whole meanwhile is found now or after it, never missed
            total, found = gallery.search(worth, "" if judgment == "all" else judgment, text, before, PAGE, after)
            kept = [_row(*one) for one in found]
            return {"total": total, "kept": kept, "page": PAGE, "defects": gallery.defects(), "newest": newest}

    def beside(self, number: int) -> list[dict[str, Any]]:
        """What the other cameras saw of the same part."""
        if not self.is_there:
            return []
        with Gallery(self._folder) as gallery:
            return [_row(kept, None, has_heat) for kept, has_heat in gallery.beside(number)]

    def image(self, number: int) -> Path | None:
        """The file of a whole image."""
        kept = self._one(number)
        file = self._folder / IMAGES / kept.file if kept and kept.file else None
        return file if file is not None and file.is_file() else None

    def small(self, number: int) -> bytes | None:
        """JPEG for a list."""
        file = self.image(number)
        return small_photograph(to_8_bit(read_image(file), 255), _SMALL_PX) if file else None

    def heat(self, number: int) -> bytes:
        """PNG to be laid over the image, empty where there is none."""
        if not self.is_there:
            return b""
        with Gallery(self._folder) as gallery:
            return gallery.heat(number)

    def review(self, number: int, judgment: str, defect: str, note: str, reviewer: str, seen: str) -> Review:
        """What is kept now. seen: when the judgment was made that the person saw, empty for none. Raises ReviewError."""
        if judgment not in ("true", "false"):
            raise ReviewError("say whether it is a defect or a good part")
        if defect and not _DEFECT.fullmatch(defect):
            raise ReviewError("a kind of defect is one word of letters, digits, - and _, such as deep_scratch")
        if defect == "good":
            raise ReviewError("good is no kind of defect")
        if judgment == "false" and defect:
            raise ReviewError("a good part has no kind of defect")
        said = Review(judgment, defect, note, reviewer, utc_now())
        with self._one_at_a_time, Gallery(self._folder) as gallery:
            _, found = gallery.search(None, "", "", number + 1, 1, number - 1)
            before = found[0][1] if found else None
            if before is not None and before.time != seen:
                raise MeanwhileError(f"{before.reviewer} has judged it meanwhile")
            if not gallery.review(number, said):
                raise ReviewError("this image is not kept any more")
        return said

    def data_set(self) -> Iterator[bytes]:
        """A zip of all judged images in the layout that `kensa fit` takes, made as it is read.

        Good ones go to train/good; defects to test/<kind>, those without a kind to test/defect. judged.csv tells who said so.
        """
        with Gallery(self._folder) as gallery:
            judged = gallery.reviewed()
        stream = _Stream()
        with closing(zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED)) as archive:
            lines = ["file,part,time,camera,score,judgment,defect,reviewer,note"]
            for kept, review in judged:
                name = _place(kept, review)
                try:
                    content = (self._folder / IMAGES / kept.file).read_bytes()
                except FileNotFoundError:
                    continue  # it had to go meanwhile
                archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), content)
                lines.append(_line(name, kept, review))
                yield stream.taken()
            archive.writestr(zipfile.ZipInfo("judged.csv", (2026, 1, 1, 0, 0, 0)), "\n".join(lines) + "\n")
        yield stream.taken()

    def _one(self, number: int) -> Kept | None:
        if not self.is_there:
            return None
        with Gallery(self._folder) as gallery:
            return gallery.one(number)


class _Stream(io.RawIOBase):
    """What was written and not yet taken; a zip does not need to go back."""

    def __init__(self) -> None:
        self._content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self._content += content
        return len(content)

    def taken(self) -> bytes:
        content = bytes(self._content)
        self._content.clear()
        return content


def _place(kept: Kept, review: Review) -> str:
    folder = "train/good" if review.judgment == "false" else f"test/{review.defect or 'defect'}"
    return f"{folder}/{Path(kept.file).name}"


def _line(name: str, kept: Kept, review: Review) -> str:
    fields = (name, kept.part, kept.time, kept.camera, kept.score, review.judgment, review.defect, review.reviewer, review.note)
    return ",".join(_quoted(str(field)) for field in fields)


def _quoted(text: str) -> str:
    """One field of CSV, which no spreadsheet takes for a formula."""
    safe = "'" + text if text[:1] in "=+-@\t\r" and not re.fullmatch(r"-?[0-9.e+-]+", text) else text
    return '"' + safe.replace('"', '""') + '"'


def _row(kept: Kept, review: Review | None, has_heat: bool) -> dict[str, Any]:
    said = review or Review("", "", "", "", "")
    return {
        "id": kept.id,
        "part": kept.part,
        "camera": kept.camera,
        "time": kept.time,
        "kind": kept.kind.name.lower(),
        "cause": kept.cause,
        "detail": kept.detail,
        "score": kept.score,
        "has_image": bool(kept.file),
        "has_heat": has_heat,
        "judgment": said.judgment,
        "defect": said.defect,
        "note": said.note,
        "reviewer": said.reviewer,
        "reviewed": said.time,
    }
