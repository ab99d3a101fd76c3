"""Fills a record until it is killed: `python record_filler.py FOLDER MB`. Prints a line once the first image is there."""

import sys
from pathlib import Path

import numpy as np

from agent.clock import utc_now
from agent.observation.picture import lossless
from agent.record.album import Album, open_index, place
from agent.record.table import Kept, Worth
from agent.sections import KeepImages


def kept(number: int, worth: Worth, size: int, file: str = "", produced_s: float = 0.0) -> Kept:
    """A row for an image."""
    about = (number, f"boot/{number}", "top", utc_now(), int(worth), "score", "", 1.5, 2.0, "bundle")
    return Kept(*about, produced_s, file, size)


def main() -> None:
    folder, keep = Path(sys.argv[1]), KeepImages(mb=float(sys.argv[2]), leave_free_mb=0)
    image = lossless(np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    with open_index(folder) as index:
        album = Album(folder, index, keep)
        while True:
            number = album.next_number()
            file = place(number, Worth.REJECT, utc_now(), f"boot/{number}", "top")
            album.add(kept(number, Worth.REJECT, album.cost(image, b""), file), image, b"")
            print(number, flush=True)


if __name__ == "__main__":
    main()
