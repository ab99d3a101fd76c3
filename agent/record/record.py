"""Keeps images worth keeping within a budget, in a thread of its own; nothing of it can hold up a verdict or stop the line.

Each image is written beside its place, synced, and moved there; then it is listed. What is worth least goes first. A disk that
is full or fails costs images, never events: it is counted, told, and tried again.
"""

import contextlib
import logging
import queue
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from agent.clock import utc_now
from agent.damaged import is_broken
from agent.give_way import this_thread_gives_way
from agent.inspection import Fault, Outcome, Prediction, Reading, Verdict
from agent.observation.picture import heat_over, lossless
from agent.observation.seen import Seen
from agent.record.album import Album, NoRoomError, TooLargeError, open_index, place
from agent.record.index import RecordIndex
from agent.record.table import Kept, Worth
from agent.sections import KeepImages

log = logging.getLogger(__name__)

FOLDER = "record"

_WAITING = 8  # images in memory
_WAITING_PASSES = 4  # a sample must not take the place of a reject
_PAUSE_NS = 60_000_000_000  # a longer gap between two parts is no production
_LOOK_EVERY_S = 0.5
_TROUBLES = (OSError, sqlite3.Error, ValueError, TypeError, OverflowError)  # of an image, the disk or the index: the line goes on


class RecordError(Exception):
    """The record's thread has stopped."""


def worth_keeping(reading: Reading, verdict: Verdict, n: int, keep: KeepImages) -> Worth | None:
    """PURE  Why the part's image is kept, None if it is not. n: the part's number."""
    if isinstance(reading, Fault):
        return Worth.FAULT
    if verdict.outcome is Outcome.REJECT:
        return Worth.REJECT
    if abs(reading.score - 1) <= keep.near:
        return Worth.NEAR
    return Worth.PASS if keep.one_of and n % keep.one_of == 0 else None


@dataclass(frozen=True, slots=True, eq=False)
class _Offer:
    """seen: all pictures of a part, the deciding one and those beside it."""

    seen: Seen
    worth: Worth
    produced_s: float


