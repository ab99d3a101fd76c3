"""Whether the inspection process may leave and be started anew with its file as it is now, without a person at the line."""

import dataclasses

from agent.bundle import BundleError, open_bundle
from agent.config import Line, load_line
from agent.drivers import ConfigError
from agent.gate.plan import GatePlan

_ITS_OWN = {"file", "sha256", "trouble", "bundle", "mqtt", "outbox", "record", "drift", "cameras", "runtime_name", "runtime"}
_ITS_OWN |= {"sensitivity", "bundles", "recipes"}


def why_no_reload(running: Line) -> str:
    """What is wrong with the file or its bundle, or belongs to the ejector process, which runs on; empty when nothing is."""
    try:
        wanted = load_line(running.file)
        for one in wanted.each:
            for bundle in (one.bundle, *one.bundles.values()):
                open_bundle(bundle).artifact_for([one.runtime_name])
    except (ConfigError, BundleError) as e:
        return str(e)
    names = [field.name for field in dataclasses.fields(Line) if field.name not in _ITS_OWN]
    changed = [name for name in names if getattr(wanted, name) != getattr(running, name)]
    changed += ["recipes"] if _of_the_gate(wanted) != _of_the_gate(running) else []
    return f"changed: {', '.join(changed)}: that needs a restart of both processes by a person at the line" if changed else ""


def _of_the_gate(line: Line) -> dict[int, tuple[str, GatePlan]]:
    """What the ejector process knows of the recipes."""
    return {number: (one.product, one.gate) for number, one in line.recipes.items()}
