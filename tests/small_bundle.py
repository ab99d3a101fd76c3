"""A real bundle around one convolution, made without torch: a part is as strange as its brightest spot."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from agent.bundle import MANIFEST, Artifact, Manifest, Parity, Provenance, seal
from agent.calibration import calibrate
from agent.clock import utc_now
from agent.preprocess import InputContract

GOLDEN = Path(__file__).parent / "golden" / "one_convolution.onnx"
CONTRACT = InputContract(64, 64, min_width=48, max_width=128, min_height=48, max_height=128, min_aspect=0.5, max_aspect=2.0)


def photograph(random: np.random.Generator, defect: bool = False) -> np.ndarray:
    """(64, 64, 3) uint8: a dark part, with a bright square if it has a defect."""
    image = random.integers(40, 80, (64, 64, 3), dtype=np.uint8)
    if defect:
        image[16:40, 24:48] = 230
    return image


def write_photographs(folder: Path, n: int, defects: frozenset[int] = frozenset(), seed: int = 0) -> None:
    """n photographs named in order; those whose index is in `defects` have one."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for k in range(n):
        cv2.imwrite(str(folder / f"{k:04d}.png"), photograph(random, k in defects))


def raw_score(image: np.ndarray) -> float:
    """What the graph computes, independently: the brightest 8x8 block, as a share of white."""
    blocks = image.astype(np.float64).reshape(8, 8, 8, 8, 3).mean(axis=(1, 3, 4)) / 255
    return float(blocks.max())


def write_bundle(folder: Path, openvino_too: bool = False) -> Manifest:
    """The bundle in `folder`, sealed."""
    (folder / "artifacts").mkdir(parents=True)
    (folder / "reference").mkdir()
    shutil.copyfile(GOLDEN, folder / "artifacts" / "model.onnx")
    random = np.random.default_rng(7)
    goldens = [photograph(random), photograph(random, defect=True)]
    for k, image in enumerate(goldens):
        cv2.imwrite(str(folder / "reference" / f"golden_{k}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    scores = [raw_score(photograph(random)) for _ in range(60)]
    table = calibrate(np.array(scores, dtype=np.float32), wished_rate=0.05)
    parity = Parity(images=2, score_deviation=0.0, map_deviation=0.0, tolerance=1e-3, executed_precision="f32")
    golden_raw = tuple(raw_score(image) for image in goldens)
    artifacts = [Artifact("onnx-f32", "onnxruntime", "f32", ("artifacts/model.onnx",), table, parity, golden_raw)]
    if openvino_too:
        import openvino

        model = openvino.convert_model(str(folder / "artifacts" / "model.onnx"))
        openvino.save_model(model, str(folder / "artifacts" / "model.xml"), compress_to_fp16=False)
        files = ("artifacts/model.xml", "artifacts/model.bin")
        artifacts.append(Artifact("openvino-f32", "openvino", "f32", files, table, parity, golden_raw))
    provenance = Provenance("brightness", "none", "none", "0" * 64, "0" * 64, "0" * 64, 7, 60, {})
    return seal(
        folder,
        Manifest(
            "",
            "",
            "small",
            utc_now(),
            CONTRACT,
            tuple(artifacts),
            ("reference/golden_0.png", "reference/golden_1.png"),
            provenance,
            {},
        ),
    )


def edit_manifest(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Changes the manifest as someone would who knows how bundle_id is made."""
    content = json.loads((folder / MANIFEST).read_text())
    edit(content)
    hashed = json.dumps(content | {"bundle_id": "", "created": ""}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    content["bundle_id"] = hashlib.sha256(hashed.encode()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(content))
