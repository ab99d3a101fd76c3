"""The kept images on disk: files and their index together, within the budget, whole after a kill at any point."""

import contextlib
import errno
import logging
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from agent.damaged import BROKEN, damaged_text, is_broken, readable
from agent.record.index import RecordIndex
from agent.record.table import IMAGES, INDEX, Kept, Review, Worth
from agent.sections import KeepImages
from agent.set_aside import is_saved, next_place, take_away, unsaved

log = logging.getLogger(__name__)

_BLOCK_BYTES = 4096  # of a file system
_SMALL_BYTES = 1 << 25  # read through in a tenth of a second
_MOST_PRODUCED_S = 1e10  # three centuries
_AT_ONCE = 200  # deletions in one transaction
_NEW = ".new"


class NoRoomError(Exception):
    """What is kept is worth more than what comes."""


def place(number: int, worth: Worth, time: str, part: str, camera: str) -> str:
    """PURE  The file of an image below the folder of all: a thousand in each, named so that a lost index can be made again.

    >>> place(1234567, Worth.REJECT, "2026-11-21T09:30:00.000000Z", "a1b2/42", "top")
    '00012/34/1234567_reject_20261121T093000.000000Z_a1b2-42_top.png'
    """
    stamp = time.replace("-", "").replace(":", "")
    name = f"{number}_{worth.name.lower()}_{stamp}_{part.replace('/', '-')}_{camera}.png"
    return f"{number // 100_000:05d}/{number // 1000 % 100:02d}/{name}"


class TooLargeError(NoRoomError):
    """It alone is more than the budget."""


