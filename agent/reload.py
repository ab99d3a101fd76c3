"""Whether the inspection process may leave and be started anew with its file as it is now, without a person at the line."""

import dataclasses
from pathlib import Path

from agent.bundle import BundleError, open_bundle
from agent.calibration import CalibrationError
from agent.config import Line, load_line
from agent.drivers import ConfigError
from agent.link import known_to_both
from agent.serving.choice import chosen

_ITS_OWN = {"file", "sha256", "trouble", "bundle", "mqtt", "outbox", "record", "drift", "cameras", "runtime_name", "runtime"}
_ITS_OWN |= {"sensitivity", "bundles", "recipes"}


def why_no_reload(running: Line) -> str:
    """What is wrong with the file or its bundle, or belongs to the ejector process, which runs on; empty when nothing is."""
    try:
        wanted = load_line(running.file)
        for one in wanted.each:
            for bundle in (one.bundle, *one.bundles.values()):
                _refuse_what_a_start_would(bundle, one)
    except (ConfigError, BundleError) as e:
        return str(e)
    names = [field.name for field in dataclasses.fields(Line) if field.name not in _ITS_OWN]
    changed = [name for name in names if getattr(wanted, name) != getattr(running, name)]
    changed += ["recipes"] if known_to_both(wanted) != known_to_both(running) else []
    return f"changed: {', '.join(changed)}: that needs a restart of both processes by a person at the line" if changed else ""


def _refuse_what_a_start_would(folder: Path, line: Line) -> None:
    """What can be known of it without a runtime. Raises BundleError."""
    bundle = open_bundle(folder)
    artifact, _ = chosen(bundle, line.runtime_name, line.runtime, line.state)
    try:
        artifact.calibration.moved(line.sensitivity, bundle.manifest.sensitivity_limits)
    except CalibrationError as e:
        raise BundleError(f"{folder}: {e}") from e
