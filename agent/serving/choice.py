"""The artefact and the runtime that `kensa bench --choose` found fastest on this device, kept for each bundle in the state.

A line may have several bundles, for cameras and recipes, and goes back to the one before: each has a choice of its own.
"""

import logging
from pathlib import Path
from typing import Any

import msgspec

from agent.bundle import Artifact, Bundle
from agent.drivers import SectionError, section
from agent.runtimes import RuntimeConfig
from agent.whole_file import write_whole

log = logging.getLogger(__name__)

FOLDER = "choices"


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """runtime: a section, as in a line's file. median_ms: from an image to a prediction, when it was chosen. made: UTC."""

    bundle_id: str
    artifact: str
    runtime: dict[str, Any]
    median_ms: float
    made: str


def keep(state: Path, choice: Choice) -> Path:
    """Writes the choice, whole or not at all; gives its file."""
    file = _file(state, choice.bundle_id)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, msgspec.json.format(msgspec.json.encode(choice), indent=1))
    return file


def chosen(bundle: Bundle, runtime_name: str, runtime: RuntimeConfig, state: Path | None) -> tuple[Artifact, RuntimeConfig]:
    """What runs: with `type: auto` what was chosen for this very bundle, if anything was. Raises BundleError."""
    if runtime_name != "auto" or state is None:
        return bundle.artifact_for([runtime_name]), runtime
    file = _file(state, bundle.manifest.bundle_id)
    try:
        choice = msgspec.json.decode(file.read_bytes(), type=Choice)
        (artifact,) = (a for a in bundle.manifest.artifacts if (choice.bundle_id, choice.artifact) == (file.stem, a.name))
        return artifact, section("agent.runtimes", choice.runtime)
    except FileNotFoundError:
        why = "nothing was chosen for this bundle on this device"
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, SectionError) as e:
        why = f"{file}: {e}"
    except ValueError:
        why = f"{file}: made for another bundle"
    first = bundle.artifact_for([runtime_name])
    log.warning("runtime auto: %s, so %s runs: kensa bench --choose measures which is best", why, first.name)
    return first, runtime


def _file(state: Path, bundle_id: str) -> Path:
    return state / FOLDER / f"{bundle_id}.json"