class Record:
    """The images of one station, in `folder`."""

    def __init__(self, folder: Path, keep: KeepImages) -> None:
        self._folder = folder
        self._keep = keep
        self._offers: queue.SimpleQueue[_Offer] = queue.SimpleQueue()  # bounded by `offer`, in images
        self._last_ns: int | None = None
        self._produced_ns = 0
        self._before_s: float | None = None  # of production, by those before this process
        self._images = self._bytes = self._newest = 0
        self.drops = {"record queue": 0, "record budget": 0, "record disk": 0}
        self.trouble = ""
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="record", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Record":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """What waits is still written."""
        self._stop.set()
        self._thread.join(timeout=10)

    def check(self) -> None:
        """Raises what ended the thread, if it ended."""
        if self._failure:
            raise RecordError("the image record stopped") from self._failure

    def offer(self, seen: Seen) -> None:
        """For the hot path: keeps a reference where the part is worth it, waits for nothing."""
        shot, reading = seen.shots[seen.deciding], seen.readings[seen.deciding]
        if self._last_ns is not None and 0 < shot.triggered_ns - self._last_ns < _PAUSE_NS:
            self._produced_ns += shot.triggered_ns - self._last_ns
        self._last_ns = shot.triggered_ns
        worth = worth_keeping(reading, seen.verdict, seen.part.n, self._keep)
        if worth is None:
            return
        may_wait = _WAITING_PASSES if worth is Worth.PASS else _WAITING
        if self._offers.qsize() >= max(1, may_wait // len(seen.shots)):
            self.drops["record queue"] += 1
            return
        self._offers.put(_Offer(seen, worth, self._produced_ns / 1e9))

    @property
    def waiting(self) -> int:
        return self._offers.qsize()

    @property
    def gauges(self) -> dict[str, float]:
        budget = self._keep.mb * 1e6
        newest = {"record_newest": self._newest}
        return {"record_images": self._images, "record_bytes": self._bytes, "record_budget_bytes": budget, **newest}

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        this_thread_gives_way()  # a photograph takes it some 80 ms of compression
        is_suspect = False
        try:
            while True:
                try:
                    with open_index(self._folder, is_suspect) as index:
                        is_suspect = False
                        self._write(index)
                    return
                except _TROUBLES as e:
                    is_suspect |= _is_of_the_index(e)
                    self._cannot(e)
                if self._stop.wait(1.0):
                    return
        except Exception as e:  # noqa: BLE001 - raised in the loop by check()
            self._failure = e

    def _write(self, index: RecordIndex) -> None:
        """Until told to stop, and then what waits. Raises OSError and sqlite3.Error for what is not about one image."""
        album = Album(self._folder, index, self._keep)
        self._images, self._bytes, known_s = index.total()
        self._newest = album.next_number() - 1
        self.trouble = ""  # what it cannot write is told with the next image
        if self._before_s is None or known_s < self._before_s:  # less: it was made again, and nothing in it is older
            self._before_s = known_s
        while not (self._stop.is_set() and self._offers.empty()):
            try:
                offer = self._offers.get(timeout=_LOOK_EVERY_S)
            except queue.Empty:
                continue
            try:
                produced_s = self._before_s + offer.produced_s
                album.make_room_by_age(produced_s)
                self._add(album, offer, produced_s)
                index.produced(produced_s)
                self.trouble = ""
            except NoRoomError as e:
                if isinstance(e, TooLargeError):
                    self._cannot(e)
                self.drops["record budget"] += 1
            except _TROUBLES as e:
                self.drops["record disk"] += 1
                self._cannot(e)
                with contextlib.suppress(OSError, sqlite3.Error):
                    album.tidy_up()
                    album.make_room_on_disk(0)
                if _is_of_the_index(e):
                    raise
            self._images, self._bytes, _ = index.total()
            self._newest = album.next_number() - 1

    def _add(self, album: Album, offer: _Offer, produced_s: float) -> None:
        """The deciding picture first: it is the part's, the others stand beside it."""
        seen = offer.seen
        deciding = self._add_view(album, offer, seen.deciding, 0, produced_s)
        for k, shot in enumerate(seen.shots):
            if k != seen.deciding and not isinstance(shot.image, Fault):
                self._add_view(album, offer, k, deciding, produced_s)

    @staticmethod
    def _add_view(album: Album, offer: _Offer, k: int, beside: int, produced_s: float) -> int:
        """The number of what is kept of one camera."""
        shot, reading, verdict = offer.seen.shots[k], offer.seen.readings[k], offer.seen.verdicts[k]
        image, heat = b"", b""
        raw = score = None
        if not isinstance(shot.image, Fault):
            image = lossless(shot.image)
        if isinstance(reading, Prediction):
            raw, score = reading.raw, reading.score
            if not isinstance(shot.image, Fault):
                heat = heat_over(shot.image, reading.anomaly_map, reading.score, offer.seen.contracts[k])
        number, time = album.next_number(), utc_now()
        file = place(number, offer.worth, time, str(shot.part), shot.camera) if image else ""
        about = (number, str(shot.part), shot.camera, time, offer.worth, verdict.cause.value, verdict.detail[:500], raw, score)
        album.add(Kept(*about, offer.seen.numbers[k].bundle_id, produced_s, file, album.cost(image, heat), beside), image, heat)
        return number

    def _cannot(self, error: Exception) -> None:
        trouble = f"images cannot be kept: {error.strerror if isinstance(error, OSError) else error}"
        if trouble != self.trouble:
            log.error("%s: %s", self._folder, trouble)
        self.trouble = trouble


def _is_of_the_index(error: Exception) -> bool:
    """A broken file, not a disk that is full or another process: it is opened anew, and made again."""
    return isinstance(error, sqlite3.DatabaseError) and is_broken(error)
