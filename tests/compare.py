"""Our side of the comparison with anomalib: a timed fit, and both sides' figures by the same metrics.

Run by hand, after `make setup`, in this order (the same number of threads everywhere):

  PYTHONPATH=. python tests/compare.py fit --method patchcore --data DATA --weights resnet18.safetensors --out RUN --set bank=4000
  kensa evaluate RUN --data DATA --json ours.json
  ENV/bin/python tests/against_anomalib.py patchcore --run RUN --weights resnet18.safetensors --out THEIRS
  PYTHONPATH=. python tests/compare.py figures --data DATA --course ours.json THEIRS      # --course again for each further seed
"""

import argparse
import json
import resource
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from agent.preprocess import enlarge
from training.data import Photograph, input_contract, unseen_parts
from training.drawings import read_mask
from training.fit import fit
from training.metrics import bootstrap_difference, image_auroc
from training.pixel_metrics import PixelCurves, score_edges
from training.recipe import Recipe

Item = TypeVar("Item")
RESAMPLES, SEED = 10_000, 0
ONE_SIDED = 0.9  # the low end of this two-sided interval is the one-sided lower 95 % bound


class StageClock:
    """A Progress that says nothing and knows how long each stage took, s."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def track(self, items: Sequence[Item], stage: str) -> Iterator[Item]:
        start = time.perf_counter()
        try:
            yield from items
        finally:  # a stage may end early
            self.seconds[stage] += time.perf_counter() - start

    def tell(self, figures: Mapping[str, float]) -> None:
        del figures


def timed_fit(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each stage and of the whole fit, which holds the calibration and the RUN's files too."""
    settings = {key: yaml.safe_load(value) for key, _, value in (text.partition("=") for text in options.set)}
    recipe = Recipe(
        options.method,
        str(options.data),
        str(options.out),
        "resnet18",
        str(options.weights),
        seed=options.seed,
        settings=settings,
    )
    clock, start = StageClock(), time.perf_counter()
    record = fit(recipe, clock)
    return {
        "n_train": sum(file.role == "train" for file in record.files),
        "threads": torch.get_num_threads(),
        "seconds": {"fit": time.perf_counter() - start, **clock.seconds},
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def compared(options: argparse.Namespace) -> dict[str, Any]:
    """Figures of both sides in percent, the difference of the image AUROC with its lower bound in points.

    Several courses: the means, and the difference of the means. Photographs that our contract refuses have no score; they
    are left out on both sides, counted.
    """
    photographs = unseen_parts(options.data)
    names = [p.path.relative_to(options.data).as_posix() for p in photographs]
    is_defect = np.array([p.defect is not None for p in photographs])
    courses = [course_of(Path(ours), Path(theirs), photographs, names) for ours, theirs in options.course]
    scores = np.stack([course.scores for course in courses])  # (course, side, part)
    judged = np.isfinite(scores).all(axis=(0, 1))
    sides = [(scores[:, side, judged & ~is_defect], scores[:, side, judged & is_defect]) for side in (0, 1)]
    bound = {share: bootstrap_difference(*sides, seed=SEED, resamples=RESAMPLES, confidence=share) for share in (ONE_SIDED, 0.95)}
    aurocs = [[100 * image_auroc(*course) for course in zip(*side, strict=True)] for side in sides]
    ours, theirs = (float(np.mean(side)) for side in aurocs)
    return {
        "image_auroc": {"ours": ours, "theirs": theirs, "difference": ours - theirs},
        "lower_95": 100 * bound[ONE_SIDED].low,
        "interval_95": (100 * bound[0.95].low, 100 * bound[0.95].high),
        "left_out": int((~judged).sum()),
        **{key: means([course.pixels[key] for course in courses]) for key in ("pixel_auroc", "aupro")},
        "courses": [{"ours": a, "theirs": b, **course.told} for a, b, course in zip(*aurocs, courses, strict=True)],
    }


@dataclass(frozen=True)
class Course:
    """One training of both sides. scores: (2, parts), ours and theirs, NaN where our contract refuses the photograph."""

    scores: NDArray[np.float64]
    pixels: Mapping[str, Mapping[str, float]]  # percent
    told: Mapping[str, Any]


def course_of(ours: Path, theirs: Path, photographs: Sequence[Photograph], names: Sequence[str]) -> Course:
    """SystemExit where theirs has scores of other photographs."""
    evaluation, found = json.loads(ours.read_bytes()), json.loads((theirs / "figures.json").read_text())
    raw = {Path(part["path"]).resolve(): part["raw"] for part in evaluation["parts"]}
    if set(names) != set(found["scores"]):
        raise SystemExit(f"{theirs}: scores of {len(found['scores'])} photographs, the data has {len(names)}")
    scores = [[raw[p.path.resolve()] for p in photographs], [found["scores"][name] for name in names]]  # None: refused
    curves = curves_of(theirs / "maps.npz", photographs, names)
    pixels = {
        "pixel_auroc": {"ours": 100 * evaluation["pixel_auroc"], "theirs": 100 * curves.pixel_auroc()},
        "aupro": {"ours": 100 * evaluation["aupro"], "theirs": 100 * curves.aupro()},
    }
    return Course(np.array(scores, dtype=np.float64), pixels, {key: value for key, value in found.items() if key != "scores"})


def means(sides: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([side[name] for side in sides])) for name in ("ours", "theirs")}


def curves_of(maps: Path, photographs: Sequence[Photograph], names: Sequence[str]) -> PixelCurves:
    """Of the maps in the file, enlarged to their photographs as ours are; parts without a drawn defect are left out."""
    contract = input_contract(photographs, size=256)
    masks = [read_mask(p) for p in photographs]
    drawn = [(p, name, mask) for p, name, mask in zip(photographs, names, masks, strict=True) if mask is not None]
    with np.load(maps, allow_pickle=False) as stored:
        sized = [(stored[name], (p.width, p.height)) for p, name, _ in drawn]
    curves = PixelCurves(score_edges(enlarge(native, size, contract) for native, size in sized))
    for (native, size), (_, _, mask) in zip(sized, drawn, strict=True):
        curves.add(enlarge(native, size, contract), mask)
    return curves


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(required=True)
    fitting = modes.add_parser("fit", help="our fit, timed")
    fitting.add_argument("--method", required=True)
    fitting.add_argument("--data", type=Path, required=True)
    fitting.add_argument("--weights", type=Path, required=True)
    fitting.add_argument("--out", type=Path, required=True)
    fitting.add_argument("--seed", type=int, default=0)
    fitting.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    fitting.set_defaults(mode=timed_fit)
    figures = modes.add_parser("figures", help="both sides, by the same metrics")
    figures.add_argument(
        "--course",
        nargs=2,
        action="append",
        required=True,
        metavar=("OURS", "THEIRS"),
        help="the file of `kensa evaluate --json` and the folder written by tests/against_anomalib.py, of one seed",
    )
    figures.add_argument("--data", type=Path, required=True)
    figures.set_defaults(mode=compared)
    return parser.parse_args()


def main() -> None:
    options = parsed()
    print(json.dumps(options.mode(options), indent=1))


if __name__ == "__main__":
    main()
