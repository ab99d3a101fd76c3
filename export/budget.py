"""A memory bank as large as the time for a part allows: the first vectors of a coreset are a coreset of their own."""

import copy
import logging
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from agent.bundle import BundleError, sha256
from agent.calibration import calibrate
from agent.drivers import section
from agent.tiled import tiled
from training.graph import TorchRuntime
from training.methods.patchcore import PatchCore
from training.run import MODEL, Run, write_model

log = logging.getLogger(__name__)

_SMALLEST = 250  # vectors: below, a bank says little
_STEP = 50
_ROUNDS, _WARM = 25, 5


def graph_ms(run: Run) -> float:
    """Median time of the float32 OpenVINO graph for one picture on this machine."""
    from export.to_onnx import to_onnx
    from export.to_openvino import to_openvino

    image, taken_ms = run.calibration_images[0], []
    with TemporaryDirectory(prefix="kensa-budget-") as name:
        onnx_file, file = Path(name) / "model.onnx", Path(name) / "model.xml"
        to_onnx(run.deployed, run.record.input, onnx_file)
        to_openvino(onnx_file, file)
        with section("agent.runtimes", {"type": "openvino"}).open(file) as opened:
            model = tiled(opened, run.record.input)
            for _ in range(_WARM + _ROUNDS):
                start = time.perf_counter()
                model.infer(image, None)
                taken_ms.append(1000 * (time.perf_counter() - start))
    return statistics.median(taken_ms[_WARM:])


def within(run: Run, budget_ms: float, measure: Callable[[Run], float] = graph_ms) -> Run:
    """The run with the largest bank whose graph takes at most so long here; the same run where its own does.

    measure: milliseconds of a run's graph; it grows in a line with the bank. Raises BundleError for a method without a bank, and
    where even a small one takes longer.
    """
    method = run.deployed.method
    if not isinstance(method, PatchCore):
        raise BundleError(f"--within-ms: {run.record.method} has no bank that could be smaller, only patchcore has one")
    full, least = len(method.memory_bank), min(_SMALLEST, len(method.memory_bank))
    most_ms = measure(run)
    if most_ms <= budget_ms:
        log.info("bank: all %d vectors, %.1f ms", full, most_ms)
        return run
    smallest = shrunk(run, least)
    least_ms = measure(smallest)
    if least_ms > budget_ms:
        raise BundleError(
            f"--within-ms {budget_ms:g}: with {least} vectors the graph takes {least_ms:.1f} ms on this machine; allow more, "
            "or fit again with a smaller --image-size or another --backbone"
        )
    count = least + int((full - least) * (budget_ms - least_ms) / (most_ms - least_ms)) // _STEP * _STEP
    while count > least:
        fitting = shrunk(run, count)
        if (taken_ms := measure(fitting)) <= budget_ms:
            log.info("bank: %d of %d vectors, %.1f ms", count, full, taken_ms)
            return fitting
        count = least + int(0.9 * (count - least)) // _STEP * _STEP
    log.info("bank: %d of %d vectors, %.1f ms", least, full, least_ms)
    return smallest


def shrunk(run: Run, count: int) -> Run:
    """With the first vectors of the bank only, the calibration that these give, and the hash of what is left of the model."""
    deployed, contract, known = copy.deepcopy(run.deployed), run.record.input, run.record.calibration
    method = deployed.method
    assert isinstance(method, PatchCore)
    method.keep(count)
    runtime = tiled(TorchRuntime(deployed), contract)
    scores = [runtime.infer(image, None)[0] for image in run.calibration_images]
    with TemporaryDirectory(prefix="kensa-budget-") as name:
        write_model(Path(name), deployed)
        content = run.record.content | {MODEL: sha256(Path(name) / MODEL)}
    record = msgspec.structs.replace(
        run.record,
        content=content,
        settings={**run.record.settings, "bank": count},
        calibration=calibrate(scores, known.wished_rate, known.confidence),
    )
    return Run(run.folder, record, deployed)
