"""The RUN folder: a fitted model with everything that export and evaluation must know of it, whole or not there."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from agent.bundle import Provenance, sha256
from agent.calibration import Calibration
from agent.drivers import SectionError, convert, driver
from agent.error import InputError
from agent.preprocess import InputContract
from agent.watch import Usual
from agent.whole_file import sync, write_whole
from training.backbone import Backbone, BackboneError
from training.golden import GOLDEN, golden_of
from training.graph import Deployed
from training.methods import MethodConfig

SCHEMA_MAJOR, SCHEMA_MINOR = 1, 2
RECORD, MODEL, CALIBRATION = "run.json", "model.safetensors", "calibration.npy"
CALIBRATION_DEPTH = "calibration_depth.npy"
_UNFINISHED = ".unfinished-"


class RunError(InputError):
    """A RUN that cannot be used or written; the message says which file and what to do."""


class UsedFile(msgspec.Struct, frozen=True):
    """A photograph the model has seen."""

    role: Literal["train", "calibration"]
    path: str
    sha256: str


class Record(msgspec.Struct, frozen=True):
    """What a RUN is, in run.json.

    settings: of the method. weights: where they came from. calibration: of torch's raw scores on calibration.npy, whose
    rows are in the order of the calibration files. left_out: photographs equal to another one. usual: how the
    calibration photographs look. backbone: timm's name; backbone_options: given to it. content: sha256 of every other file of
    the RUN, filled in by `seal`.
    """

    method: str
    settings: dict[str, Any]
    backbone: str
    weights: str
    weights_sha256: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    input: InputContract
    seed: int
    data: str
    data_sha256: str
    files: tuple[UsedFile, ...]
    calibration: Calibration
    versions: dict[str, str]
    left_out: tuple[str, ...] = ()
    usual: Usual | None = None
    weights_licence: str = "unknown"
    backbone_options: dict[str, Any] = {}
    content: dict[str, str] = {}
    schema: str = f"{SCHEMA_MAJOR}.{SCHEMA_MINOR}"


@dataclass(frozen=True, slots=True)
class Run:
    """An opened RUN: hashes checked, the model ready in eval mode."""

    folder: Path
    record: Record
    deployed: Deployed

    @property
    def provenance(self) -> Provenance:
        """What a bundle and a report say of where the model comes from."""
        return Provenance(
            method=self.record.method,
            backbone=self.record.backbone,
            weights=self.record.weights,
            weights_sha256=self.record.weights_sha256,
            data_sha256=self.record.data_sha256,
            model_sha256=self.record.content[MODEL],
            seed=self.record.seed,
            n_train=sum(file.role == "train" for file in self.record.files),
            versions=self.record.versions,
            weights_licence=self.record.weights_licence,
            settings=self.record.settings,
        )

    @property
    def calibration_images(self) -> NDArray[np.uint8]:
        """(N, H, W, 3) uint8 network inputs, read-only and on disk."""
        images: NDArray[np.uint8] = np.load(self.folder / CALIBRATION, mmap_mode="r", allow_pickle=False)
        return images

    @property
    def calibration_depths(self) -> NDArray[np.float32] | None:
        """(N, H, W) float32 metres, of the calibration images of a model that needs depth; read-only and on disk."""
        if not self.record.input.depth:
            return None
        depths: NDArray[np.float32] = np.load(self.folder / CALIBRATION_DEPTH, mmap_mode="r", allow_pickle=False)
        return depths

    @property
    def golden(self) -> tuple[Path, ...]:
        """Photographs at their own size for parity and self-test, good ones first."""
        return golden_of(self.folder)


def method_config(name: str, settings: dict[str, Any]) -> MethodConfig:
    """The method's settings, checked. Raises SectionError, with path `method` or `settings`."""
    try:
        module = driver("training.methods", name)
    except SectionError as e:
        raise SectionError(str(e).replace("type ", "method ", 1), "method") from e
    try:
        config: MethodConfig = convert(settings, module.Config)
    except SectionError as e:
        raise SectionError(str(e), "settings", *e.path) from e
    return config


