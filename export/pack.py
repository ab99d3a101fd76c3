"""A run becomes a bundle: artefacts exported, compared with the trained model, calibrated each on its own, and sealed."""

import fcntl
import importlib.metadata
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from agent.bundle import LONGEST_NAME, Artifact, BundleError, Manifest, Provenance, open_bundle, seal, sha256
from agent.clock import utc_now
from export.artifact import Reference, answered, artifact, reference_of
from export.bom import bill_of
from export.budget import within
from export.lower import Lowered, lower
from export.model_card import model_card
from export.onnx_metadata import write_onnx_metadata
from export.parity import compare
from export.to_onnx import to_onnx
from export.to_openvino import to_openvino
from training.progress import UNWATCHED, Progress
from training.run import Run

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
    """Writes the bundle `out`, whole or not at all. also: lower precisions to try (export/export_command.py: PRECISIONS).
    within_ms: time that a float32 graph may take on this machine, for which a memory bank is made smaller (export/budget.py).

    Raises ParityError, CalibrationError, BundleError and, where lower precisions need the training photographs, DataError.
    """
    if len(name) > LONGEST_NAME:
        raise BundleError(f"a name of {len(name)} characters, expected at most {LONGEST_NAME}: choose a shorter --name")
    if within_ms is not None:
        run = within(run, within_ms)
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
        lowered = lower(run, folder, floats, reference, also) if also else Lowered((), (), None)
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


@contextmanager
def _unfinished(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its name when the block ends well and is removed when not."""
    _remove_left_over(out)
    folder = out.parent / f"{_UNFINISHED}{out.name}-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)  # of a dead process that had our number, as in a container
    try:
        folder.mkdir(parents=True)
        with _held(folder):
            yield folder
            folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_left_over(out: Path) -> None:
    """What exports of this bundle left that were killed; two may be at work at once, and the first that is done wins."""
    for folder in out.parent.glob(f"{_UNFINISHED}*"):
        if folder.name.removeprefix(f"{_UNFINISHED}{out.name}-").isdecimal() and not _is_held(folder):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The folder's lock, which goes with the process, whatever ends that."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _is_held(folder: Path) -> bool:
    """Whether a process is at work in it, or nobody can tell."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # it has just taken its name
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


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


def _float_artifact(
    run: Run, folder: Path, name: str, runtime: str, files: tuple[str, ...], reference: Reference, progress: Progress
) -> Artifact:
    """A float32 artefact. Raises ParityError where it does not compute what the trained model computes."""
    found, executed = answered(run, folder / files[0], runtime, progress.track(reference.images, name), reference.depths)
    parity = compare(name, reference.answers, found, reference.calibration, executed)
    return artifact(run, (name, runtime, "f32"), files, found, reference.n_golden, parity)
