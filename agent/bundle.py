"""The bundle: what a workstation hands to a device. A folder whose manifest names every file with its hash, written last."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import msgspec

from agent.calibration import Calibration
from agent.error import InputError
from agent.preprocess import InputContract, looked_at
from agent.watch import Usual
from agent.whole_file import write_whole

SCHEMA_MAJOR, SCHEMA_MINOR = 1, 4
LONGEST_NAME = 200  # characters; verdicts carry it
MANIFEST = "manifest.json"
RESERVED = frozenset({MANIFEST, "SIGNATURE"})  # SIGNATURE: kept free for signing


class BundleError(InputError):
    """A bundle that must not run; the message says which file, what was expected and what to do."""


class Parity(msgspec.Struct, frozen=True):
    """How far an artefact is from the trained model, over the golden and the calibration images.

    score_deviation: `Calibration.deviation`. map_deviation: in units of the maps' range.
    executed_precision: read back from the compiled model.
    """

    images: int
    score_deviation: float
    map_deviation: float
    tolerance: float
    executed_precision: str


class GateRecord(msgspec.Struct, frozen=True):
    """What an artefact of lower precision was found to be, against the float one, on good and synthetically damaged parts.

    images: how many. spearman: rank correlation of the raw scores. worst_shift: of a raw score, as a share of the float
    scores' range. flips: other decisions, each artefact at its own threshold. map_change: largest of the mean deviations of a
    map, as a share of the float maps' range. aupro_change: points of AU-PRO on the damaged parts. low_macs: share of all
    multiplications that the compiled model computes in the artefact's precision. time_ratio: to the fastest float artefact
    of the same runtime, on the exporting machine. float_layers: blocks of the network left in float. failures: what it does
    not keep, in words. bf16_layers: blocks in bfloat16 where the precision is INT8.
    """

    images: int
    spearman: float
    worst_shift: float
    flips: int
    flips_allowed: int
    map_change: float
    aupro_change: float
    low_macs: float
    time_ratio: float
    float_layers: tuple[str, ...]
    failures: tuple[str, ...] = ()
    bf16_layers: tuple[str, ...] = ()


class Withheld(msgspec.Struct, frozen=True):
    """An artefact that was made, measured and left out; gate.failures says why. None where it could not be made: reason."""

    name: str
    runtime: str
    precision: str
    reason: str
    gate: GateRecord | None = None


class PtqRecord(msgspec.Struct, frozen=True):
    """The images whose values set the ranges of quantized layers: views of training photographs, whose hashes are listed.

    views: how many. views_sha256: of their pixels.
    """

    views: int
    seed: int
    photographs: tuple[str, ...]
    views_sha256: str


class Artifact(msgspec.Struct, frozen=True):
    """One exported model file with the threshold that belongs to it and to no other.

    files: the one to open first, then those it needs. golden_raw: the raw score expected for each golden image.
    gate: of an artefact of lower precision, None for float32.
    """

    name: str
    runtime: str
    precision: str
    files: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    calibration: Calibration
    parity: Parity
    golden_raw: tuple[float, ...]
    gate: GateRecord | None = None

    def computes_in(self, floats: str) -> str:
        """For people; floats: the precision in which its runtime computes what is floating point in it."""
        return f"int8, {floats}" if self.precision == "int8" else floats


class Provenance(msgspec.Struct, frozen=True):
    """Where a model comes from, enough to make it again. settings: of the method, where they are not its defaults."""

    method: str
    backbone: str
    weights: str
    weights_sha256: str
    data_sha256: str
    model_sha256: str
    seed: int
    n_train: int
    versions: dict[str, str]
    weights_licence: str = "unknown"
    settings: dict[str, Any] = {}


class Manifest(msgspec.Struct, frozen=True):
    """The contract between workstation and device. Raw scores: larger is stranger, judged by each artefact's own table.

    sensitivity_limits: how far a station may move its working point, in shares of (threshold - median).
    usual: how photographs of good parts look. photographs: sha256 of those of the fit, each `train`, which the model learned
    from, or `calibration`, held out for the threshold; a bundle of schema 1.2 names none.
    """

    schema: str
    bundle_id: str
    name: Annotated[str, msgspec.Meta(max_length=LONGEST_NAME)]
    created: str
    input: InputContract
    artifacts: tuple[Artifact, ...]
    golden: tuple[str, ...]
    provenance: Provenance
    files: dict[str, str]
    withheld: tuple[Withheld, ...] = ()
    ptq: PtqRecord | None = None
    sensitivity_limits: tuple[float, float] = (-0.2, 0.5)
    usual: Usual | None = None
    photographs: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle: every hash has been checked."""

    folder: Path
    manifest: Manifest

    def path(self, name: str) -> Path:
        return self.folder / name

    def artifact_for(self, runtimes: Iterable[str]) -> Artifact:
        """The first artefact for the most wished runtime, `auto` being any. Raises BundleError when there is none."""
        wished = tuple(runtimes)
        for runtime in wished:
            for artifact in self.manifest.artifacts:
                if runtime in (artifact.runtime, "auto"):
                    return artifact
        has = ", ".join(sorted({a.runtime for a in self.manifest.artifacts})) or "none"
        raise BundleError(f"{self.folder}: no artefact for runtime {' or '.join(wished)}; the bundle has: {has}")


