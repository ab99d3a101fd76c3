"""A run becomes a bundle: artefacts exported, compared with the trained model, calibrated each on its own, and sealed."""

import argparse
import importlib.metadata
import logging
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from agent.bundle import Artifact, BundleError, GateRecord, Manifest, Provenance, open_bundle, seal, sha256
from agent.calibration import CalibrationError, explain
from agent.clock import utc_now
from export.artifact import Reference, answered, artifact, reference_of
from export.bom import bill_of
from export.model_card import model_card
from export.parity import ParityError, compare
from training.data import DataError
from training.progress import UNWATCHED, Progress, progress_on
from training.run import Run, RunError, open_run

if TYPE_CHECKING:
    from export.lower import Lowered

PRECISIONS = ("f16", "bf16", "int8")  # that may be tried beside float32
_TOOLS = ("onnx", "onnxruntime", "onnxscript", "openvino")
_UNFINISHED = ".unfinished-"


def export(
    run: Run,
    out: Path,
    name: str,
    also: Collection[str] = (),
    within_ms: float | None = None,
    progress: Progress = UNWATCHED,
) -> Manifest:
    """Writes the bundle `out`, whole or not at all. also: lower precisions to try (export/lower.py: PRECISIONS). within_ms: time
    that a float32 graph may take on this machine, for which a memory bank is made smaller (export/budget.py).

    Raises ParityError, CalibrationError, BundleError and, where lower precisions need the training photographs, DataError.
    """
    from export.onnx_metadata import write_onnx_metadata
    from export.to_onnx import to_onnx
    from export.to_openvino import to_openvino

    if within_ms is not None:
        run = _within(run, within_ms)
    with _unfinished(out) as folder:
        artifacts = folder / "artifacts"
        artifacts.mkdir()
        to_onnx(run.deployed, run.record.input, artifacts / "model.onnx")
        write_onnx_metadata(artifacts / "model.onnx", name, run.record.input, run.provenance)
        to_openvino(artifacts / "model.onnx", artifacts / "model.xml")
        golden = _copy_golden(run, folder)
        reference = reference_of(run, progress)
        floats = (
            _float_artifact(run, folder, "onnx-f32", "onnxruntime", ("artifacts/model.onnx",), reference, progress),
            _float_artifact(
                run, folder, "openvino-f32", "openvino", ("artifacts/model.xml", "artifacts/model.bin"), reference, progress
            ),
        )
        lowered = _lowered(run, folder, floats, reference, also)
        manifest = Manifest(
            schema="",
            bundle_id="",
            name=name,
            created=utc_now(),
            input=run.record.input,
            artifacts=(*floats, *lowered.artifacts),
            golden=golden,
            provenance=_provenance(run),
            files={},
            withheld=lowered.withheld,
            ptq=lowered.ptq,
            usual=run.record.usual,
            photographs={file.sha256: file.role for file in run.record.files},
        )
        _tell(folder, manifest)
        sealed = seal(folder, manifest)
        open_bundle(folder)
    return sealed


