"""A run becomes a bundle: artefacts exported, compared with the trained model, calibrated each on its own, and sealed."""

import argparse
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.bundle import Artifact, BundleError, Manifest, open_bundle, seal
from agent.calibration import Calibration, CalibrationError, calibrate, explain
from agent.clock import utc_now
from agent.drivers import section
from agent.inspection import Depth, Image
from agent.preprocess import prepare, prepare_depth, read_depth, read_image, to_8_bit
from agent.tiled import tiled
from export.parity import Answer, ParityError, answers, compare
from training.graph import TorchRuntime
from training.run import Run, RunError, open_run

_UNFINISHED = ".unfinished-"


@dataclass(frozen=True, slots=True)
class _Reference:
    """The trained model's answers on the run's golden images, then its calibration images, and the unit of deviations."""

    images: list[Image]
    depths: list[Depth] | None
    n_golden: int
    answers: list[Answer]
    scale: float


def export(run: Run, out: Path, name: str) -> Manifest:
    """Writes the bundle `out`, whole or not at all. Raises ParityError, CalibrationError, BundleError."""
    from export.to_onnx import to_onnx
    from export.to_openvino import to_openvino

    with _unfinished(out) as folder:
        artifacts = folder / "artifacts"
        artifacts.mkdir()
        to_onnx(run.deployed, run.record.input, artifacts / "model.onnx")
        to_openvino(artifacts / "model.onnx", artifacts / "model.xml")
        golden = _copy_golden(run, folder)
        reference = _reference(run)
        manifest = Manifest(
            schema="",
            bundle_id="",
            name=name,
            created=utc_now(),
            input=run.record.input,
            artifacts=(
                _artifact(run, folder, "onnx-f32", "onnxruntime", ("artifacts/model.onnx",), reference),
                _artifact(run, folder, "openvino-f32", "openvino", ("artifacts/model.xml", "artifacts/model.bin"), reference),
            ),
            golden=golden,
            provenance=run.provenance,
            files={},
        )
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
    parser.add_argument("--name", help="what operators will read; the folder's name without it")
    options = parser.parse_args(arguments)
    try:
        if options.out.exists():
            raise BundleError(f"{options.out}: exists already; choose another --out or remove it")
        manifest = export(open_run(options.run), options.out, options.name or options.out.name)
    except (ParityError, CalibrationError, RunError) as e:
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
        f"  {a.name:14s} {a.parity.executed_precision:5s} deviates from torch by {a.parity.score_deviation:.1e} of (threshold - "
        f"median) in score, {a.parity.map_deviation:.1e} of its range in map, over {a.parity.images} images\n"
        + textwrap.indent(explain(a.calibration), "    ")
        for a in manifest.artifacts
    ]
    return "\n".join([f"bundle {manifest.bundle_id[:12]} {manifest.name}", *rows])


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
    try:
        folder.mkdir(parents=True)
        yield folder
        folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy_golden(run: Run, folder: Path) -> tuple[str, ...]:
    (folder / "reference").mkdir()
    for path in run.golden:
        shutil.copyfile(path, folder / "reference" / path.name)
        if run.record.input.depth:
            shutil.copyfile(path.with_suffix(".tiff"), folder / "reference" / f"{path.stem}.tiff")
    return tuple(f"reference/{path.name}" for path in run.golden)


def _reference(run: Run) -> _Reference:
    contract = run.record.input
    golden = [to_8_bit(read_image(path), contract.white_level) for path in run.golden]
    images, depths = [*(prepare(image, contract) for image in golden), *run.calibration_images], None
    if run.calibration_depths is not None:
        sizes = [(image.shape[1], image.shape[0]) for image in golden]
        of_golden = [read_depth(path.with_suffix(".tiff")) for path in run.golden]
        prepared = [prepare_depth(depth, size, contract) for depth, size in zip(of_golden, sizes, strict=True)]
        depths = [*prepared, *run.calibration_depths]
    found = answers(tiled(TorchRuntime(run.deployed), contract), images, depths)
    return _Reference(images, depths, len(golden), found, run.record.calibration.scale)


def _artifact(run: Run, folder: Path, name: str, runtime: str, files: tuple[str, ...], reference: _Reference) -> Artifact:
    """The artefact with its own golden scores, threshold and parity, all from running it as the device will."""
    with section("agent.runtimes", {"type": runtime}).open(folder / files[0]) as opened:
        found = answers(tiled(opened, run.record.input), reference.images, reference.depths)
        parity = compare(name, reference.answers, found, reference.scale, opened.executed_precision)
    n_golden = reference.n_golden
    table: Calibration = calibrate(
        np.array([answer.raw for answer in found[n_golden:]], dtype=np.float32),
        run.record.calibration.wished_rate,
        run.record.calibration.confidence,
    )
    golden_raw = tuple(answer.raw for answer in found[:n_golden])
    return Artifact(name, runtime, "f32", files, table, parity, golden_raw)
