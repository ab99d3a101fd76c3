"""What the bundle says of one artefact: its own golden scores, threshold and parity, from running it as the device will."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.bundle import Artifact, GateRecord, Parity
from agent.calibration import Calibration, calibrate
from agent.drivers import section
from agent.inspection import Depth, Image
from agent.preprocess import prepare, prepare_depth, read_depth, read_image, to_8_bit
from agent.tiled import tiled
from export.parity import Answer, answers
from training.graph import TorchRuntime
from training.progress import UNWATCHED, Progress
from training.run import Run


@dataclass(frozen=True, slots=True)
class Reference:
    """The trained model's answers on the run's golden, then its calibration images, and the table that compares others."""

    images: list[Image]
    depths: list[Depth] | None
    n_golden: int
    answers: list[Answer]
    calibration: Calibration


def reference_of(run: Run, progress: Progress = UNWATCHED) -> Reference:
    """Asks the trained model; progress: of its answers."""
    contract = run.record.input
    golden = [to_8_bit(read_image(path), contract.white_level) for path in run.golden]
    images, depths = [*(prepare(image, contract) for image in golden), *run.calibration_images], None
    if run.calibration_depths is not None:
        sizes = [(image.shape[1], image.shape[0]) for image in golden]
        of_golden = [read_depth(path.with_suffix(".tiff")) for path in run.golden]
        prepared = [prepare_depth(depth, size, contract) for depth, size in zip(of_golden, sizes, strict=True)]
        depths = [*prepared, *run.calibration_depths]
    found = answers(tiled(TorchRuntime(run.deployed), contract), progress.track(images, "torch"), depths)
    return Reference(images, depths, len(golden), found, run.record.calibration)


def answered(
    run: Run, file: Path, runtime: str, images: Iterable[Image], depths: Sequence[Depth] | None
) -> tuple[list[Answer], str]:
    """A file's answers on network inputs, and the lowest floating-point precision its runtime computes them in."""
    with section("agent.runtimes", {"type": runtime}).open(file) as opened:
        return answers(tiled(opened, run.record.input), images, depths), opened.executed_precision


def artifact(
    run: Run,
    title: tuple[str, str, str],
    files: tuple[str, ...],
    found: Sequence[Answer],
    n_golden: int,
    parity: Parity,
    gate: GateRecord | None = None,
) -> Artifact:
    """title: name, runtime, precision. found: its answers on the golden and then the calibration images."""
    table = calibrate(
        np.array([answer.raw for answer in found[n_golden:]], dtype=np.float32),
        run.record.calibration.wished_rate,
        run.record.calibration.confidence,
    )
    return Artifact(*title, files, table, parity, tuple(answer.raw for answer in found[:n_golden]), gate)
