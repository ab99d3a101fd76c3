"""`kensa bench`: how fast a bundle's artefacts are on this machine, from a camera's image to a verdict, and which to run."""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np

from agent.bundle import Artifact, Bundle, BundleError, open_bundle
from agent.clock import utc_now
from agent.decide import Policy, decide
from agent.drivers import section
from agent.energy import SYSTEM, NoEnergyError, energy_meter
from agent.inspection import Depth, Image
from agent.model import Here, open_model
from agent.owner import become_owner
from agent.preprocess import InputContract, prepare, prepare_depth, read_image, to_8_bit
from agent.runtimes import InferenceError
from agent.serving.choice import Choice, keep

_FRAME = (1280, 1024)
_WARM_UP = 5


class Measured(msgspec.Struct, frozen=True):
    """One artefact in a process of its own. Times in ms, from image to verdict; graph_ms: the compiled graph alone, in turn.

    compile_ms: from file to the first golden image judged. rss_mb: peak of the process; base_mb: before the model was opened.
    joules: of the whole machine, as far as it tells, for one image to its verdict; energy: what is counted, or why nothing is.
    """

    artifact: str
    runtime: dict[str, Any]
    executed_on: str
    precision: str
    p50_ms: float
    p95_ms: float
    p99_ms: float
    graph_ms: float
    per_s: float
    compile_ms: float
    rss_mb: float
    base_mb: float
    size_mb: float
    joules: float | None
    energy: str


def bench_command(arguments: list[str]) -> int:
    """Measures each artefact of a bundle on this machine; with --choose the fastest one is what `runtime: {type: auto}` runs."""
    parser = argparse.ArgumentParser(
        prog="kensa bench", description=bench_command.__doc__, epilog="example: kensa bench bundles/cap --choose --state state"
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--state", type=Path, help="the station's state folder: its own tables, and where the choice is kept")
    parser.add_argument("--choose", action="store_true", help="keep the fastest in --state")
    parser.add_argument("--frames", type=int, default=100, help="images for each artefact (100)")
    parser.add_argument("--threads", type=int, default=0, help="0 leaves the number to the runtime")
    parser.add_argument(
        "--within-s", type=float, default=600.0, metavar="S", help="time for each artefact; what takes longer is left out (600)"
    )
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # this very process measures one runtime section of one artefact
    chosen = parser.parse_args(arguments)
    if chosen.choose and chosen.state is None:
        parser.error("--choose needs --state, the folder that the line's file names")
    if chosen.frames < 1:
        parser.error("--frames: expected at least 1")
    if not 0 < chosen.within_s < float("inf"):
        parser.error("--within-s: expected a number of seconds above 0")
    if chosen.json is not None and (chosen.json.is_dir() or not chosen.json.resolve().parent.is_dir()):
        parser.error(f"--json {chosen.json}: expected a file in a folder that is there")
    if chosen.state is not None:
        become_owner(chosen.state)
    bundle = open_bundle(chosen.bundle)
    if chosen.one is not None:
        asked = json.loads(chosen.one)
        (artifact,) = (a for a in bundle.manifest.artifacts if a.name == asked["artifact"])
        print(msgspec.json.encode(measure(bundle, artifact, asked["runtime"], chosen.frames, chosen.state)).decode())
        return 0
    figures = [
        found
        for artifact in bundle.manifest.artifacts
        for runtime in candidates(artifact, chosen.threads)
        if (found := _in_own_process(chosen, artifact, runtime)) is not None
    ]
    if not figures:
        raise InferenceError(f"{chosen.bundle}: no artefact of this bundle runs on this machine")
    print(table(figures))
    if chosen.choose:  # first: a file that cannot be written must not cost the choice
        best = min(figures, key=lambda one: one.p50_ms)
        choice = Choice(bundle.manifest.bundle_id, best.artifact, best.runtime, best.p50_ms, utc_now())
        print(f"chosen: {best.artifact} on {best.executed_on}, in {keep(chosen.state, choice)}")
        print("a line of `runtime: {type: auto}` that runs takes this up when its model is next opened, at a start for instance")
    if chosen.json is not None:
        chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1))
    return 0


def candidates(artifact: Artifact, threads: int) -> list[dict[str, Any]]:
    """The runtime sections by which this artefact can run here, as the runtimes themselves tell; one that is not installed says
    so when it is tried."""
    with_threads = {"threads": threads} if threads else {}
    try:
        if artifact.runtime == "onnxruntime":
            import onnxruntime

            names = {"CPU": "cpu", "CUDA": "cuda", "Tensorrt": "tensorrt", "OpenVINO": "openvino"}
            there = (name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers())
            return [{"type": "onnxruntime", "provider": names[name], **with_threads} for name in there if name in names]
        if artifact.runtime == "openvino":
            import openvino

            return [{"type": "openvino", "device": device, **with_threads} for device in openvino.Core().available_devices]
    except ImportError:
        pass
    return [{"type": artifact.runtime}]


