"""`kensa check`: a line's configuration as it was understood, and what is wrong with it; no part is judged."""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from agent.bundle import BundleError, open_bundle
from agent.calibration import CalibrationError
from agent.cameras import CameraConfig, CameraLostError, trouble_of
from agent.cameras._source import Exposes
from agent.config import Line, load_line
from agent.drivers import ConfigError
from agent.only_one import is_held
from agent.runtimes import CPU, place_wanted
from agent.serving.choice import chosen
from agent.serving.local_calibration import artifact_sha256, calibrated_here, table_file

_LOOK_FOR_CAMERA_S = 5.0
_HEARD_LATE = ("modbus", "mqtt")  # triggers whose instant is when Kensa heard of them
_WIDTH = 120
_DRIVERS = ("trigger", "ejector", "runtime", "encoder", "confirm", "permit", "plc")
_NOT_WRITTEN = frozenset({"runtime_name", "trouble", "recipe", "product", "bundles", "recipes"})


class Judges(msgspec.Struct, frozen=True):
    """By what photographs are judged. of: which recipe's and camera's, empty for the line's own bundle.

    threshold: moved by the line's sensitivity; None where it belongs to an accelerator's own table, which only a start finds.
    table: the file of this device's own table, empty where the bundle's holds.
    """

    of: str
    bundle_id: str
    name: str
    artifact: str
    threshold: float | None
    good_parts: int
    table: str


def check(arguments: list[str]) -> int:
    """Reads a line's configuration and its bundles and prints them resolved; opens its cameras for a moment, unless it runs."""
    parser = argparse.ArgumentParser(prog="kensa check", description=check.__doc__, epilog="example: kensa check line.yaml")
    parser.add_argument("line", type=Path, help="the line's YAML file")
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")
    options = parser.parse_args(arguments)
    line = load_line(options.line)
    judges = [found for one in line.each for found in _judges(one)]
    notes = list(_notes(line))
    if options.json:
        told = {"line": line, "judges": judges, "notes": notes}
        print(msgspec.json.encode(told, enc_hook=str).decode())
        return 0
    print(describe(line))
    print(*(f"note: {note}" for note in notes), *map(_for_people, judges), "ok", sep="\n")
    return 0


def describe(line: Line) -> str:
    """The resolved configuration as YAML, as one would write it; of its recipes what is different in each."""
    told = _written(line)
    if line.recipes:
        each = {number: _written(recipe) | {"name": recipe.product} for number, recipe in line.recipes.items()}
        told["recipes"] = {
            number: {key: value for key, value in recipe.items() if value != told.get(key)} for number, recipe in each.items()
        }
    return str(yaml.safe_dump(told, sort_keys=False, allow_unicode=True, default_flow_style=None, width=_WIDTH)).rstrip()


def _written(line: Line) -> dict[str, Any]:
    """Its sections, drivers with their `type`."""
    plain: dict[str, Any] = {key: value for key, value in _plain(line).items() if key not in _NOT_WRITTEN}
    for name in _DRIVERS:
        if (driver := getattr(line, name)) is not None:
            plain[name] = {"type": _type_of(driver), **plain[name]}
    plain["cameras"] = {
        name: {"type": _type_of(camera), **plain["cameras"][name]}
        | ({"bundle": str(line.bundles[name])} if name in line.bundles else {})
        for name, camera in line.cameras.items()
    }
    return plain


def _plain(line: Line) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(line, enc_hook=str)
    return plain


def _type_of(driver: object) -> str:
    return type(driver).__module__.rpartition(".")[2]


