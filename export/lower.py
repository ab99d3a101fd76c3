"""Artefacts of lower precision: made, gated against the float ones, and shipped or withheld with the figures that say why."""

import logging
import shutil
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import onnx
import torch

from agent.bundle import Artifact, GateRecord, PtqRecord, Withheld
from agent.calibration import CalibrationError
from agent.inspection import Depth, Image
from export.artifact import Reference, answered, artifact
from export.damage import KINDS, Mask, damage, dented
from export.executed import share
from export.gate import LEAST_LOW_MACS, Cost, Judged, gate, loses
from export.layers import Layer, all_macs, between, layers, outside
from export.paired import time_ratio
from export.parity import TOLERANCE, deviation
from export.ptq_images import ptq_images
from export.quantize import Quantizer, inputs_of
from export.to_onnx import to_onnx
from export.to_openvino import to_openvino, to_openvino_bf16
from training.run import Run

_log = logging.getLogger(__name__)
_NAMES = {"openvino": "openvino", "onnxruntime": "onnx"}  # of runtimes, in those of artefacts
_MOST_GOOD = 60  # parts that the gate looks at, and as many damaged ones
_PROBES = 16  # of the gate's images, by which the sensitivity of blocks is measured
_WIDENED = (0, 1, 2, 3, 5)  # blocks left in float, one try each


@dataclass(frozen=True, slots=True)
class Lowered:
    """What became of the artefacts of lower precision."""

    artifacts: tuple[Artifact, ...]
    withheld: tuple[Withheld, ...]
    ptq: PtqRecord | None


@dataclass(frozen=True, slots=True)
class _Made:
    """A file that may become an artefact. source: the float ONNX graph it was made from. rivals: files to be faster than."""

    precision: str
    runtime: str
    file: Path
    source: Path
    rivals: list[Path]
    float_layers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{_NAMES[self.runtime]}-{self.precision}"


@dataclass(frozen=True, slots=True)
class _Bench:
    """What every file is held against. images: good ones, then damaged ones, whose masks are not None; judged: by float."""

    run: Run
    folder: Path
    scratch: Path
    reference: Reference
    images: list[Image]
    depths: list[Depth] | None
    masks: list[Mask | None]
    judged: Judged

    @property
    def n_good(self) -> int:
        return sum(mask is None for mask in self.masks)

    @property
    def graph(self) -> Path:
        """The float ONNX graph."""
        return self.folder / "artifacts" / "model.onnx"

    @property
    def searching(self) -> Path:
        """The same for OpenVINO, where a search for candidates is in bfloat16 and what it finds is measured again in float32."""
        found = self.scratch / "searching.onnx"
        return found if found.exists() else self.graph


def lower(run: Run, folder: Path, floats: Sequence[Artifact], reference: Reference, precisions: Collection[str]) -> Lowered:
    """Tries each precision for each runtime that can have it. folder: of the bundle, with its float artefacts in it.

    Raises DataError where INT8 is wanted and the training photographs have gone.
    """
    shipped: list[Artifact] = []
    withheld: list[Withheld] = []

    def rivals(runtime: str) -> list[Path]:
        return [folder / a.files[0] for a in (*floats, *shipped) if a.runtime == runtime]

    def settle(tried: Artifact | Withheld) -> None:
        (shipped if isinstance(tried, Artifact) else withheld).append(tried)  # type: ignore[arg-type]

    with tempfile.TemporaryDirectory() as scratch:
        bench, ptq = _bench(run, folder, Path(scratch), floats, reference), None
        if "f16" in precisions:
            file = bench.scratch / "model.f16.xml"
            to_openvino(bench.graph, file, half_weights=True)
            settle(_tried(bench, _Made("f16", "openvino", file, bench.graph, rivals("openvino"))))
        if "bf16" in precisions:
            settle(_tried(bench, _bf16(bench, rivals("openvino"))))
        if "int8" in precisions and (most := _most_int8(bench)) < LEAST_LOW_MACS:
            reason = f"{100 * most:.0f} % of the work lies outside of float islands, at least {100 * LEAST_LOW_MACS:.0f} % wanted"
            withheld += [Withheld(f"{name}-int8", runtime, "int8", reason) for runtime, name in _NAMES.items()]
        elif "int8" in precisions:
            views = ptq_images(run)
            ptq = views.record
            _log.info("learning ranges from %d views", ptq.views)
            quantizer = Quantizer(bench.graph, inputs_of(views.images, views.depths), bench.scratch)
            blocks = _Blocks(bench, quantizer)
            for runtime in _NAMES:
                settle(blocks.widened(runtime, rivals(runtime)))
    return Lowered(tuple(shipped), tuple(withheld), ptq)


def _bench(run: Run, folder: Path, scratch: Path, floats: Sequence[Artifact], reference: Reference) -> _Bench:
    """Damages good parts, and asks the float artefact of OpenVINO about all."""
    n = reference.n_golden
    good = [np.array(image) for image in reference.images[n : n + _MOST_GOOD]]
    damaged = [damage(image, KINDS[k % len(KINDS)], (run.record.seed, k)) for k, image in enumerate(good)]
    depths = None
    if reference.depths is not None:
        flat = reference.depths[n : n + _MOST_GOOD]
        depths = [*flat, *(dented(depth, found.mask) for depth, found in zip(flat, damaged, strict=True))]
    images = [*good, *(found.image for found in damaged)]
    (float_artifact,) = (a for a in floats if a.runtime == "openvino")
    judged = Judged(answered(run, folder / float_artifact.files[0], "openvino", images, depths)[0], float_artifact.calibration)
    masks = [*(None for _ in good), *(found.mask for found in damaged)]
    if run.deployed.method.search_in(torch.bfloat16):
        try:
            to_onnx(run.deployed, run.record.input, scratch / "searching.onnx")
        finally:
            run.deployed.method.search_in(torch.float32)
    return _Bench(run, folder, scratch, reference, images, depths, masks, judged)


