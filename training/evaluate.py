"""The one touch of the test set: what a model finds, misses and wrongly rejects at the threshold it will run with."""

import argparse
import hashlib
import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from agent.bundle import MANIFEST, Artifact, Bundle, BundleError, Provenance, open_bundle
from agent.clock import utc_now
from agent.decide import Policy, decide
from agent.drivers import section
from agent.inspection import Fault, Outcome, Reading
from agent.model import Model
from agent.preprocess import InputContract, enlarge
from agent.tiled import tiled
from agent.watch import Usual, what_is_wrong
from training.comparison import comparison
from training.data import DataError, Photograph, load_original, load_original_depth, unseen_parts
from training.drawings import read_mask, read_regions
from training.evaluation import LOCO_KINDS, SENSITIVITY_LIMITS, Evaluation, Origin, PartResult, write_file, write_json
from training.figures import figures
from training.findings import table
from training.pixel_metrics import PixelCurves, score_edges
from training.progress import Progress, progress_on

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EPILOG = """example:
  kensa evaluate runs/tire --data data/tire --json tire.json --report tire.html
  kensa evaluate bundles/tire --data data/tire --artifact openvino-int8
  kensa evaluate runs/new --data data/tire --against runs/old

DATA has test/good/, test/<defect>/ and ground_truth/<defect>/<stem>_mask.png (MVTec layout).
"""


class Trained(NamedTuple):
    """An opened RUN or bundle. seen: parts it must not be tested with, what each is by its sha256. usual: how good parts look.

    artifact: of a bundle.
    """

    model: Model
    seen: dict[str, str]
    runtime: str
    provenance: Provenance
    sensitivity_limits: tuple[float, float] = SENSITIVITY_LIMITS
    usual: Usual | None = None
    artifact: Artifact | None = None

    @property
    def precision(self) -> str:
        floats = self.model.runtime.executed_precision
        return floats if self.artifact is None else self.artifact.computes_in(floats)

    @property
    def title(self) -> str:
        return f"{self.artifact.name if self.artifact else self.runtime}, computed in {self.precision}"


def evaluate(
    model: Model,
    photographs: Sequence[Photograph],
    progress: Progress,
    seed: int = 0,
    sensitivity_limits: tuple[float, float] = SENSITIVITY_LIMITS,
    usual: Usual | None = None,
) -> Evaluation:
    """Reads every test part as the device would. seed: of the bootstrap. sensitivity_limits: of the model's bundle.

    usual: how good parts look; what is not like that is not inspected (agent/watch.py). None: every part is.
    Memory: the scores, one map and the curves' counts (20 MB in all); the native maps wait in a temporary file.
    """
    with TemporaryFile() as maps:
        parts, latencies_ms, drawn = [], [], []
        for photograph in progress.track(photographs, "inspection"):
            image, depth = load_original(photograph, model.contract), load_original_depth(photograph, model.contract)
            wrong = "" if usual is None else what_is_wrong(image, usual)
            start = time.perf_counter()
            reading = Fault(wrong) if wrong else model.read(image, depth)
            if not isinstance(reading, Fault):  # which may have taken no time at all
                latencies_ms.append(1000 * (time.perf_counter() - start))
            part = _part_result(photograph, reading, model)
            parts.append(part)
            if not isinstance(reading, Fault) and part.defect_share is not None:
                drawn.append(photograph)
                np.save(maps, reading.anomaly_map, allow_pickle=False)
        curves, saturated = _pixel_curves(model.contract, drawn, maps, progress)
    return figures(model.calibration, parts, curves, saturated, latencies_ms, seed, sensitivity_limits)


def _part_result(photograph: Photograph, reading: Reading, model: Model) -> PartResult:
    mask = read_mask(photograph)
    fault = reading.reason if isinstance(reading, Fault) else None
    raw, score = (float("inf"),) * 2 if isinstance(reading, Fault) else (reading.raw, reading.score)
    rejected = decide(reading, Policy(model.calibration.threshold)).outcome is Outcome.REJECT
    share = float(mask.mean()) if mask is not None and (mask.any() or photograph.defect is None) else None
    return PartResult(str(photograph.path), photograph.defect, raw, score, rejected, fault, share)


def _pixel_curves(
    contract: InputContract, photographs: Sequence[Photograph], maps: IO[bytes], progress: Progress
) -> tuple[PixelCurves, dict[str, PixelCurves]]:
    """The curves over all photographs, and those over the regions of each kind of anomaly (MVTec LOCO) and the good parts.

    maps: the native maps of the photographs, saved in their order.
    """

    def enlarged() -> Iterator["NDArray[np.float32]"]:
        maps.seek(0)
        for photograph in photographs:
            native = np.load(maps, allow_pickle=False)
            yield enlarge(native, (photograph.width, photograph.height), contract)

    edges = score_edges(enlarged()) if photographs else np.zeros(1, np.float32)
    curves = PixelCurves(edges)
    saturated = {kind: PixelCurves(edges) for kind in LOCO_KINDS if any(p.defect == kind and p.regions for p in photographs)}
    for photograph, anomaly_map in zip(progress.track(photographs, "pixel figures"), enlarged(), strict=True):
        mask = read_mask(photograph)
        assert mask is not None
        curves.add(anomaly_map, mask)
        regions = [(region, area) for region, area in read_regions(photograph) if region.any()]
        for kind in saturated.keys() if photograph.defect is None else saturated.keys() & {photograph.defect}:
            saturated[kind].add_regions(anomaly_map, regions)
    return curves, saturated


