"""`make bench-peers`: from a 1280x1024 frame to a verdict, ours beside anomalib's own inferencer with the same weights.

    PYTHONPATH=. python tests/bench_peers.py RUN [RUN ...] --data DATA --python ANOMALIB_ENV/bin/python --out FOLDER

Each RUN (PatchCore, STFPM or FastFlow with ResNet-18, or EfficientAD-S) is exported by both sides, once, in FOLDER. Of our
artefacts that passed the gate the one that is fastest here stands against anomalib's float and INT8 exports. Blocks of frames
follow each other in turn, in processes that wait for one another, so that whatever else the machine does falls on all. A run is
every frame once; a ratio is of the medians of one run. Scores are compared too, so that it is the same work.

Ours is what the hot path calls, `read` and `decide`, from the frame, resize included; in turn with it the compiled graph alone is
given the same frame, resized beforehand. Frames are test photographs brought to 1280x1024, a size our model is told to take.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray
from paired_series import Series, Watch, over_ms, ratios

from agent.bundle import open_bundle
from agent.commands.bench import Measured
from agent.decide import Policy, decide
from agent.drivers import section
from agent.inspection import Part, Prediction, Shot
from agent.loop import read
from agent.model import Model, open_model
from agent.preprocess import prepare, read_image, to_8_bit
from training.data import input_contract, unseen_parts

SIZE = (1280, 1024)
FRAMES, ROUNDS, BLOCK = 50, 5, 10
WANTED = {"stfpm": 2.5, "fastflow": 1.5, "efficientad": 2.0, "patchcore": 10.0}
KINDS = ("f32", "int8")  # of anomalib's exports
HEAD = (
    "method", "our artefact", "ours, ms", "anomalib, ms", "ratio", "of work", "wanted", "its INT8, ms", "ratio", "of work",
    "its INT8 against its float scores", "ours against its float scores", "our graph alone, ms", "ours over it, ms", "of work",
)  # fmt: skip


class Ours:
    """Our artefact on the hot path, and its graph alone."""

    def __init__(self, model: Model, frames: NDArray[np.uint8]) -> None:
        any_size = {
            "min_width": 1,
            "max_width": 9999,
            "min_height": 1,
            "max_height": 9999,
            "min_aspect": 0.01,
            "max_aspect": 99.0,
        }
        self._model = replace(model, contract=msgspec.structs.replace(model.contract, **any_size))
        self._frames, self._policy = frames, Policy(model.calibration.threshold)
        self.whole, self.graph = Series(), Series()
        self.all = [self.whole, self.graph]

    def ask(self, frames: Sequence[int]) -> None:
        for k in frames:
            shot = Shot(Part("bench", k), "top", time.monotonic_ns(), self._frames[k])
            watch = Watch()
            reading = read(self._model, shot)
            decide(reading, self._policy)
            taken = watch.read()
            if not isinstance(reading, Prediction):
                raise SystemExit(f"frame {k}: {reading}")
            self.whole.add(k, *taken, reading.raw)
            ready = prepare(self._frames[k], self._model.contract)
            watch = Watch()
            raw, _ = self._model.runtime.infer(ready)
            self.graph.add(k, *watch.read(), raw)


class Theirs:
    """Anomalib's inferencer, in its process. told: its versions, and in what precisions its graph is computed."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self._process, self._log = process, log
        self.whole = Series()
        self.all = [self.whole]
        self.told: dict[str, str] = self._answer()

    def ask(self, frames: Sequence[int]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(list(frames)) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        for k, ms, work_ms, score in zip(frames, answer["ms"], answer["work_ms"], answer["scores"], strict=True):
            self.whole.add(k, ms, work_ms, score)

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"anomalib's side ended before it answered; its last words are in {self._log}")
        return json.loads(line)


@contextmanager
def theirs(kind: str, run: Path, options: argparse.Namespace) -> Iterator[Theirs]:
    """Exported by anomalib first, where that has not been done."""
    out, script = options.out / run.name / "anomalib", Path(__file__).with_name("anomalib_inferencer.py")
    out.mkdir(parents=True, exist_ok=True)
    words = [options.python, script, kind, "--run", run, "--data", options.data, "--frames", frames_file(options), "--out", out]
    with (out / f"{kind}.log").open("w") as log:
        pipe = subprocess.PIPE
        process = subprocess.Popen([str(word) for word in words], stdin=pipe, stdout=pipe, stderr=log, text=True)
        try:
            yield Theirs(process, out / f"{kind}.log")
        finally:
            process.kill()
            process.wait()


