"""The one touch of the test set: what a model finds, misses and wrongly rejects at the threshold it will run with."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from agent.bundle import MANIFEST, BundleError, open_bundle
from agent.decide import Policy, decide
from agent.drivers import SectionError, section
from agent.inspection import AnomalyMap, Fault, Outcome, Prediction, Reading
from agent.model import Model
from agent.preprocess import InputContract, RefusedImageError, enlarge
from agent.runtimes import InferenceError
from training.data import DataError, Photograph, load_original, read_mask, unseen_parts
from training.metrics import (
    Interval,
    PixelCurves,
    binomial_interval,
    bootstrap_interval,
    f1_max,
    image_auroc,
    score_edges,
)
from training.progress import Progress, progress_on

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EPILOG = """example:
  kensa evaluate runs/tire --data data/tire --json tire.json
  kensa evaluate bundles/tire --data data/tire --runtime openvino

DATA has test/good/, test/<defect>/ and ground_truth/<defect>/<stem>_mask.png (MVTec layout).
"""


class DefectResult(msgspec.Struct, frozen=True):
    """One class of defects against all good parts. rejected: at the threshold."""

    n: int
    image_auroc: float
    rejected: int


class Rate(msgspec.Struct, frozen=True):
    """count of n, with exact 95 % limits of the rate behind it (Clopper-Pearson)."""

    count: int
    n: int
    low: float
    high: float


class Evaluation(msgspec.Struct, frozen=True):
    """The figures of one model on one test set. Image figures are of raw scores; a refused image counts as +inf.

    image_auroc_low, _high: 95 % bootstrap interval. f1_max: at the best threshold for this very test set, an upper
    bound. escapes: defects passed. refused: path and reason; these and `without_mask` are not in the pixel figures.
    """

    image_auroc: float
    image_auroc_low: float
    image_auroc_high: float
    pixel_auroc: float
    aupro: float
    f1_max: float
    n_good: int
    n_defect: int
    threshold: float
    false_rejects: Rate
    escapes: Rate
    per_defect: dict[str, DefectResult]
    refused: tuple[str, ...]
    without_mask: tuple[str, ...]


def evaluate(model: Model, photographs: Sequence[Photograph], progress: Progress, seed: int = 0) -> Evaluation:
    """Reads every test part as the device would. seed: of the bootstrap. Memory: one native map per photograph."""
    readings = [model.read(load_original(p, model.contract)) for p in progress.track(photographs, "inspection")]
    policy = Policy(model.calibration.threshold)
    raw = np.array([r.raw if isinstance(r, Prediction) else np.inf for r in readings])
    rejected = np.array([decide(r, policy).outcome is Outcome.REJECT for r in readings])
    defect = np.array([p.defect or "" for p in photographs])
    good = defect == ""
    curves, without_mask = _pixel_curves(model.contract, photographs, readings, progress)
    interval = bootstrap_interval(raw[good], raw[~good], seed)
    return Evaluation(
        image_auroc=image_auroc(raw[good], raw[~good]),
        image_auroc_low=interval.low,
        image_auroc_high=interval.high,
        pixel_auroc=curves.pixel_auroc() if curves else float("nan"),
        aupro=curves.aupro() if curves else float("nan"),
        f1_max=f1_max(raw[good], raw[~good]),
        n_good=int(good.sum()),
        n_defect=int((~good).sum()),
        threshold=model.calibration.threshold,
        false_rejects=_rate(rejected[good]),
        escapes=_rate(~rejected[~good]),
        per_defect={
            str(name): DefectResult(
                int((defect == name).sum()), image_auroc(raw[good], raw[defect == name]), int(rejected[defect == name].sum())
            )
            for name in np.unique(defect[~good])
        },
        refused=tuple(f"{p.path}: {r.reason}" for p, r in zip(photographs, readings, strict=True) if isinstance(r, Fault)),
        without_mask=without_mask,
    )


def _pixel_curves(
    contract: InputContract, photographs: Sequence[Photograph], readings: Sequence[Reading], progress: Progress
) -> tuple[PixelCurves | None, tuple[str, ...]]:
    """The curves over all images with a map and a mask, None when there is none; and those without a mask."""
    pairs: list[tuple[Photograph, AnomalyMap]] = []
    without_mask = []
    for photograph, reading in zip(photographs, readings, strict=True):
        if isinstance(reading, Prediction) and read_mask(photograph) is not None:
            pairs.append((photograph, reading.anomaly_map))
        elif isinstance(reading, Prediction):
            without_mask.append(str(photograph.path))
    if not pairs:
        return None, tuple(without_mask)

    def enlarged() -> Iterator["NDArray[np.float32]"]:
        for photograph, anomaly_map in pairs:
            yield enlarge(anomaly_map, (photograph.width, photograph.height), contract)

    curves = PixelCurves(score_edges(enlarged()))
    for (photograph, _), anomaly_map in zip(progress.track(pairs, "pixel figures"), enlarged(), strict=True):
        mask = read_mask(photograph)
        assert mask is not None
        curves.add(anomaly_map, mask)
    return curves, tuple(without_mask)


def _rate(happened: "NDArray[np.bool_]") -> Rate:
    count, n = int(happened.sum()), len(happened)
    interval: Interval = binomial_interval(count, n)
    return Rate(count, n, interval.low, interval.high)


def table(evaluation: Evaluation) -> str:
    """The figures for people."""
    e = evaluation
    lines = [
        f"{'image AUROC':<14}{100 * e.image_auroc:6.2f}  ({100 * e.image_auroc_low:.1f} to "
        f"{100 * e.image_auroc_high:.1f}, 95 % bootstrap)",
        f"{'pixel AUROC':<14}{100 * e.pixel_auroc:6.2f}",
        f"{'AU-PRO @ 0.3':<14}{100 * e.aupro:6.2f}",
        f"{'F1 max':<14}{100 * e.f1_max:6.2f}  (best threshold for this test set, an upper bound)",
        f"at the threshold {e.threshold:.6g}:",
        f"  good parts rejected  {_as_text(e.false_rejects)}",
        f"  defects passed       {_as_text(e.escapes)}",
        f"{'defect':<28}{'parts':>6}{'AUROC':>8}{'rejected':>10}",
    ]
    lines += [f"  {name:<26}{d.n:>6}{100 * d.image_auroc:>8.2f}{d.rejected:>10}" for name, d in e.per_defect.items()]
    if e.refused:
        lines += [f"{len(e.refused)} refused, counted as rejected:", *(f"  {reason}" for reason in e.refused[:10])]
    if e.without_mask:
        lines.append(f"{len(e.without_mask)} without a mask or with an empty one, not in the pixel figures")
    return "\n".join(lines)


def _as_text(rate: Rate) -> str:
    return f"{rate.count} of {rate.n} = {100 * rate.count / max(rate.n, 1):.1f} % ({100 * rate.low:.1f} to {100 * rate.high:.1f})"


def open_trained(folder: Path, runtime: str | None, stack: ExitStack) -> tuple[Model, dict[str, str]]:
    """The model in a RUN or a bundle, and the parts it must not be tested with (sha256 to path; a bundle knows none).

    runtime: None is torch for a RUN and the bundle's first for a bundle. The model works until `stack` is closed.
    """
    if (folder / MANIFEST).is_file():
        if runtime == "torch":
            raise BundleError(f"{folder}: a bundle is not run by torch; choose --runtime onnxruntime or openvino")
        bundle = open_bundle(folder)
        artifact = bundle.artifact_for([runtime]) if runtime else bundle.manifest.artifacts[0]
        config = section("agent.runtimes", {"type": artifact.runtime})
        opened = stack.enter_context(config.open(bundle.path(artifact.files[0])))
        return Model(bundle.manifest.input, opened, artifact.calibration), {}
    from training.graph import TorchRuntime
    from training.run import RunError, open_run

    if runtime not in (None, "torch"):
        raise RunError(f"{folder}: a RUN is run by torch only; `kensa export` makes a bundle for {runtime}")
    run = open_run(folder)
    seen = {file.sha256: f"{run.record.data}/{file.path}" for file in run.record.files}
    return Model(run.record.input, TorchRuntime(run.deployed), run.record.calibration), seen


def refuse_seen(photographs: Sequence[Photograph], seen: dict[str, str]) -> None:
    """Raises DataError where a test part was in the fit."""
    leaked = [f"{p.path} is {seen[p.sha256]}" for p in photographs if p.sha256 in seen]
    if leaked:
        raise DataError(f"{len(leaked)} test photograph(s) were in the fit: {'; '.join(leaked[:5])}")


def evaluate_command(arguments: list[str]) -> int:
    """`kensa evaluate`: 0 done, 2 a mistake that the message names, 130 interrupted."""
    options = _parser().parse_args(arguments)
    try:
        with ExitStack() as stack:
            model, seen = open_trained(options.model, options.runtime, stack)
            photographs = unseen_parts(options.data)
            refuse_seen(photographs, seen)
            evaluation = evaluate(model, photographs, progress_on(sys.stderr))
        if options.json is not None:
            write_json(options.json, evaluation)
        print(table(evaluation))
    except KeyboardInterrupt:
        print("kensa evaluate: interrupted, nothing was written", file=sys.stderr)
        return 130
    except _expected_errors() as e:
        print(f"kensa evaluate: {e}", file=sys.stderr)
        return 2
    return 0


def write_json(file: Path, evaluation: Evaluation) -> None:
    """All of it or nothing; what is not a number becomes null."""
    unfinished = file.with_name(f".{file.name}-{os.getpid()}")
    try:
        unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(evaluation), indent=1) + b"\n")
        unfinished.replace(file)
    except OSError as e:
        raise DataError(f"{file}: cannot be written: {e.strerror}") from e
    finally:
        unfinished.unlink(missing_ok=True)


def _expected_errors() -> tuple[type[Exception], ...]:
    """Mistakes that a message explains; known only once torch is loaded."""
    from training.run import RunError

    return (DataError, BundleError, SectionError, RefusedImageError, InferenceError, RunError)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kensa evaluate",
        description="Judges the test parts as the device would, and says how well.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, metavar="RUN_or_BUNDLE")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="a data set with test/")
    parser.add_argument("--runtime", choices=("torch", "onnxruntime", "openvino"), help="default: torch for a RUN")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures, for machines")
    return parser
