"""`kensa install` and `kensa rollback`: another bundle for a line, which may be running."""

import argparse
import time
from pathlib import Path

from agent.bundle import Bundle, BundleError, depth_of, open_bundle
from agent.config import Line, load_line
from agent.model import Here, Model
from agent.owner import become_owner
from agent.preprocess import read_depth, read_image, to_8_bit
from agent.serving.model_watch import open_from
from agent.serving.slots import Slot, Trial, install, pointer, roll_back

_ROUNDS = 5


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


def trial_on(line: Line) -> Trial:
    """Golden images through the line's runtime: each must score as at export, and be judged in the time that a part has."""

    def trial(bundle: Bundle) -> None:
        opened = open_from(bundle.folder, line.runtime_name, line.runtime, Here(line.state, line.sensitivity))
        try:
            needs_ms = _needed_ms(bundle, opened.model)
        finally:
            opened.close()
        budget_ms = line.gate.delay_ns / 1e6
        if needs_ms > budget_ms:
            raise BundleError(
                f"{bundle.folder}: {opened.artifact.name} needs {needs_ms:.2f} ms for an image here, a part of {line.station} "
                f"has {budget_ms:.2f} ms from its trigger to the gate: refused, export a faster one"
            )

    return trial


def _needed_ms(bundle: Bundle, model: Model) -> float:
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


def _told(how: str, slot: Slot) -> str:
    manifest = open_bundle(slot.bundle).manifest
    before = slot.previous.number if slot.previous else "none"
    return f"{manifest.name} {manifest.bundle_id[:12]} is {how} (slot {slot.number}, before it: {before})"
