"""Our side of the comparison with anomalib: a timed fit, and both sides' figures by the same metrics.

Run by hand, after `make setup`, in this order (the same number of threads everywhere):

  PYTHONPATH=. python tests/compare.py fit --method patchcore --data DATA --weights resnet18.safetensors --out RUN --set bank=4000
  kensa evaluate RUN --data DATA --json ours.json
  ENV/bin/python tests/against_anomalib.py patchcore --run RUN --weights resnet18.safetensors --out THEIRS
  PYTHONPATH=. python tests/compare.py figures ours.json THEIRS --data DATA
"""

import argparse
import json
import resource
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import yaml

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

    Photographs that our contract refuses have no score; they are left out on both sides, counted.
    """
    evaluation = json.loads(options.ours.read_bytes())
    raw = {Path(part["path"]).resolve(): part["raw"] for part in evaluation["parts"]}
    found = json.loads((options.theirs / "figures.json").read_text())
    photographs = unseen_parts(options.data)
    names = [p.path.relative_to(options.data).as_posix() for p in photographs]
    if set(names) != set(found["scores"]):
        raise SystemExit(f"{options.theirs}: scores of {len(found['scores'])} photographs, {options.data} has {len(names)}")
    is_defect = np.array([p.defect is not None for p in photographs])
    ours = np.array([raw[p.path.resolve()] for p in photographs], dtype=np.float64)  # None: not a number
    judged = np.isfinite(ours)
    theirs = np.array([found["scores"][name] for name in names])
    sides = [(scores[judged & ~is_defect], scores[judged & is_defect]) for scores in (ours, theirs)]
    bound = {share: bootstrap_difference(*sides, seed=SEED, resamples=RESAMPLES, confidence=share) for share in (ONE_SIDED, 0.95)}
    curves = curves_of(options.theirs / "maps.npz", photographs, names)
    our_auroc, their_auroc = (100 * image_auroc(*side) for side in sides)
    return {
        "image_auroc": {"ours": our_auroc, "theirs": their_auroc, "difference": our_auroc - their_auroc},
        "lower_95": 100 * bound[ONE_SIDED].low,
        "interval_95": (100 * bound[0.95].low, 100 * bound[0.95].high),
        "left_out": int((~judged).sum()),
        "pixel_auroc": {"ours": 100 * evaluation["pixel_auroc"], "theirs": 100 * curves.pixel_auroc()},
        "aupro": {"ours": 100 * evaluation["aupro"], "theirs": 100 * curves.aupro()},
        "theirs": {key: value for key, value in found.items() if key != "scores"},
    }


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
    figures.add_argument("ours", type=Path, help="of `kensa evaluate --json`")
    figures.add_argument("theirs", type=Path, help="folder written by tests/against_anomalib.py")
    figures.add_argument("--data", type=Path, required=True)
    figures.set_defaults(mode=compared)
    return parser.parse_args()


def main() -> None:
    options = parsed()
    print(json.dumps(options.mode(options), indent=1))


if __name__ == "__main__":
    main()
