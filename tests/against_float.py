"""What lower precision costs on real defects: image AUROC and AU-PRO of each artefact of a bundle, on a data set's test parts.

    PYTHONPATH=. python tests/against_float.py BUNDLE DATA [ARTEFACT ...]     prints one row per artefact for docs/benchmarks.md

The gate of `kensa export` never sees a defect; this is the check of the gate, and is run by hand.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.bundle import open_bundle
from agent.drivers import section
from agent.preprocess import InputContract, RefusedImageError, enlarge
from agent.tiled import tiled
from export.gate import Judged
from export.parity import answers
from training.data import load, unseen_parts
from training.drawings import read_mask
from training.metrics import image_auroc
from training.photographs import Photograph
from training.pixel_metrics import PixelCurves, score_edges


def _is_fit(part: Photograph, contract: InputContract) -> bool:
    """The bundle refuses photographs of another shape than those it was fitted on, in every precision."""
    try:
        contract.check(part.width, part.height)
    except RefusedImageError as e:
        print(f"left out: {part.path.name}: {e}", file=sys.stderr)
        return False
    return True


def _aupro(judged: Judged, masks: list[NDArray[np.bool_] | None], contract: InputContract) -> float:
    """At the size of the photographs."""
    found = [(answer.anomaly_map, mask) for answer, mask in zip(judged.answers, masks, strict=True) if mask is not None]
    curves = PixelCurves(score_edges([anomaly_map for anomaly_map, _ in found], limit=8192))
    for anomaly_map, mask in found:
        curves.add(enlarge(anomaly_map, (mask.shape[1], mask.shape[0]), contract), mask)
    return curves.aupro()


def main(folder: Path, data: Path, wanted: list[str]) -> None:
    bundle, parts = open_bundle(folder), unseen_parts(data)
    contract = bundle.manifest.input
    parts = [part for part in parts if _is_fit(part, contract)]
    images = [load(part, contract) for part in parts]
    is_defect = np.array([part.defect is not None for part in parts])
    masks = [read_mask(part) if part.defect else None for part in parts]
    for artifact in (a for a in bundle.manifest.artifacts if not wanted or a.name in wanted):
        with section("agent.runtimes", {"type": artifact.runtime}).open(bundle.path(artifact.files[0])) as runtime:
            judged = Judged(answers(tiled(runtime, contract), images), artifact.calibration)
        g = artifact.gate
        figures = "| | | | | | | " if g is None else (
            f"| {g.spearman:.4f} | {100 * g.worst_shift:.1f} | {g.flips} of {g.images} | {100 * g.map_change:.2f} "
            f"| {g.aupro_change:+.2f} | {100 * g.low_macs:.0f} | {g.time_ratio:.2f} "
        )  # fmt: skip
        area = image_auroc(judged.raws[~is_defect], judged.raws[is_defect])
        print(
            f"| {folder.name} | {artifact.name} {figures}| {100 * area:.2f} "
            f"| {100 * _aupro(judged, masks, contract):.2f} | {(judged.rejects & ~is_defect).sum()} / "
            f"{(~judged.rejects & is_defect).sum()} |",
            flush=True,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