def open_trained(folder: Path, runtime: str | None, stack: ExitStack, name: str | None = None) -> Trained:
    """The model in a RUN or a bundle; it works until `stack` is closed.

    runtime: None is torch for a RUN and the bundle's first for a bundle. name: of a bundle's artefact, None for the first.
    """
    if (folder / MANIFEST).is_file():
        if runtime == "torch":
            raise BundleError(f"{folder}: a bundle is not run by torch; choose --runtime onnxruntime or openvino")
        bundle = open_bundle(folder)
        artifact = _artifact(bundle, runtime, name)
        config = section("agent.runtimes", {"type": artifact.runtime})
        opened = stack.enter_context(config.open(bundle.path(artifact.files[0])))
        model = Model(bundle.manifest.input, tiled(opened, bundle.manifest.input), artifact.calibration)
        seen = {digest: f"one of the fit ({role})" for digest, role in bundle.manifest.photographs.items()}
        manifest = bundle.manifest
        return Trained(model, seen, artifact.runtime, manifest.provenance, manifest.sensitivity_limits, manifest.usual, artifact)
    from training.graph import TorchRuntime
    from training.run import RunError, open_run

    if runtime not in (None, "torch"):
        raise RunError(f"{folder}: a RUN is run by torch only; `kensa export` makes a bundle for {runtime}")
    if name is not None:
        raise RunError(f"{folder}: a RUN has no artefacts such as {name}; `kensa export` makes a bundle, which has")
    run = open_run(folder)
    seen = {file.sha256: f"{run.record.data}/{file.path}" for file in run.record.files}
    model = Model(run.record.input, tiled(TorchRuntime(run.deployed), run.record.input), run.record.calibration)
    return Trained(model, seen, "torch", run.provenance, usual=run.record.usual)


def _artifact(bundle: Bundle, runtime: str | None, name: str | None) -> Artifact:
    """Raises BundleError where there is none of this runtime and name."""
    if name is None:
        return bundle.artifact_for([runtime or "auto"])
    fitting = [one for one in bundle.manifest.artifacts if one.name == name and runtime in (None, one.runtime)]
    if not fitting:
        has = ", ".join(one.name for one in bundle.manifest.artifacts)
        run_by = f" for runtime {runtime}" if runtime else ""
        raise BundleError(f"{bundle.folder}: no artefact {name}{run_by}; the bundle has: {has}")
    return fitting[0]


def refuse_seen(photographs: Sequence[Photograph], seen: dict[str, str]) -> None:
    """Raises DataError where a test part was in the fit."""
    leaked = [f"{p.path} is {seen[p.sha256]}" for p in photographs if p.sha256 in seen]
    if leaked:
        raise DataError(f"{len(leaked)} test photograph(s) were in the fit: {'; '.join(leaked[:5])}")


def origin_of(trained: Trained, folder: Path, data: Path, photographs: Sequence[Photograph]) -> Origin:
    """What an evaluation of these parts, made now and here, must say of its origin."""
    tested = sorted(f"{p.defect or 'good'} {p.sha256}" for p in photographs)
    return Origin(
        model=str(folder),
        data=str(data),
        test_sha256=hashlib.sha256("\n".join(tested).encode()).hexdigest(),
        runtime=trained.runtime,
        precision=trained.precision,
        machine=f"{_processor()}, {os.cpu_count()} CPUs, {platform.system()}",
        evaluated_at=utc_now(),
        versions={name: importlib.metadata.version(name) for name in ("kensa", "numpy", trained.runtime)},
        provenance=trained.provenance,
        artifact=trained.artifact.name if trained.artifact else "",
    )


def _processor() -> str:
    """Its name where the system tells it, else its architecture."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def evaluate_command(arguments: list[str]) -> int:
    """`kensa evaluate`. Raises InputError, OutageError."""
    options = _parser().parse_args(arguments)
    with ExitStack() as stack:
        trained = open_trained(options.model, options.runtime, stack, options.artifact)
        progress = progress_on(sys.stderr)
        photographs = unseen_parts(options.data, progress)
        other = None if options.against is None else open_trained(options.against, None, stack)
        for opened in (trained, *([other] if other else [])):
            refuse_seen(photographs, opened.seen)
        found = _judged(trained, options.model, photographs, progress)
        origin = origin_of(trained, options.model, options.data, photographs)
        evaluation = msgspec.structs.replace(found, origin=origin)
        print(f"{options.model}: {trained.title}")
        print(table(evaluation))  # first: a file that cannot be written must not cost the figures
        if other is not None:
            against = f"{options.against} ({other.title})"
            print(comparison(found, _judged(other, options.against, photographs, progress), against))
        if options.json is not None:
            write_json(options.json, evaluation)
        if options.report is not None:
            from training.picture import pictures
            from training.report import page

            shown = pictures(evaluation, photographs, trained.model)
            write_file(options.report, page(evaluation, origin, shown).encode())
    return 0


def _judged(trained: Trained, folder: Path, photographs: Sequence[Photograph], progress: Progress) -> Evaluation:
    """Raises DataError where no part could be inspected."""
    limits, usual = trained.sensitivity_limits, trained.usual
    found = evaluate(trained.model, photographs, progress, sensitivity_limits=limits, usual=usual)
    if len(found.refused) == len(found.parts):
        raise DataError(f"{folder}: none of {len(found.parts)} test pictures could be inspected, such as {found.refused[0]}")
    return found


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
    parser.add_argument("--artifact", metavar="NAME", help="of a bundle, such as openvino-int8; default: the runtime's first")
    parser.add_argument("--against", type=Path, metavar="RUN_or_BUNDLE", help="another model: which one is better on these parts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures, for machines")
    parser.add_argument("--report", type=Path, metavar="FILE", help="the figures, for people: one HTML page to read or print")
    return parser
