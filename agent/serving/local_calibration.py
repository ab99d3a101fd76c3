"""Tables that `kensa calibrate` made on this device: one for each (model file, place where it computes), hashed, in the state.

A threshold is true for the scores it was made from, and another device gives other scores. A place that neither the bundle nor
this device has a table for is refused.
"""

import hashlib
from pathlib import Path

import msgspec

from agent.bundle import Artifact, Bundle, BundleError
from agent.calibration import Calibration
from agent.runtimes import CPU
from agent.whole_file import write_whole

FOLDER = "calibrations"


class LocalTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """artifact_sha256: of the model's files. executed_on: as the runtime says. golden_raw: of the bundle's golden images here.

    images_sha256: of the calibration photographs, in order of name. made: UTC.
    """

    artifact_sha256: str
    executed_on: str
    executed_precision: str
    calibration: Calibration
    golden_raw: tuple[float, ...]
    images_sha256: str
    made: str


class _Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """sha256: of the table's JSON."""

    table: LocalTable
    sha256: str


def artifact_sha256(bundle: Bundle, artifact: Artifact) -> str:
    """One digest of all the files of an artefact."""
    listed = "".join(f"{bundle.manifest.files[name]}\n" for name in artifact.files)
    return hashlib.sha256(listed.encode()).hexdigest()


def keep(state: Path, table: LocalTable) -> Path:
    """Writes the table, whole or not at all, in place of an older one; gives its file."""
    file = table_file(state, table.artifact_sha256, table.executed_on)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, msgspec.json.format(msgspec.json.encode(_Sealed(table, _digest(table))), indent=1))
    return file


def found(state: Path, sha256: str, executed_on: str) -> LocalTable | None:
    """The table for this model at this place, None where there is none. Raises BundleError where it is damaged."""
    file = table_file(state, sha256, executed_on)
    try:
        sealed = msgspec.json.decode(file.read_bytes(), type=_Sealed)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, ValueError) as e:
        raise BundleError(f"{file}: cannot be read: {e}: delete it and run kensa calibrate again") from e
    table = sealed.table
    if sealed.sha256 != _digest(table) or (table.artifact_sha256, table.executed_on) != (sha256, executed_on):
        raise BundleError(f"{file}: its content does not match its hash: delete it and run kensa calibrate again")
    return table


def calibrated_here(bundle: Bundle, artifact: Artifact, executed_on: str, state: Path | None) -> Artifact:
    """The artefact with the table that holds where it computes: this device's own, or the bundle's, which is of a CPU.

    Raises BundleError where there is neither.
    """
    table = found(state, artifact_sha256(bundle, artifact), executed_on) if state else None
    if table is not None and len(table.golden_raw) == len(bundle.manifest.golden):
        return msgspec.structs.replace(artifact, calibration=table.calibration, golden_raw=table.golden_raw)
    if executed_on != CPU:
        raise BundleError(
            f"{bundle.folder}: {artifact.name} was calibrated on a CPU and computes on {executed_on!r} here, where scores "
            "differ: run kensa calibrate with this runtime and photographs of good parts"
        )
    return artifact


def table_file(state: Path, sha256: str, executed_on: str) -> Path:
    """Where the table for this model at this place is, if there is one."""
    key = hashlib.sha256(f"{sha256} {executed_on}".encode()).hexdigest()
    return state / FOLDER / f"{key}.json"


def _digest(table: LocalTable) -> str:
    return hashlib.sha256(msgspec.json.encode(table, order="deterministic")).hexdigest()