class Album:
    """The files and their index, and the budget of both. Raises OSError and sqlite3.Error, and is whole afterwards."""

    def __init__(self, folder: Path, index: RecordIndex, keep: KeepImages) -> None:
        self._folder = folder
        self._images = folder / IMAGES
        self._index = index
        self._keep = keep
        self._budget = int(keep.mb * 1e6)
        self.tidy_up()
        self._delete_strangers()

    def next_number(self) -> int:
        return self._index.next_id()

    @staticmethod
    def cost(image: bytes, heat: bytes) -> int:
        """What it takes of the disk: whole blocks, and some for row and directory."""
        return -(-len(image) // _BLOCK_BYTES) * _BLOCK_BYTES + len(heat) + _BLOCK_BYTES // 4

    def add(self, kept: Kept, image: bytes, heat: bytes) -> None:
        """Room is made first: the budget holds at every moment. Raises NoRoomError."""
        self.make_room_in_budget(kept.bytes, kept.kind)
        self.make_room_on_disk(kept.bytes)
        self._index.begin(kept, heat)
        if kept.file:
            _write_whole(self._images / kept.file, image)
        self._index.finish(kept.id)

    def make_room_in_budget(self, wanted: int, worth: Worth) -> None:
        """Deletes what is worth least, and nothing that is worth more than what comes; a reject may take any place.

        Raises NoRoomError where that is not enough, TooLargeError where nothing would be.
        """
        if wanted > self._budget:
            found = f"an image takes {wanted / 1e6:.1f} MB, and record.mb is {self._keep.mb:g} for all of them"
            raise TooLargeError(f"{found}: make that larger")
        at_most = None if worth is Worth.REJECT else worth
        while (excess := self._index.total()[1] + wanted - self._budget) > 0:
            least = self._index.least_worth(_AT_ONCE, at_most)
            if not least:
                raise NoRoomError(f"the record is full of images that are worth more than one more {worth.name.lower()}")
            self._delete(_enough(least, excess))

    def make_room_on_disk(self, wanted: int) -> None:
        """Deletes images until so much of the disk is free as events may need; raises OSError when it is too full even so."""
        while (missing := self._missing(wanted)) > 0:
            least = self._index.least_worth(_AT_ONCE)
            if not least:
                raise OSError(errno.ENOSPC, f"less than {self._keep.leave_free_mb:g} MB of the disk are free: left to the events")
            self._delete(_enough(least, missing))

    def make_room_by_age(self, produced_s: float) -> None:
        """Deletes what is older than the hours of production for which images are kept."""
        while old := self._index.older_than(produced_s - self._keep.hours * 3600, _AT_ONCE):
            self._delete(old)

    def tidy_up(self) -> None:
        """Takes away what was half written or half deleted."""
        while half := self._index.not_whole()[:_AT_ONCE]:
            self._unlink(half)

    def _missing(self, wanted: int) -> int:
        free = shutil.disk_usage(self._folder).free
        return int(self._keep.leave_free_mb * 1e6) + wanted - free

    def _delete(self, some: Sequence[Kept]) -> None:
        self._index.leaving([one.id for one in some])
        self._unlink(some)

    def _unlink(self, some: Sequence[Kept]) -> None:
        for one in some:
            if one.file:
                self._unlink_file(one)
        for folder in {self._folder_of(one.id) for one in some if one.file}:
            with contextlib.suppress(OSError):  # not empty yet
                folder.rmdir()
                folder.parent.rmdir()
        self._index.gone([one.id for one in some])

    def _unlink_file(self, one: Kept) -> None:
        """By its number where there is none of its name: it was not whole yet, or the name in its row is damaged."""
        try:
            (self._images / one.file).unlink()
        except FileNotFoundError:
            for file in self._folder_of(one.id).glob(f"{one.id}_*"):
                file.unlink(missing_ok=True)

    def _folder_of(self, number: int) -> Path:
        return (self._images / place(number, Worth.PASS, "", "", "")).parent

    def _delete_strangers(self) -> None:
        """Files whose rows a power cut has lost: they can only be among the newest."""
        newest = self._index.next_id() - 1
        folders = {self._folder_of(n) for n in (newest, newest + 1000)}
        for file in (file for folder in folders if folder.is_dir() for file in folder.iterdir()):
            number = _number_of(file)
            if number is None or not self._index.knows(number):
                file.unlink(missing_ok=True)


def open_index(folder: Path, is_suspect: bool = False) -> RecordIndex:
    """The index of a folder; a broken one is set aside and made again from the names of the files, with what people said of them.
    is_suspect: an error was met in it, so that all of it is read, which takes half a minute for 2 GB; a small one is read anyway.

    Raises OSError, and sqlite3.Error where that does not help.
    """
    file = folder / INDEX
    unsaved(file)
    try:
        index = _opened(folder, is_suspect)
    except BROKEN as e:
        if not is_broken(e):
            raise  # the disk, or another process
        log.error("%s: broken: %s; made again from the files", file, e)
        take_away(file)
        index = RecordIndex(folder)
    if (broken := unsaved(file)) is not None:
        with contextlib.ExitStack() as unless_made:
            unless_made.callback(index.db.close)
            _make_again(index, folder, broken)
            unless_made.pop_all()
    return index


def _opened(folder: Path, is_suspect: bool) -> RecordIndex:
    index = RecordIndex(folder)
    with contextlib.ExitStack() as unless_whole:
        unless_whole.callback(index.db.close)
        if is_suspect or (folder / INDEX).stat().st_size < _SMALL_BYTES:
            index.check()
        unless_whole.pop_all()
    return index


def _make_again(index: RecordIndex, folder: Path, broken: Path) -> None:
    """All of it or nothing; a second time it finds what is not there yet."""
    with contextlib.closing(sqlite3.connect(broken)) as db:
        db.text_factory = damaged_text
        produced_s = _produced_s(db)
        images, reviews = index.found_again(_found_again(folder / IMAGES, produced_s), _reviews(db, folder / IMAGES))
    index.produced(max(produced_s, index.total()[2]))
    found = f"{images} images found again, {reviews} reviews saved; of the images only kind, time, part and camera are known"
    log.error("%s: %s; the broken file is %s", folder / INDEX, found, next_place(folder / INDEX).name)
    is_saved(folder / INDEX)


def _produced_s(db: sqlite3.Connection) -> float:
    """Of production, as far as a broken index can say."""
    with contextlib.suppress(*BROKEN):
        if 0 <= (found := float(db.execute("SELECT produced_s FROM total").fetchone()[0])) < _MOST_PRODUCED_S:
            return found
    return 0.0


def _reviews(db: sqlite3.Connection, images: Path) -> Iterator[tuple[int, Review]]:
    """What people said, as far as it can be read."""
    query = "SELECT id, judgment, defect, note, reviewer, time FROM review WHERE id >= ? ORDER BY id LIMIT 1"
    newest = max((_number_of(file) or 0 for file in images.glob("*/*/*.png")), default=0)
    for number, *said in readable(db, query, newest, newest):
        if said[0] in ("true", "false") and all(isinstance(text, str) for text in said):
            yield number, Review(*said)


def _found_again(images: Path, produced_s: float) -> Iterator[Kept]:
    """Pictures of one part are numbered one after the other, the deciding one first."""
    deciding, of_part = 0, ""
    for file in sorted(images.glob("*/*/*.png"), key=lambda file: _number_of(file) or 0):
        number, fields = _number_of(file), file.stem.split("_", 4)
        if number is None or not file.name.isprintable() or len(fields) != 5 or fields[1].upper() not in Worth.__members__:
            continue
        _, worth, stamp, part, camera = fields
        boot, _, n = part.rpartition("-")
        time = f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:11]}:{stamp[11:13]}:{stamp[13:]}"
        size = Album.cost(b"", b"") + -(-file.stat().st_size // _BLOCK_BYTES) * _BLOCK_BYTES
        detail = "found again after the index was lost"
        about = (number, f"{boot}/{n}", camera, time, Worth[worth.upper()], "", detail, None, None)
        deciding, of_part = (deciding, part) if part == of_part else (number, part)
        yield Kept(*about, "", produced_s, str(file.relative_to(images)), size, 0 if deciding == number else deciding)


def _number_of(file: Path) -> int | None:
    number = file.name.partition("_")[0]
    return int(number) if number.isdecimal() and file.suffix == ".png" else None


def _enough(some: Sequence[Kept], wanted: int) -> Sequence[Kept]:
    """As many of the first as are needed, and a few more, so that room is not made for each image anew."""
    freed, n = 0, 0
    while n < len(some) and freed < wanted:
        freed += some[n].bytes
        n += 1
    return some[: max(n, min(len(some), n + len(some) // 20))]


def _write_whole(file: Path, content: bytes) -> None:
    """There with all its bytes, or not at all."""
    fresh = file.with_name(file.name + _NEW)
    file.parent.mkdir(parents=True, exist_ok=True)
    with fresh.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(file)
