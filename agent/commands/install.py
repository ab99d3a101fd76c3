"""`kensa install` and `kensa rollback`: another bundle for a line, which may be running."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from agent.bundle import Bundle, BundleError, depth_of, open_bundle
from agent.calibration import CalibrationError
from agent.config import Line, load_line
from agent.model import Here, Model
from agent.owner import become_owner
from agent.preprocess import read_depth, read_image, to_8_bit
from agent.runtimes import InferenceError
from agent.serving.choice import chosen as choice_of
from agent.serving.model_watch import open_from
from agent.serving.slots import Slot, Trial, install, pointer, roll_back

_ROUNDS = 5

Measure = Callable[[Bundle, Model], float]


def install_command(arguments: list[str]) -> int:
    """Tries a bundle on this device and makes it the active one of a line; a running line takes it over between two parts."""
    parser = argparse.ArgumentParser(
        prog="kensa install", description=install_command.__doc__, epilog="example: kensa install bundles/cap line.yaml"
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("line", type=Path, help="the line's YAML file: it says where to, for which runtime and how fast")
    chosen = parser.parse_args(arguments)
    line = load_line(chosen.line)
    become_owner(line.state)
    slot = install(chosen.bundle, line.state, trial_on(line), lambda step: print(f"  {step}", flush=True))
    print(_told("active", slot))
    if line.bundle != pointer(line.state):
        print(f"{line.file} does not run it yet: write `bundle: {pointer(line.state)}` there and start the line again")
    return 0


def rollback_command(arguments: list[str]) -> int:
    """Makes the bundle active again that ran before the last `kensa install`; a running line takes it over between two parts."""
    parser = argparse.ArgumentParser(
        prog="kensa rollback", description=rollback_command.__doc__, epilog="example: kensa rollback line.yaml"
    )
    parser.add_argument("line", type=Path, help="the line's YAML file")
    line = load_line(parser.parse_args(arguments).line)
    become_owner(line.state)
    print(_told("active again", roll_back(line.state)))
    return 0


def needed_ms(bundle: Bundle, model: Model) -> float:
    """For one image: the median of a few rounds over the golden images, so that a hiccup of the machine is not the model's."""
    images = [to_8_bit(read_image(bundle.path(name)), model.contract.white_level) for name in bundle.manifest.golden]
    depths = [read_depth(bundle.path(depth_of(name))) if model.contract.depth else None for name in bundle.manifest.golden]
    rounds_ms = []
    for _ in range(_ROUNDS if images else 0):
        started_ns = time.perf_counter_ns()
        for image, depth in zip(images, depths, strict=True):
            model.predict(image, depth)
        rounds_ms.append((time.perf_counter_ns() - started_ns) / 1e6 / len(images))
    return sorted(rounds_ms)[len(rounds_ms) // 2] if rounds_ms else 0.0


def trial_on(line: Line, measure: Measure = needed_ms) -> Trial:
    """Golden images through the line's runtime: each must score as at export, and the images of all cameras be judged, one after
    the other, in the time that a part has. It must allow the sensitivity of each recipe that runs it. measure: ms for one image.
    """

    def trial(bundle: Bundle) -> None:
        would_run = [one for one in line.each if {one.bundle, *one.bundles.values()} & {line.bundle, pointer(line.state)}]
        for one in would_run:
            _refuse_sensitivity(one, bundle)
        sensitivity = would_run[0].sensitivity if would_run else line.sensitivity
        opened = open_from(bundle.folder, line.runtime_name, line.runtime, Here(line.state, sensitivity))
        try:
            needs_ms = measure(bundle, opened.model)
        finally:
            opened.close()
        affected = [one for one in line.each if len(_others(one, line)) < len(one.cameras)]
        beside = {folder: _time_beside(folder, line, measure) for folder in {f for one in affected for f in _others(one, line)}}
        for one in affected:
            n, others, budget_ms = len(one.cameras), _others(one, line), one.gate.delay_ns / 1e6
            part_ms = (n - len(others)) * needs_ms + sum(beside[folder] for folder in others)
            if part_ms > budget_ms:
                recipe = _of_recipe(one)
                all_of_them = f", {part_ms:.2f} ms for those of {n} cameras, one after the other" if n > 1 else ""
                raise BundleError(
                    f"{bundle.folder}: {opened.artifact.name} needs {needs_ms:.2f} ms for an image here{all_of_them}; a part of "
                    f"{line.station}{recipe} has {budget_ms:.2f} ms from its trigger to the gate: refused, "
                    f"{_remedy(line, bundle)}"
                )

    return trial


def _refuse_sensitivity(one: Line, bundle: Bundle) -> None:
    artifact, _ = choice_of(bundle, one.runtime_name, one.runtime, one.state)
    try:
        artifact.calibration.moved(one.sensitivity, bundle.manifest.sensitivity_limits)
    except CalibrationError as e:
        raise BundleError(f"{bundle.folder}: {one.station}{_of_recipe(one)}: {e}: refused") from e


def _of_recipe(one: Line) -> str:
    return f" of recipe {one.recipe}" if one.recipe else ""


def _others(one: Line, line: Line) -> list[Path]:
    """The bundles of the cameras that are judged by another one than that which is installed."""
    bundles = map(one.bundle_of, one.cameras)
    return [folder for folder in bundles if folder not in (line.bundle, pointer(line.state))]


def _time_beside(folder: Path, line: Line, measure: Measure) -> float:
    """ms for an image by the bundle of a camera; 0, and a line that says so, where it does not open here."""
    try:
        opened = open_from(folder, line.runtime_name, line.runtime, Here(line.state))
    except (BundleError, InferenceError) as e:
        print(f"  the time of the cameras judged by {folder} is not counted, it does not open: {e}", flush=True)
        return 0.0
    try:
        return measure(opened.bundle, opened.model)
    finally:
        opened.close()


def _remedy(line: Line, bundle: Bundle) -> str:
    """A faster one of its artefacts may be there, which runs only once it was chosen."""
    _, runtime = choice_of(bundle, line.runtime_name, line.runtime, line.state)
    if len(bundle.manifest.artifacts) == 1 or runtime != line.runtime:
        return "export a faster one"
    which = "" if line.runtime_name == "auto" else ", which `runtime: {type: auto}` runs"
    return f"let kensa bench --choose --state {line.state} find the fastest of its artefacts{which}, or export a faster one"


def _told(how: str, slot: Slot) -> str:
    manifest = open_bundle(slot.bundle).manifest
    before = slot.previous.number if slot.previous else "none"
    return f"{manifest.name} {manifest.bundle_id[:12]} is {how} (slot {slot.number}, before it: {before})"