def _most_int8(bench: _Bench) -> float:
    """Share of all multiplications that may be in INT8 at all."""
    graph = onnx.load(bench.graph)
    return sum(layer.macs for layer in outside(layers(graph), bench.run.deployed.method.float_islands)) / all_macs(graph)


def _bf16(bench: _Bench, rivals: list[Path]) -> _Made:
    file, graph = bench.scratch / "model.bf16.xml", onnx.load(bench.searching)
    chosen = outside(layers(graph), bench.run.deployed.method.float_islands)
    inner = set(between(graph, chosen)) - {node.name for node in graph.graph.node if node.op_type == "Resize"}
    to_openvino_bf16(bench.searching, file, {layer.node for layer in chosen} | inner)
    return _Made("bf16", "openvino", file, bench.searching, rivals)


def _tried(bench: _Bench, made: _Made) -> Artifact | Withheld:
    """The file measured; in the bundle, if it passes the gate."""
    run, reference = bench.run, bench.reference
    found, executed = answered(run, made.file, made.runtime, reference.images, reference.depths)
    parity = deviation(reference.answers, found, reference.scale, executed)
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
    _log.info("%s, %d blocks in float: %s", made.name, len(made.float_layers), "; ".join(record.failures) or "passes")
    if record.failures:
        return Withheld(made.name, made.runtime, made.precision, "; ".join(record.failures), record)
    for suffix in suffixes:
        shutil.copyfile(made.file.with_suffix(suffix), bench.folder / "artifacts" / made.file.with_suffix(suffix).name)
    tolerance = max(TOLERANCE, parity.score_deviation)  # as far as rounding took it from float, it may take it elsewhere
    parity = msgspec.structs.replace(parity, tolerance=tolerance, executed_precision=_executed(made, record, executed))
    return msgspec.structs.replace(result, parity=parity, gate=record)


def _executed(made: _Made, record: GateRecord, floats: str) -> str:
    return floats if made.precision == floats else f"{made.precision} {100 * record.low_macs:.0f} %, {floats}"


def _cost(bench: _Bench, made: _Made) -> Cost:
    depth = None if bench.depths is None else bench.depths[0]
    image, tiles = bench.images[0], bench.run.record.input.tiles
    part = np.ascontiguousarray(image if tiles is None else tiles.cut(image, 0))
    ratio = time_ratio(made.runtime, made.file, made.rivals, part, depth)
    low = share(made.source, made.file, made.runtime, made.precision)
    return Cost(low, ratio, gains=made.precision != "f16", float_layers=made.float_layers)


class _Blocks:
    """INT8 of ever fewer blocks of the network, until the gate is passed or nothing is left that would pay."""

    def __init__(self, bench: _Bench, quantizer: Quantizer) -> None:
        self._bench, self._quantizer = bench, quantizer
        graph = onnx.load(bench.graph)
        self._chosen = outside(layers(graph), bench.run.deployed.method.float_islands)
        self._all_macs = all_macs(graph)
        self._ranked: list[str] | None = None

    def widened(self, runtime: str, rivals: list[Path]) -> Artifact | Withheld:
        """The first try that passes, or the one with the smallest shift, withheld."""
        tried: list[Withheld] = []
        for count in _WIDENED:
            kept = [] if count == 0 else self._sensitive()[:count]
            chosen = [layer for layer in self._chosen if layer.block not in kept]
            if tried and sum(layer.macs for layer in chosen) < LEAST_LOW_MACS * self._all_macs:
                break
            result = _tried(self._bench, self._made(runtime, rivals, chosen, tuple(kept)))
            if isinstance(result, Artifact):
                return result
            tried.append(result)
            if result.gate is not None and not loses(result.gate):
                break  # only too slow, or too little of it: more float would not help
        return min(tried, key=lambda w: 1.0 if w.gate is None else w.gate.worst_shift)

    def _made(self, runtime: str, rivals: list[Path], chosen: Sequence[Layer], kept: tuple[str, ...]) -> _Made:
        bench = self._bench
        source = bench.searching if runtime == "openvino" else bench.graph
        nodes = {layer.module: layer for layer in layers(onnx.load(source))}  # the same layers may have other names there
        file = bench.scratch / "model.int8.onnx"
        self._quantizer.write(source, file, [nodes[layer.module] for layer in chosen])
        if runtime == "openvino":
            to_openvino(file, file := file.with_suffix(".xml"))
        return _Made("int8", runtime, file, source, rivals, kept)

    def _sensitive(self) -> list[str]:
        """The blocks, the one whose quantization alone moves a score most first."""
        if self._ranked is None:
            shifts = {block: self._shift(block) for block in dict.fromkeys(layer.block for layer in self._chosen)}
            self._ranked = sorted(shifts, key=lambda block: -shifts[block])
            _log.info("sensitivity: %s", ", ".join(f"{block} {shifts[block]:.3g}" for block in self._ranked))
        return self._ranked

    def _shift(self, block: str) -> float:
        bench = self._bench
        picked = np.linspace(0, len(bench.images) - 1, _PROBES).astype(int).tolist()
        made = self._made("openvino", [], [layer for layer in self._chosen if layer.block == block], ())
        depths = None if bench.depths is None else [bench.depths[k] for k in picked]
        found, _ = answered(bench.run, made.file, "openvino", [bench.images[k] for k in picked], depths)
        return float(max(abs(answer.raw - bench.judged.answers[k].raw) for answer, k in zip(found, picked, strict=True)))
