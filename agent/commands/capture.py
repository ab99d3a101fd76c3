"""`kensa capture`: photographs for training, by the station's own camera and trigger: the first hour of a new line."""

import argparse
import contextlib
import select
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path

import cv2
import msgspec

from agent.cameras import Camera
from agent.clock import utc_now
from agent.config import Line, load_line
from agent.drivers import ConfigError
from agent.gate.trigger_input import input_of
from agent.inspection import Fault
from agent.only_one import only_one
from agent.owner import become_owner
from agent.preprocess import Pixels, PixelsWithDepth, to_8_bit, white_level
from agent.sections import Name
from agent.watch import Look, look_of

_WAIT_S = 0.5
_TELL_EVERY_S = 5.0
_DARK, _TOO_WHITE = 30.0, 0.02  # mean grey level; share of pixels
_SOFT = 0.7  # of the sharpest so far
_IN_FILE_NAMES = str.maketrans({":": None, ".": "-"})
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]


def capture(arguments: list[str]) -> int:
    """Photographs parts as the line would, into folders that `kensa fit` reads; tells whether each is sharp and well lit."""
    parser = argparse.ArgumentParser(
        prog="kensa capture",
        description=capture.__doc__,
        epilog="example: kensa capture line.yaml --out data/cap --parts 200",
    )
    parser.add_argument("line", type=Path, help="the line's YAML file; its bundle need not exist yet")
    of_camera = "of a camera with a bundle of its own: DIR-CAMERA"
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help=f"photographs are added, none is ever overwritten; {of_camera}"
    )
    parser.add_argument("--parts", type=_at_least_one, required=True, metavar="N", help="how many")
    parser.add_argument("--recipe", type=int, metavar="R", help="by its cameras' settings; needed where the line has recipes")
    parser.add_argument("--label", default="good", help="what the parts are: good (default), or the name of a defect")
    options = parser.parse_args(arguments)
    try:
        label = msgspec.convert(options.label, Name)
    except msgspec.ValidationError as e:
        raise ConfigError(f"--label {options.label!r}: expected a name such as good or scratch") from e
    line = _by(load_line(options.line), options.recipe)
    become_owner(line.state)
    out = options.out.resolve()
    own = {camera: out.with_name(f"{out.name}-{camera}") for camera in line.bundles}
    data = {camera: own.get(camera, out) for camera in line.cameras}
    part = "train" if label == "good" else "test"
    with only_one(line.state, "inspect"), only_one(line.state, "eject"):
        _photograph(line, {camera: folder / part / label for camera, folder in data.items()}, options.parts)
    print(f"{options.parts} parts photographed; next:")
    for folder in dict.fromkeys(data.values()):
        print(f"  kensa fit --method patchcore --data {folder} --out RUN")
    return 0


def _by(line: Line, recipe: int | None) -> Line:
    """The line as this recipe has it. Raises ConfigError where none is named, and there are some, or there is none of it."""
    if recipe is None and not line.recipes:
        return line
    if recipe is None or recipe not in line.recipes:
        those = ", ".join(f"{number} ({one.product})" for number, one in line.recipes.items())
        wanted = f"one of its recipes: {those}" if those else "none, the line has no recipes"
        raise ConfigError(f"{line.file}: --recipe {'is missing' if recipe is None else recipe}: expected {wanted}")
    return line.recipes[recipe]


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a number, at least 1, got {text!r}")
    return int(text)


def _photograph(line: Line, folders: Mapping[str, Path], parts: int) -> None:
    """A part counts once all cameras have its photograph; what is missing is told. folders: of the cameras."""
    session, done, sharpest = utc_now().translate(_IN_FILE_NAMES), 0, dict.fromkeys(line.cameras, 0.0)
    brightest = dict.fromkeys(line.cameras, 0)
    for folder in folders.values():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise ConfigError(f"--out {folder}: cannot be made: {e.strerror}") from e
    with ExitStack() as devices:
        at_once = devices.enter_context(ThreadPoolExecutor(len(line.cameras)))
        cameras = {name: devices.enter_context(camera.open()) for name, camera in line.cameras.items()}
        for triggered_ns in _triggers(line, cameras):
            taken = dict(zip(cameras, at_once.map(_taken, cameras.values(), repeat(triggered_ns)), strict=True))
            faults = [found.reason for found in taken.values() if isinstance(found, Fault)]
            if faults:
                print(f"  not photographed: {'; '.join(faults)}")
                continue
            done += 1
            for name, pixels in taken.items():
                assert not isinstance(pixels, Fault)
                of_camera = f"-{name}" if len(taken) > 1 else ""
                _write(folders[name] / f"{session}-{done:05d}{of_camera}.png", pixels)
                brightest[name] = max(brightest[name], int(pixels.max()))
                look = look_of(to_8_bit(pixels, white_level(brightest[name])))  # as the fit will see it
                sharpest[name] = max(sharpest[name], look.sharpness)
                print(f"  {done}/{parts} {name}: {hint(look, sharpest[name])}", flush=True)
            if done == parts:
                return


def hint(look: Look, sharpest: float) -> str:
    """What a person who sets up lens and light wants to know. sharpest: of the photographs so far, this one among them."""
    warnings = [
        "too dark: more light, a longer exposure or gain" if look.brightness < _DARK else "",
        "overexposed: less light or a shorter exposure" if look.white > _TOO_WHITE else "",
        "softer than before: is it in focus, does the part move too fast?" if look.sharpness < _SOFT * sharpest else "",
    ]
    numbers = (
        f"brightness {look.brightness:.0f} of 255, {look.white:.1%} white, sharpness {look.sharpness:.2f} (best {sharpest:.2f})"
    )
    return "; ".join([numbers, *filter(None, warnings)])


def _triggers(line: Line, cameras: Mapping[str, Camera]) -> Iterator[int]:
    """The instants of parts, by the line's own trigger; while none comes, what is waited for is told now and then."""
    debounced = input_of(line.trigger, line.gate)
    with line.trigger.open() as trigger:
        told_s = time.monotonic()
        while True:
            came = debounced.parts(trigger.take(time.monotonic_ns()))
            yield from came
            if came:
                told_s = time.monotonic()
                continue
            if time.monotonic() - told_s > _TELL_EVERY_S:
                troubles = filter(None, (trigger.problem(), *(camera.trouble for camera in cameras.values())))
                print(f"  waiting for a trigger: {'; '.join(troubles) or 'cameras are ready'}", flush=True)
                told_s = time.monotonic()
            wake_ns = trigger.wake_ns()
            wait_s = _WAIT_S if wake_ns is None else min(_WAIT_S, max(0.0, (wake_ns - time.monotonic_ns()) / 1e9))
            select.select(trigger.filenos(), [], [], wait_s)


def _taken(camera: Camera, triggered_ns: int) -> Pixels | Fault:
    camera.expect(triggered_ns)
    taken = camera.shoot(triggered_ns)
    return taken.pixels if isinstance(taken, PixelsWithDepth) else taken


def _write(file: Path, pixels: Pixels) -> None:
    """With the bits it came with. Raises ConfigError where it cannot be written; nothing half written is left."""
    done, content = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), _PNG)
    assert done, "PNG takes 8 and 16 bit"
    try:
        with file.open("xb") as out:
            out.write(content.tobytes())
    except OSError as e:
        if not isinstance(e, FileExistsError):
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
        raise ConfigError(f"{file}: cannot be written: {e.strerror}") from e