def export_command(arguments: list[str]) -> int:
    """`kensa export RUN --out BUNDLE`."""
    parser = argparse.ArgumentParser(
        prog="kensa export",
        description="Makes the bundle that a device runs: ONNX and OpenVINO artefacts, each compared with the trained model "
        "and calibrated on its own. No bundle is written when one deviates.",
        epilog="example: kensa export runs/cap --out bundles/cap",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a folder written by kensa fit")
    parser.add_argument("--out", type=Path, required=True, metavar="BUNDLE", help="the folder to write; must not exist")
    parser.add_argument(
        "--also",
        nargs="+",
        choices=PRECISIONS,
        default=(),
        metavar="PRECISION",
        help=f"lower precisions to try: {', '.join(PRECISIONS)}; each is shipped only if it passes the gate (minutes each)",
    )
    parser.add_argument(
        "--within-ms",
        type=float,
        metavar="MS",
        help="patchcore: the largest memory bank whose float32 OpenVINO graph takes at most so long on this machine",
    )
    parser.add_argument("--name", help="what operators will read; the folder's name without it")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("export").setLevel(logging.INFO)
    try:
        if options.out.exists():
            raise BundleError(f"{options.out}: exists already; choose another --out or remove it")
        name, progress = options.name or options.out.name, progress_on(sys.stderr)
        manifest = export(open_run(options.run), options.out, name, options.also, options.within_ms, progress)
    except (ParityError, CalibrationError, DataError, RunError) as e:
        raise BundleError(str(e)) from e
    except OSError as e:
        raise BundleError(f"{options.out}: cannot be written: {e.strerror or e}") from e
    print(describe(manifest))
    if warning := licence_warning(manifest.provenance.weights_licence):
        print(f"kensa export: {warning}", file=sys.stderr)
    return 0


def describe(manifest: Manifest) -> str:
    """The bundle in a few lines."""
    rows = [
        f"  {a.name:14s} {a.parity.executed_precision:5s} deviates from torch by {a.parity.score_deviation:.1e} of the way to "
        f"the threshold in score, {a.parity.map_deviation:.1e} of its range in map, over {a.parity.images} images\n"
        + textwrap.indent(explain(a.calibration), "    ")
        for a in manifest.artifacts
    ]
    gated: list[tuple[str, str, GateRecord | None]]
    gated = [(a.name, "shipped", a.gate) for a in manifest.artifacts if a.gate is not None]
    gated += [(w.name, f"withheld: {w.reason}", w.gate) for w in manifest.withheld]
    return "\n".join([f"bundle {manifest.bundle_id[:12]} {manifest.name}", *rows, *(_gate_table(gated) if gated else ())])


def _gate_table(gated: list[tuple[str, str, GateRecord | None]]) -> list[str]:
    """Each artefact of lower precision against float32, and what became of it."""
    rows = ["  against float32   rank corr.  worst shift  flips  AU-PRO  in low precision  time"]
    for name, fate, g in gated:
        if g is not None:
            rows.append(
                f"  {name:16s}  {g.spearman:10.4f}  {100 * g.worst_shift:9.2f} %  {g.flips:5d}  {g.aupro_change:+6.2f}  "
                f"{100 * g.low_macs:14.0f} %  {g.time_ratio:4.2f} x"
            )
        rows.append(f"    {name}: {fate}")
        if g is not None and g.bf16_layers:
            rows.append(f"    in bfloat16 instead: {', '.join(g.bf16_layers)}")
        if g is not None and g.float_layers:
            rows.append(f"    left in float: {', '.join(g.float_layers)}")
    return rows


def licence_warning(licence: str) -> str:
    """What to think of before a bundle earns money; empty where the backbone's licence allows it.

    >>> licence_warning("Apache-2.0")
    ''
    """
    if re.search(r"non-?commercial|\bNC\b|research", licence, re.IGNORECASE):
        return f"WARNING: the backbone's weights are {licence!r}: not for production; fit again with another --backbone"
    if licence == "unknown":
        return "the licence of the backbone's weights is not stated: make sure that it allows your use (see --backbone)"
    return ""


@contextmanager
def _unfinished(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its name when the block ends well and is removed when not."""
    folder = out.parent / f"{_UNFINISHED}{out.name}-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)  # of a dead process that had our number, as in a container
    try:
        folder.mkdir(parents=True)
        yield folder
        folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _provenance(run: Run) -> Provenance:
    """That of the RUN, and what made its files: other versions may give other bytes."""
    tools = {name: importlib.metadata.version(name) for name in _TOOLS}
    return msgspec.structs.replace(run.provenance, versions=run.provenance.versions | tools)


def _tell(folder: Path, manifest: Manifest) -> None:
    """For other tools: the model card and the bill of materials."""
    files = {name: sha256(folder / name) for one in manifest.artifacts for name in one.files}
    (folder / "README.md").write_text(model_card(manifest), encoding="utf-8")
    (folder / "bom.cdx.json").write_bytes(msgspec.json.format(msgspec.json.encode(bill_of(manifest, files)), indent=1))


def _copy_golden(run: Run, folder: Path) -> tuple[str, ...]:
    (folder / "reference").mkdir()
    for path in run.golden:
        shutil.copyfile(path, folder / "reference" / path.name)
        if run.record.input.depth:
            shutil.copyfile(path.with_suffix(".tiff"), folder / "reference" / f"{path.stem}.tiff")
    return tuple(f"reference/{path.name}" for path in run.golden)


def _within(run: Run, budget_ms: float) -> Run:
    from export.budget import within

    return within(run, budget_ms)


def _lowered(run: Run, folder: Path, floats: tuple[Artifact, ...], reference: Reference, also: Collection[str]) -> "Lowered":
    from export.lower import Lowered, lower

    return lower(run, folder, floats, reference, also) if also else Lowered((), (), None)


def _float_artifact(
    run: Run, folder: Path, name: str, runtime: str, files: tuple[str, ...], reference: Reference, progress: Progress
) -> Artifact:
    """A float32 artefact. Raises ParityError where it does not compute what the trained model computes."""
    found, executed = answered(run, folder / files[0], runtime, progress.track(reference.images, name), reference.depths)
    parity = compare(name, reference.answers, found, reference.calibration, executed)
    return artifact(run, (name, runtime, "f32"), files, found, reference.n_golden, parity)