def _judges(line: Line) -> Iterator[Judges]:
    """The line's own bundle and those of its cameras. Raises BundleError, also where a start would refuse what is asked of it."""
    named = {"": line.bundle} | {f"camera {camera}: ": bundle for camera, bundle in line.bundles.items()}
    for camera, folder in named.items():
        of = f"{_of_recipe(line)}{camera}"
        try:
            bundle = open_bundle(folder)
            artifact, runtime = chosen(bundle, line.runtime_name, line.runtime, line.state)
            on_cpu, own = place_wanted(runtime) == CPU, ""
            if on_cpu and os.access(line.state, os.R_OK | os.X_OK):
                here = calibrated_here(bundle, artifact, CPU, line.state)
                if here is not artifact:
                    artifact, own = here, str(table_file(line.state, artifact_sha256(bundle, here), CPU))
            table = artifact.calibration.moved(line.sensitivity, bundle.manifest.sensitivity_limits)
        except (BundleError, CalibrationError) as e:
            raise BundleError(f"{of}{e}") from e
        threshold = table.threshold if on_cpu else None
        manifest = bundle.manifest
        yield Judges(of, manifest.bundle_id, manifest.name, artifact.name, threshold, len(table.raw_scores), own)


def _for_people(judges: Judges) -> str:
    threshold = (
        f"threshold {judges.threshold:.6g} from {judges.good_parts} good parts"
        if judges.threshold is not None
        else "with this device's own table (kensa calibrate)"
    )
    own = f", this device's own table {judges.table} (without it the bundle's holds)" if judges.table else ""
    return f"{judges.of}bundle {judges.bundle_id[:12]} {judges.name}: {judges.artifact}, {threshold}{own}"


def _notes(line: Line) -> Iterator[str]:
    """What a start would get over, and people should know. Raises ConfigError for a camera that cannot be."""
    looked_at: list[tuple[str, CameraConfig]] = []
    in_use = _why_in_use(line)
    if in_use:
        yield in_use
    for one in line.each:
        for name, camera in one.cameras.items():
            named = f"{_of_recipe(one)}cameras.{name}"
            if not in_use and (name, camera) not in looked_at:
                looked_at.append((name, camera))
                yield from _missing(camera, named, line)
            yield from _impatient(camera, named, one)
            yield from _out_of_order(camera, named, one)


def _why_in_use(line: Line) -> str:
    """Why its cameras are left alone, empty where they are not: what opens them takes them away from a line that runs."""
    try:
        return "cameras: in use by the running line, not looked at: see its state" if is_held(line.state, "inspect") else ""
    except OSError as e:
        return f"cameras: not looked at, for nobody knows whether the line runs: {line.state}: {e.strerror}"


def _impatient(camera: CameraConfig, name: str, line: Line) -> Iterator[str]:
    """What one frame that is lost costs."""
    timeout_ms, left_ms = getattr(camera, "timeout_ms", 0.0), line.gate.travel_ms - line.gate.lead_ms
    if timeout_ms >= left_ms:
        found = f"{name}: timeout_ms {timeout_ms:g} is not below the {left_ms:g} ms that a part has (travel_ms less lead_ms)"
        yield f"{found}: after a frame that is lost, parts behind it are rejected too"


def _out_of_order(camera: CameraConfig, name: str, line: Line) -> Iterator[str]:
    """When a part whose frame is lost could pass by the next one's, of a camera that has a cable of its own."""
    if getattr(camera, "exposes", None) is not Exposes.CABLED:
        return
    apart_ms = getattr(camera, "timeout_ms", 0.0) - (delay_ms := getattr(camera, "delay_ms", 0.0))
    spare_ms = line.gate.travel_ms - line.gate.lead_ms - apart_ms
    in_time = f"Kensa has to hear of the next one within {spare_ms:g} ms" if spare_ms > 0 else "one may pass by the next one's"
    yield f"{name}: where parts are closer than {apart_ms:g} ms (timeout_ms less delay_ms) and a frame is lost, {in_time}"
    if (trigger := _type_of(line.trigger)) in _HEARD_LATE and delay_ms >= 0:
        yield f"{name}: its cable is faster than the trigger ({trigger}): delay_ms should be below 0 by as much as that is late"


def _missing(camera: CameraConfig, name: str, line: Line) -> Iterator[str]:
    try:
        trouble = trouble_of(camera, _LOOK_FOR_CAMERA_S)
    except CameraLostError as e:
        raise ConfigError(f"{line.file}: {name}: {e}") from e
    if trouble:
        yield f"{name}: {trouble}: a line would start and reject every part"


def _of_recipe(line: Line) -> str:
    return f"recipe {line.recipe} ({line.product}): " if line.recipe else ""
