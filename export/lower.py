"""Artefacts of lower precision: made, gated against the float ones, and shipped or withheld with the figures that say why."""

import logging
import re
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from training.data import DataError
from training.run import Run

_log = logging.getLogger(__name__)
_RUNTIMES = {"f16": ("openvino",), "bf16": ("openvino",), "int8": ("openvino", "onnxruntime")}  # that can have it
_LONGEST_REASON = 300  # characters: some runtimes print the whole graph


@dataclass(frozen=True, slots=True)
class Lowered:
    """What became of the artefacts of lower precision."""

    artifacts: tuple[Artifact, ...]
    withheld: tuple[Withheld, ...]
    ptq: PtqRecord | None


@dataclass(slots=True)
class _Tries:
    """What ships and what does not, so far. folder: of the bundle; scratch: for what is made."""

    folder: Path
    scratch: Path
    floats: Sequence[Artifact]
    shipped: list[Artifact] = field(default_factory=list)
    withheld: list[Withheld] = field(default_factory=list)
    ptq: PtqRecord | None = None

    def rivals(self, runtime: str) -> list[Path]:
        return [self.folder / a.files[0] for a in (*self.floats, *self.shipped) if a.runtime == runtime]

    def settle(self, result: Artifact | Withheld) -> None:
        if isinstance(result, Artifact):
            self.shipped.append(result)
        else:
            self.withheld.append(result)

    @contextmanager
    def costing(self, *precisions: str, runtime: str | None = None) -> Iterator[None]:
        """A converter that gives up, or a runtime that cannot open its file, costs these artefacts and not the bundle."""
        try:
            yield
        except (DataError, OSError):
            raise
        except Exception as e:  # noqa: BLE001 - converters raise whatever they like; the manifest tells it
            said = _without_folders(str(e).replace(str(self.scratch), "/scratch") or type(e).__name__)
            lost = [(p, r) for p in precisions for r in _RUNTIMES[p] if runtime in (None, r)]
            for precision, its_runtime in lost:
                name = artifact_name(its_runtime, precision)
                _log.warning("%s could not be made: %s", name, said)
                self.withheld.append(Withheld(name, its_runtime, precision, f"could not be made: {said[:_LONGEST_REASON]}"))


def lower(run: Run, folder: Path, floats: Sequence[Artifact], reference: Reference, precisions: Collection[str]) -> Lowered:
    """Tries each precision for each runtime that can have it. folder: of the bundle, with its float artefacts in it.

    Raises DataError where INT8 is wanted and the training photographs have gone, and OSError.
    """
    wanted = [precision for precision in _RUNTIMES if precision in precisions]
    with tempfile.TemporaryDirectory() as scratch:
        tries = _Tries(folder, Path(scratch), floats)
        with tries.costing(*wanted):
            bench = bench_of(run, folder, tries.scratch, floats, reference)
            for precision in wanted:
                with tries.costing(precision):
                    _TRY[precision](bench, tries)
    return Lowered(tuple(tries.shipped), tuple(tries.withheld), tries.ptq)


def _without_folders(said: str) -> str:
    """One line that is the same on each machine.

    >>> _without_folders("/tmp/a1/model.xml: refused:\\n no node")
    'model.xml: refused: no node'
    """
    return " ".join(re.sub(r"(?<![\w.])/(?:[^\s/:]+/)+", "", said).split())


def _half(bench: Bench, tries: _Tries) -> None:
    file = bench.scratch / "model.f16.xml"
    to_openvino(bench.graph, file, half_weights=True)
    tries.settle(tried(bench, Made("f16", "openvino", file, bench.graph, tries.rivals("openvino"))))


def _bfloat16(bench: Bench, tries: _Tries) -> None:
    kind = Bfloat16(bench.searching, bench.run.deployed.method, bench.scratch)
    tries.settle(widened(bench, kind, Sensitivity(bench, kind), tries.rivals("openvino")))


def _int8(bench: Bench, tries: _Tries) -> None:
    if (most := _most_int8(bench)) < LEAST_LOW_MACS:
        reason = f"{100 * most:.0f} % of the work may be in INT8, at least {100 * LEAST_LOW_MACS:.0f} % wanted"
        for runtime in _RUNTIMES["int8"]:
            tries.settle(Withheld(artifact_name(runtime, "int8"), runtime, "int8", reason))
        return
    views = ptq_images(bench.run)
    tries.ptq = views.record
    _log.info("learning ranges from %d views", views.record.views)
    quantizer = Quantizer(bench.searching, inputs_of(views.images, views.depths), bench.scratch)
    kinds = [Int8(bench.searching, bench.run.deployed.method, bench.scratch, quantizer, runtime) for runtime in _RUNTIMES["int8"]]
    sensitivity = Sensitivity(bench, kinds[0])
    for kind in kinds:
        with tries.costing("int8", runtime=kind.runtime):
            tries.settle(widened(bench, kind, sensitivity, tries.rivals(kind.runtime)))


_TRY = {"f16": _half, "bf16": _bfloat16, "int8": _int8}


def _most_int8(bench: Bench) -> float:
    """Share of all multiplications that may be in INT8 at all."""
    graph = onnx.load(bench.searching)
    return sum(layer.macs for layer in int8_layers(layers(graph), bench.run.deployed.method)) / all_macs(graph)
