"""A file of lower precision on trial: measured beside the float artefact, then shipped, or withheld with the figures why."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import torch

from agent.bundle import Artifact, GateRecord, Withheld
from agent.calibration import CalibrationError
from agent.inspection import Depth, Image
from agent.preprocess import inspected, looked_at
from export.artifact import Reference, answered, artifact
from export.executed import share
from export.gate import Cost, Judged, gate
from export.layers import layers
from export.mix import bf16_nodes
from export.paired import time_ratio
from export.parity import TOLERANCE, deviation
from export.to_onnx import to_onnx
from export.to_openvino import to_openvino_bf16
from training.damage import KINDS, Mask, damage, dented
from training.run import Run

_log = logging.getLogger(__name__)
_NAMES = {"openvino": "openvino", "onnxruntime": "onnx"}  # of runtimes, in those of artefacts
_MOST_GOOD = 60  # parts that the gate looks at, and as many damaged ones
_LEARNED_FROM = 8  # of these, good ones, for a search that is nearly right


@dataclass(frozen=True, slots=True)
class Made:
    """A file that may become an artefact. source: the float ONNX graph it was made from. rivals: files to be faster than.

    float_layers, bf16_layers: blocks of the network that are in float32, and in bfloat16, instead of its precision. way: what a
    log line adds to its name.
    """

    precision: str
    runtime: str
    file: Path
    source: Path
    rivals: list[Path]
    float_layers: tuple[str, ...] = ()
    bf16_layers: tuple[str, ...] = ()
    way: str = ""

    @property
    def name(self) -> str:
        return artifact_name(self.runtime, self.precision)


def artifact_name(runtime: str, precision: str) -> str:
    return f"{_NAMES[runtime]}-{precision}"


@dataclass(frozen=True, slots=True)
class Bench:
    """What every file is held against. images: good ones, then damaged ones, whose masks are not None; judged: by float.

    graph: the float ONNX graph. searching: the same where the method searches candidates and measures what it finds exactly.
    """

    run: Run
    folder: Path
    scratch: Path
    reference: Reference
    images: list[Image]
    depths: list[Depth] | None
    masks: list[Mask | None]
    judged: Judged
    graph: Path
    searching: Path

    @property
    def n_good(self) -> int:
        return sum(mask is None for mask in self.masks)


def bench_of(run: Run, folder: Path, scratch: Path, floats: Sequence[Artifact], reference: Reference) -> Bench:
    """Damages good parts, and asks the float artefact of OpenVINO about all."""
    n = reference.n_golden
    good = [np.array(image) for image in reference.images[n : n + _MOST_GOOD]]
    inside = inspected(run.record.input)
    damaged = [damage(image, KINDS[k % len(KINDS)], (run.record.seed, k), inside) for k, image in enumerate(good)]
    depths = None
    if reference.depths is not None:
        flat = reference.depths[n : n + _MOST_GOOD]
        depths = [*flat, *(dented(depth, found.mask) for depth, found in zip(flat, damaged, strict=True))]
    images = [*good, *(found.image for found in damaged)]
    (float_artifact,) = (a for a in floats if a.runtime == "openvino")
    judged = Judged(answered(run, folder / float_artifact.files[0], "openvino", images, depths)[0], float_artifact.calibration)
    masks = [*(None for _ in good), *(found.mask for found in damaged)]
    graph = folder / "artifacts" / "model.onnx"
    bench = Bench(run, folder, scratch, reference, images, depths, masks, judged, graph, searching=graph)
    return replace(bench, searching=_searching(bench))


def _searching(bench: Bench) -> Path:
    """The graph with the narrowest search that, alone in bfloat16, passes the gate; the widest has none to give way to."""
    run, method, file = bench.run, bench.run.deployed.method, bench.graph
    for columns in (widths := method.searches):
        file = bench.scratch / f"searching-{columns}.onnx"
        method.search_in(columns, _given(run, bench.images[: min(_LEARNED_FROM, bench.n_good)]))
        try:
            to_onnx(run.deployed, run.record.input, file)
        finally:
            method.search_exactly()
        if columns == widths[-1]:
            break
        model = onnx.load(file)
        search = [layer for layer in layers(model) if layer.block == "search"]
        to_openvino_bf16(file, lowered := file.with_suffix(".xml"), bf16_nodes(model, search, search))
        answers = answered(run, lowered, "openvino", bench.images, bench.depths)[0]
        found = Judged(answers, bench.judged.calibration)
        record = gate(bench.judged, found, bench.masks, run.record.input, Cost(1.0, 0.0))
        _log.info("search in %d columns: %s", columns, "; ".join(record.failures) or "passes")
        if not record.failures:
            break
    return file


def _given(run: Run, images: Sequence[Image]) -> torch.Tensor:
    """What the network sees of them; of tiles the first that is looked at."""
    contract = run.record.input
    first = int(np.flatnonzero(looked_at(contract))[0])
    seen = np.stack([image if contract.tiles is None else contract.tiles.cut(image, first) for image in images])
    return run.deployed.normalize(torch.from_numpy(seen))


def tried(bench: Bench, made: Made) -> Artifact | Withheld:
    """The file measured; in the bundle, if it passes the gate."""
    run, reference = bench.run, bench.reference
    found, executed = answered(run, made.file, made.runtime, reference.images, reference.depths)
    parity = deviation(reference.answers, found, reference.calibration, executed)
    suffixes = (".xml", ".bin") if made.file.suffix == ".xml" else (made.file.suffix,)
    files = tuple(f"artifacts/{made.file.with_suffix(suffix).name}" for suffix in suffixes)
    n = reference.n_golden
    try:
        result = artifact(run, (made.name, made.runtime, made.precision), files, found, n, parity)
    except CalibrationError as e:
        return Withheld(made.name, made.runtime, made.precision, f"no threshold can be set: {e}")
    good, damaged = bench.n_good, slice(bench.n_good, None)
    depths = None if bench.depths is None else bench.depths[damaged]
    answers = [*found[n : n + good], *answered(run, made.file, made.runtime, bench.images[damaged], depths)[0]]
    record = gate(bench.judged, Judged(answers, result.calibration), bench.masks, run.record.input, _cost(bench, made))
    blocks = len(made.bf16_layers), len(made.float_layers)
    name = f"{made.name}{made.way}"
    _log.info("%s, %d blocks in bfloat16, %d in float: %s", name, *blocks, "; ".join(record.failures) or "passes")
    if record.failures:
        return Withheld(made.name, made.runtime, made.precision, "; ".join(record.failures), record)
    tolerance = max(TOLERANCE, parity.score_deviation)  # as far as rounding took it from float, it may take it elsewhere
    parity = msgspec.structs.replace(parity, tolerance=tolerance, executed_precision=_executed(made, record, executed))
    for suffix in suffixes:  # last: what fails before leaves nothing in the bundle
        shutil.copyfile(made.file.with_suffix(suffix), bench.folder / "artifacts" / made.file.with_suffix(suffix).name)
    return msgspec.structs.replace(result, parity=parity, gate=record)


def _executed(made: Made, record: GateRecord, floats: str) -> str:
    """As the compiled model says. floats: the lowest floating-point precision in it."""
    if made.precision in (floats, "f16"):  # float16 is how weights are stored; the hint of the device stays f32
        return floats
    low = f"{made.precision} {100 * record.low_macs:.0f} %"
    if not made.bf16_layers:
        return f"{low}, {floats}"
    beside = share(made.source, made.file, made.runtime, "bf16")
    return f"{low}, bf16 {100 * beside:.0f} %, f32"


def _cost(bench: Bench, made: Made) -> Cost:
    depth = None if bench.depths is None else bench.depths[0]
    image, tiles = bench.images[0], bench.run.record.input.tiles
    part = np.ascontiguousarray(image if tiles is None else tiles.cut(image, 0))
    ratio = time_ratio(made.runtime, made.file, made.rivals, part, depth)
    low = share(made.source, made.file, made.runtime, made.precision)
    gains = made.precision != "f16"
    return Cost(low, ratio, gains=gains, float_layers=made.float_layers, bf16_layers=made.bf16_layers)