def open_bundle(folder: Path) -> Bundle:
    """The bundle in `folder`, with every file's hash checked. Raises BundleError with the reason where it is not whole."""
    try:
        encoded = (folder / MANIFEST).read_bytes()
    except OSError as e:
        raise BundleError(f"{folder}: no readable {MANIFEST} ({e.strerror}): not a bundle, or an export that was cut off") from e
    _check_schema(folder, encoded)
    try:
        manifest = msgspec.json.decode(encoded, type=Manifest)
        content_id = _bundle_id(encoded)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise BundleError(f"{folder / MANIFEST}: {e}") from e
    if manifest.bundle_id != content_id:
        raise BundleError(f"{folder / MANIFEST}: bundle_id does not match its content, it has been changed: export again")
    for name, expected in manifest.files.items():
        _check_file(folder, name, expected)
    used = {name for artifact in manifest.artifacts for name in artifact.files} | set(manifest.golden)
    if manifest.input.depth:
        used |= {depth_of(name) for name in manifest.golden}
    if unlisted := used - manifest.files.keys():
        raise BundleError(f"{folder / MANIFEST}: {', '.join(sorted(unlisted))} used but not among the hashed files")
    if not looked_at(manifest.input).any():
        raise BundleError(f"{folder / MANIFEST}: the region of interest lies in none of the tiles: export again")
    for artifact in manifest.artifacts:
        if len(artifact.golden_raw) != len(manifest.golden):
            raise BundleError(
                f"{folder / MANIFEST}: {artifact.name} has {len(artifact.golden_raw)} raw scores "
                f"for {len(manifest.golden)} golden images: export again"
            )
    return Bundle(folder, manifest)


def depth_of(golden: str) -> str:
    """The file of a golden image's depth, beside it; there where the input contract says that the model needs depth.

    >>> depth_of("reference/good_0.png")
    'reference/good_0.tiff'
    """
    return str(PurePosixPath(golden).with_suffix(".tiff"))


def seal(folder: Path, manifest: Manifest) -> Manifest:
    """Hashes every file in `folder` and writes the manifest last, with hashes and bundle_id filled in.

    bundle_id: sha256 of the manifest, and so of every file's hash and every threshold; not of the time it was made.
    """
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    if taken := RESERVED.intersection(names):
        raise BundleError(f"{folder}: {', '.join(sorted(taken))} is a reserved name in a bundle")
    files = {name: sha256(folder / name) for name in names}
    listed = msgspec.structs.replace(manifest, files=files, schema=f"{SCHEMA_MAJOR}.{SCHEMA_MINOR}")
    sealed = msgspec.structs.replace(listed, bundle_id=_bundle_id(msgspec.json.encode(listed)))
    write_whole(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(sealed), indent=1))
    return sealed


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while block := source.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _bundle_id(manifest: bytes) -> str:
    """Of the JSON as it stands, so that fields which only a newer Kensa knows count too."""
    content = msgspec.json.decode(manifest, type=dict[str, Any])
    content |= {"bundle_id": "", "created": ""}
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()


def _check_schema(folder: Path, encoded: bytes) -> None:
    try:
        schema = msgspec.json.decode(encoded, type=dict[str, msgspec.Raw]).get("schema", msgspec.Raw(b'"none"'))
        major = msgspec.json.decode(schema, type=str).split(".")[0]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise BundleError(f"{folder / MANIFEST}: not valid JSON: {e}") from e
    if major != str(SCHEMA_MAJOR):
        raise BundleError(
            f"{folder / MANIFEST}: schema version {major!r}, this agent reads {SCHEMA_MAJOR}: update the agent or export again"
        )


def _check_file(folder: Path, name: str, expected: str) -> None:
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise BundleError(f"{folder / MANIFEST}: file name {name!r} leads out of the bundle")
    path = folder / relative
    try:
        if path.resolve() != folder.resolve() / relative or not path.is_file():  # resolve: no symbolic link on the way
            raise BundleError(f"{path}: missing, or not a regular file: copy the bundle again")
        found = sha256(path)
    except (OSError, ValueError) as e:
        raise BundleError(f"{path}: cannot be read: {e}: copy the bundle again") from e
    if found != expected:
        raise BundleError(
            f"{path}: sha256 {found[:12]}…, the manifest says {expected[:12]}…: changed or cut off, copy the bundle again"
        )
