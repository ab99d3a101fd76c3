"""Parts for a record of images, and what is found in it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from record_filler import kept
from small_bundle import CONTRACT, photograph

from agent.decide import Policy, decide, strictest
from agent.inspection import Measured, Part, Prediction, Reading, Shot
from agent.observation.picture import lossless
from agent.observation.seen import Seen
from agent.record.album import Album, open_index, place
from agent.record.gallery import Gallery
from agent.record.index import RecordIndex
from agent.record.record import Record
from agent.record.table import IMAGES, Kept, Review, Worth
from agent.sections import KeepImages

GOOD = photograph(np.random.default_rng(1))
PNG = lossless(GOOD)
COST = Album.cost(PNG, b"")
MAP = np.zeros((8, 8), np.float32)
KEEP = KeepImages(mb=1000, leave_free_mb=0, one_of=10)
UTC = "2026-11-21T09:30:00.000000Z"


def reading(score: float) -> Prediction:
    return Prediction(raw=score, score=score, p_value=0.5, anomaly_map=MAP)


def shot(n: int, triggered_ns: int = 0) -> Shot:
    return Shot(Part("boot", n), "top", triggered_ns, GOOD)


def seen(shots: Sequence[Shot], readings: Sequence[Reading]) -> Seen:
    """One part as the hot path hands it over."""
    verdicts = [decide(read, Policy(1.0)) for read in readings]
    numbers = [Measured(one.camera, bundle_id="bundle") for one in shots]
    return Seen(shots, readings, numbers, verdicts, [CONTRACT] * len(shots), strictest(verdicts))


def offer(record: Record, n: int, read: Reading, triggered_ns: int = 0) -> None:
    record.offer(seen([shot(n, triggered_ns)], [read]))


def offer_of_cameras(record: Record, n: int, scores: dict[str, float]) -> None:
    """A part that several cameras have seen."""
    shots = [Shot(Part("boot", n), camera, 0, GOOD) for camera in scores]
    record.offer(seen(shots, [reading(score) for score in scores.values()]))


def files(folder: Path) -> list[Path]:
    return sorted((folder / IMAGES).rglob("*.*"))


def listed(folder: Path) -> list[tuple[str, str]]:
    """Kind and part of all that is listed, newest first."""
    return [(row.kind.name, row.part) for row in rows(folder)]


def rows(folder: Path) -> list[Kept]:
    """All that is listed, newest first."""
    with Gallery(folder) as gallery:
        return [row for row, _, _ in gallery.search(None, "", "", None, 10_000)[1]]


def judge(folder: Path, number: int, judgment: str, defect: str = "") -> None:
    with Gallery(folder) as gallery:
        gallery.review(number, Review(judgment, defect, "", "Ada", UTC))


@contextmanager
def album(folder: Path, keep: KeepImages = KEEP) -> Iterator[tuple[Album, RecordIndex]]:
    with open_index(folder) as index:
        yield Album(folder, index, keep), index


def add(one: Album, worth: Worth, produced_s: float = 0.0) -> int:
    """One more image; its number."""
    number = one.next_number()
    file = place(number, worth, UTC, f"boot/{number}", "top")
    one.add(kept(number, worth, COST, file, produced_s), PNG, b"")
    return number
