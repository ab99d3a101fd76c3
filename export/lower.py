"""Artefacts of lower precision: made, gated against the float ones, and shipped or withheld with the figures that say why."""

import logging
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from agent.bundle import Artifact, PtqRecord, Withheld
from export.artifact import Reference
from export.gate import LEAST_LOW_MACS
from export.layers import all_macs, layers
from export.mix import Bfloat16, Int8, int8_layers
from export.ptq_images import ptq_images
from export.quantize import Quantizer, inputs_of
from export.to_openvino import to_openvino
from export.trial import Bench, Made, artifact_name, bench_of, tried
from export.widen import Sensitivity, widened
from training.run import Run

_log = logging.getLogger(__name__)
_RUNTIMES = ("openvino", "onnxruntime")


@dataclass(frozen=True, slots=True)
class Lowered:
    """What became of the artefacts of lower precision."""

    artifacts: tuple[Artifact, ...]
    withheld: tuple[Withheld, ...]
    ptq: PtqRecord | None


def lower(run: Run, folder: Path, floats: Sequence[Artifact], reference: Reference, precisions: Collection[str]) -> Lowered:
    """Tries each precision for each runtime that can have it. folder: of the bundle, with its float artefacts in it.

    Raises DataError where INT8 is wanted and the training photographs have gone.
    """
    shipped: list[Artifact] = []
    withheld: list[Withheld] = []

    def rivals(runtime: str) -> list[Path]:
        return [folder / a.files[0] for a in (*floats, *shipped) if a.runtime == runtime]

    def settle(result: Artifact | Withheld) -> None:
        (shipped if isinstance(result, Artifact) else withheld).append(result)  # type: ignore[arg-type]

    with tempfile.TemporaryDirectory() as scratch:
        bench, ptq = bench_of(run, folder, Path(scratch), floats, reference), None
        method = run.deployed.method
        if "f16" in precisions:
            file = bench.scratch / "model.f16.xml"
            to_openvino(bench.graph, file, half_weights=True)
            settle(tried(bench, Made("f16", "openvino", file, bench.graph, rivals("openvino"))))
        if "bf16" in precisions:
            kind = Bfloat16(bench.searching, method, bench.scratch)
            settle(widened(bench, kind, Sensitivity(bench, kind), rivals("openvino")))
        if "int8" in precisions and (most := _most_int8(bench)) < LEAST_LOW_MACS:
            reason = f"{100 * most:.0f} % of the work may be in INT8, at least {100 * LEAST_LOW_MACS:.0f} % wanted"
            withheld += [Withheld(artifact_name(runtime, "int8"), runtime, "int8", reason) for runtime in _RUNTIMES]
        elif "int8" in precisions:
            views = ptq_images(run)
            ptq = views.record
            _log.info("learning ranges from %d views", ptq.views)
            quantizer = Quantizer(bench.searching, inputs_of(views.images, views.depths), bench.scratch)
            kinds = (
                Int8(bench.searching, method, bench.scratch, quantizer, "openvino"),
                Int8(bench.searching, method, bench.scratch, quantizer, "onnxruntime"),
            )
            sensitivity = Sensitivity(bench, kinds[0])
            for each in kinds:
                settle(widened(bench, each, sensitivity, rivals(each.runtime)))
    return Lowered(tuple(shipped), tuple(withheld), ptq)


def _most_int8(bench: Bench) -> float:
    """Share of all multiplications that may be in INT8 at all."""
    graph = onnx.load(bench.searching)
    return sum(layer.macs for layer in int8_layers(layers(graph), bench.run.deployed.method)) / all_macs(graph)