def refuse_existing(out: Path, overwrite: bool) -> None:
    """Raises RunError where `out` is in the way or has no name of its own; asked before hours of work."""
    if out.name in ("", ".."):
        raise RunError(f"{out}: no name for a RUN, which is written beside its place first; give a folder's name as --out")
    if out.exists() and not overwrite:
        raise RunError(f"{out}: exists already; choose another --out, or --overwrite to replace it")
    if out.exists() and not (out / RECORD).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out}: is no RUN, so --overwrite will not replace it; choose another --out")


@contextmanager
def unfinished(out: Path, overwrite: bool) -> Iterator[Path]:
    """A folder beside `out` that takes its name when the block ends well, and is removed when it does not."""
    refuse_existing(out, overwrite)
    _remove_left_over(out)
    folder = out.parent / f"{_UNFINISHED}{out.name}-{os.getpid()}"
    try:
        (folder / GOLDEN).mkdir(parents=True)
        yield folder
        if out.exists():
            old = folder.with_name(f"{folder.name}-old")
            out.rename(old)
            folder.rename(out)
            shutil.rmtree(old)
        else:
            folder.rename(out)
    except OSError as e:
        raise RunError(f"{out}: cannot be written: {e.strerror or e}") from e
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_left_over(out: Path) -> None:
    """What fits of this RUN left that were killed; the caller is the only one at work on it (training/checkpoints.py)."""
    for folder in out.parent.glob(f"{_UNFINISHED}*"):
        if folder.name.removeprefix(f"{_UNFINISHED}{out.name}-").isdecimal():
            shutil.rmtree(folder, ignore_errors=True)


def write_model(folder: Path, deployed: Deployed) -> None:
    """Every parameter and buffer of the graph, backbone included."""
    state = {key: value.contiguous() for key, value in deployed.state_dict().items()}
    try:
        save_file(state, folder / MODEL)
    except SafetensorError as e:  # its only way to say that the disk is full
        raise RunError(f"{folder / MODEL}: cannot be written: {e}") from e


def seal(folder: Path, record: Record) -> Record:
    """Hashes every file and writes run.json last."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    for name in names:
        sync(folder / name)
    sealed = msgspec.structs.replace(record, content={name: sha256(folder / name) for name in names})
    write_whole(folder / RECORD, msgspec.json.format(msgspec.json.encode(sealed), indent=1))
    return sealed


def open_run(folder: Path) -> Run:
    """The RUN in `folder`, checked file by file. Raises RunError."""
    if folder.resolve().name.startswith(_UNFINISHED):
        raise RunError(f"{folder}: left over from a fit that was cut off; remove it and fit again")
    record = read_record(folder)
    for name, expected in record.content.items():
        path = folder / name
        if not path.is_file():
            raise RunError(f"{path}: missing; copy the RUN again or fit again")
        if (found := sha256(path)) != expected:
            raise RunError(f"{path}: sha256 {found[:12]}…, {RECORD} says {expected[:12]}…: changed or cut off")
    try:
        config = method_config(record.method, record.settings)
        backbone = Backbone(record.backbone, record.backbone_options, config.levels)
        deployed = Deployed(config.build(backbone, record.seed), record.mean, record.std, record.input)
        deployed.load_state_dict(load_file(folder / MODEL))
    except (SectionError, BackboneError, RuntimeError, SafetensorError) as e:
        raise RunError(f"{folder}: does not fit this version of Kensa, timm or torch; fit again: {e}") from e
    return Run(folder, record, deployed.eval())


def read_record(folder: Path) -> Record:
    """run.json alone, its version checked. Raises RunError."""
    try:
        encoded = (folder / RECORD).read_bytes()
    except OSError as e:
        raise RunError(f"{folder}: no readable {RECORD} ({e.strerror}): not a RUN, or a fit that was cut off") from e
    try:
        schema = msgspec.json.decode(encoded, type=dict[str, msgspec.Raw]).get("schema", msgspec.Raw(b'"none"'))
        major = msgspec.json.decode(schema, type=str).split(".")[0]
        if major != str(SCHEMA_MAJOR):
            raise RunError(f"{folder / RECORD}: schema major version {major!r}, this Kensa reads {SCHEMA_MAJOR}: fit again")
        record = msgspec.json.decode(encoded, type=Record)
    except msgspec.DecodeError as e:
        raise RunError(f"{folder / RECORD}: {e}") from e
    if MODEL not in record.content or CALIBRATION not in record.content:
        raise RunError(f"{folder / RECORD}: lists no {MODEL} or no {CALIBRATION}: fit again")
    return record