def measure(bundle: Bundle, artifact: Artifact, runtime: dict[str, Any], frames: int, state: Path | None) -> Measured:
    """This artefact in this process. Raises BundleError, InferenceError, as a station would where it cannot run."""
    base_mb = _peak_mb()
    contract = bundle.manifest.input
    image, depth = _frame(bundle)
    started_ns = time.perf_counter_ns()
    with open_model(bundle, artifact, section("agent.runtimes", runtime), Here(state)) as model:
        compile_ms = (time.perf_counter_ns() - started_ns) / 1e6
        policy = Policy(model.calibration.threshold)
        ready = prepare(image, contract)
        inputs = (ready,) if depth is None else (ready, prepare_depth(depth, (image.shape[1], image.shape[0]), contract))
        whole_ms, graph_ms = [], []
        for _ in range(frames + _WARM_UP):  # in turn, so that whatever else the machine does falls on both
            began_ns = time.perf_counter_ns()
            decide(model.read(image, depth), policy)
            between_ns = time.perf_counter_ns()
            model.runtime.infer(*inputs)
            whole_ms.append((between_ns - began_ns) / 1e6)
            graph_ms.append((time.perf_counter_ns() - between_ns) / 1e6)
        joules, energy = energy_of(lambda: decide(model.read(image, depth), policy), frames)
        p50, p95, p99 = np.percentile(whole_ms[_WARM_UP:], [50, 95, 99]).tolist()
        return Measured(
            artifact=artifact.name,
            runtime=runtime,
            executed_on=model.runtime.executed_on,
            precision=artifact.computes_in(model.runtime.executed_precision),
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            graph_ms=float(np.median(graph_ms[_WARM_UP:])),
            per_s=1000.0 * frames / sum(whole_ms[_WARM_UP:]),
            compile_ms=compile_ms,
            rss_mb=_peak_mb(),
            base_mb=base_mb,
            size_mb=sum(bundle.path(name).stat().st_size for name in artifact.files) / 1e6,
            joules=joules,
            energy=energy,
        )


def energy_of(judge: Callable[[], object], frames: int, system: Path = SYSTEM) -> tuple[float | None, str]:
    """Joules for one image to its verdict, and what they are of; without any, why. A run of its own: asking takes time too."""
    try:
        meter = energy_meter(time.perf_counter_ns(), system)
        for _ in range(frames):
            judge()
            joules = meter.joules(time.perf_counter_ns())
    except NoEnergyError as e:
        return None, str(e)
    return joules / frames, meter.of


def table(figures: list[Measured]) -> str:
    """For people; times in ms."""
    head = f"{'artefact':24s} {'on':12s} {'in':9s}   p50    p95    p99   graph    1/s  compile  RSS MB  size MB  J/image"
    rows = [
        f"{m.artifact:24s} {m.executed_on:12s} {m.precision:9s} {m.p50_ms:6.2f} {m.p95_ms:6.2f} {m.p99_ms:6.2f} "
        f"{m.graph_ms:6.2f} {m.per_s:7.1f} {m.compile_ms:7.0f} {m.rss_mb:7.0f} {m.size_mb:8.1f} "
        f"{'-' if m.joules is None else f'{m.joules:.3f}':>8s}"
        for m in figures
    ]
    energy = dict.fromkeys(f"J/image: {m.energy}" for m in figures)
    return "\n".join([head, *rows, *energy])


def _in_own_process(chosen: argparse.Namespace, artifact: Artifact, runtime: dict[str, Any]) -> Measured | None:
    """None, and a line that says why, where it does not run here or not in time."""
    asked = json.dumps({"artifact": artifact.name, "runtime": runtime})
    words = ["bench", str(chosen.bundle), "--frames", str(chosen.frames), "--one", asked]
    if chosen.state is not None:
        words += ["--state", str(chosen.state)]
    try:
        finished = subprocess.run(
            [sys.executable, "-m", "kensa", *words], capture_output=True, text=True, check=False, timeout=chosen.within_s
        )
    except subprocess.TimeoutExpired:
        why = f"not done after {chosen.within_s:g} s, left out (--within-s allows more)"
    else:
        if not finished.returncode:
            return msgspec.json.decode(finished.stdout.splitlines()[-1], type=Measured)  # last: a runtime may print, too
        said = finished.stderr.strip().splitlines()[-1:] or [f"status {finished.returncode}"]
        why = f"does not run here: {said[0]}"
    print(f"{artifact.name} with {runtime}: {why}", file=sys.stderr)
    return None


def _frame(bundle: Bundle) -> tuple[Image, Depth | None]:
    """A golden image as a camera of 1280x1024 gives it, or as it is where the bundle refuses that size; depth 1 m if needed."""
    contract = bundle.manifest.input
    if not bundle.manifest.golden:
        raise BundleError(f"{bundle.folder}: has no golden image to measure with: export again")
    golden = to_8_bit(read_image(bundle.path(bundle.manifest.golden[0])), contract.white_level)
    image = np.asarray(cv2.resize(golden, _FRAME), dtype=np.uint8) if _accepts(contract, *_FRAME) else golden
    return image, np.ones(image.shape[:2], dtype=np.float32) if contract.depth else None


def _accepts(contract: InputContract, width: int, height: int) -> bool:
    return (
        contract.min_width <= width <= contract.max_width
        and contract.min_height <= height <= contract.max_height
        and contract.min_aspect <= width / height <= contract.max_aspect
    )


def _peak_mb() -> float:
    """Of this process, resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