def frames_file(options: argparse.Namespace) -> Path:
    """Test photographs, evenly taken from all of them, as (N, 1024, 1280, 3) uint8 RGB; written once."""
    file: Path = options.out / "frames.npy"
    if not file.exists():
        parts = unseen_parts(options.data)
        picked = [parts[k] for k in np.linspace(0, len(parts) - 1, FRAMES).astype(int)]
        white_level = input_contract(picked, size=256).white_level
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, np.stack([cv2.resize(to_8_bit(read_image(part.path), white_level), SIZE) for part in picked]))
    return file


def fastest(run: Path, options: argparse.Namespace) -> tuple[Path, Measured]:
    """Our bundle, and which of its artefacts is fastest here; exported and measured where that has not been done."""
    bundle, figures = options.out / run.name / "bundle", options.out / run.name / "bench.json"
    kensa = [sys.executable, "-m", "kensa"]
    if not bundle.exists():
        subprocess.run([*kensa, "export", run, "--out", bundle, "--also", "f16", "bf16", "int8"], check=True)
    if not figures.exists():
        subprocess.run([*kensa, "bench", bundle, "--frames", "30", "--json", figures], check=True)
    return bundle, min(msgspec.json.decode(figures.read_bytes(), type=list[Measured]), key=lambda one: one.p50_ms)


def measure(ours: Ours, peers: Sequence[Theirs]) -> None:
    """All frames in turn, five times, after a block that does not count."""
    sides: list[Ours | Theirs] = [ours, *peers]
    every_series = [series for side in sides for series in side.all]
    for run in range(ROUNDS + 1):
        for series in every_series:
            if run == 1:
                series.forget()
            series.begin()
        for first in range(0, FRAMES if run else BLOCK, BLOCK):
            for side in sides if (run + first // BLOCK) % 2 else reversed(sides):
                side.ask(range(first, first + BLOCK))


def row(run: Path, options: argparse.Namespace) -> list[str]:
    """Of the table in docs/benchmarks.md."""
    method = json.loads((run / "run.json").read_text())["method"]
    frames = np.load(frames_file(options), allow_pickle=False)
    folder, best = fastest(run, options)
    bundle = open_bundle(folder)
    (artifact,) = (one for one in bundle.manifest.artifacts if one.name == best.artifact)
    with ExitStack() as stack:
        model = stack.enter_context(open_model(bundle, artifact, section("agent.runtimes", best.runtime)))
        ours = Ours(model, frames)
        peers = [stack.enter_context(theirs(kind, run, options)) for kind in KINDS]
        measure(ours, peers)
    for kind, peer in zip(KINDS, peers, strict=True):
        print(f"{run.name}, {kind}: {peer.told}", file=sys.stderr)
    whole, (as_float, as_int8) = ours.whole, (peer.whole for peer in peers)
    floats = (f"{as_float.ms:.1f}", *ratios(as_float, whole), f"{WANTED[method]:g}")
    ints = (f"{as_int8.ms:.1f}", *ratios(as_int8, whole), f"{as_int8.order(as_float):.3f}")
    clock, work = over_ms(whole, ours.graph)
    over = (f"{ours.graph.ms:.1f}", f"{clock:+.1f}", f"{work:+.1f}")
    return [method, artifact.name, f"{whole.ms:.1f}", *floats, *ints, f"{whole.order(as_float):.3f}", *over]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="data set in MVTec layout, for frames and for INT8")
    parser.add_argument("--python", required=True, help="of an environment with anomalib[openvino] 2.7")
    parser.add_argument("--out", type=Path, required=True, help="for both sides' exports")
    options = parser.parse_args()
    options.out = options.out.resolve()
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")
    print(f"| {' | '.join(HEAD)} |\n{'|---' * len(HEAD)}|")
    for run in options.runs:
        print(f"| {' | '.join(row(run, options))} |", flush=True)


if __name__ == "__main__":
    main()
