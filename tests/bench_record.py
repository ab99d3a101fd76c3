"""`PYTHONPATH=. python tests/bench_record.py [N]`: a record full with a million images goes on; what one more costs, and where.

Time-compressed: the million are files of one byte, since what is measured is finding and deleting, not writing pixels.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "agent"))

from record_filler import kept

from agent.observation.picture import lossless
from agent.record.album import Album, open_index, place
from agent.record.gallery import Gallery
from agent.record.index import RecordIndex
from agent.record.table import IMAGES, Worth
from agent.sections import KeepImages

UTC = "2026-11-21T09:30:00.000000Z"
PNG = lossless(np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8))
COST = Album.cost(PNG, b"")
MORE = 2000


def fill(folder: Path, index: RecordIndex, n: int) -> None:
    """n images with their rows, of every worth in turn."""
    for first in range(1, n + 1, 10_000):
        rows = []
        for k in range(first, min(first + 10_000, n + 1)):
            worth = Worth(k % 4)
            name = place(k, worth, UTC, f"boot/{k}", "top")
            file = folder / IMAGES / name
            if k % 1000 in (0, 1):
                file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"x")
            rows.append(kept(k, worth, COST, name, produced_s=float(k)))
        index.found_again(rows)


def main(n: int) -> int:
    with tempfile.TemporaryDirectory(prefix="k") as name:
        folder = Path(name)
        with open_index(folder) as index:
            start = time.perf_counter()
            fill(folder, index, n)
            size_mb = (folder / "index.db").stat().st_size >> 20
            print(f"{n} images laid down in {time.perf_counter() - start:.0f} s, index {size_mb} MB")
        start = time.perf_counter()
        with open_index(folder) as index:
            album = Album(folder, index, KeepImages(mb=n * COST / 1e6, leave_free_mb=0))
            print(f"opened in {1000 * (time.perf_counter() - start):.1f} ms")
            each = []
            for _ in range(MORE):
                number = album.next_number()
                file = place(number, Worth.REJECT, UTC, f"boot/{number}", "top")
                start = time.perf_counter()
                album.add(kept(number, Worth.REJECT, COST, file, n + number), PNG, b"")
                each.append(1000 * (time.perf_counter() - start))
            each.sort()
            held = index.total()[1] <= n * COST
            p50, p99 = each[MORE // 2], each[int(0.99 * MORE)]
            print(f"one more with pruning: median {p50:.2f} ms, p99 {p99:.2f} ms, max {each[-1]:.1f} ms")
            start = time.perf_counter()
            with Gallery(folder) as gallery:
                total, _ = gallery.search(Worth.REJECT, "", "", None, 60)
            print(f"a page of {total} rejects found in {1000 * (time.perf_counter() - start):.0f} ms")
            before = index.total()[0]
            start = time.perf_counter()
            album.make_room_by_age(n / 2 + 2000 * 3600.0)
            gone = before - index.total()[0]
            print(f"{gone} images pruned by age in {time.perf_counter() - start:.1f} s")
        print("budget held" if held else "BUDGET BROKEN")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
