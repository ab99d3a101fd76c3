"""Views of the training photographs, from which quantization learns the range of each layer's values."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator, default_rng

from agent.bundle import PtqRecord
from agent.inspection import Depth, Image
from agent.preprocess import inspected, looked_at
from training.damage import KINDS, damage
from training.data import DataError, good_parts, load, load_depth
from training.run import Run

VIEWS = 300  # OpenVINO's advice; less misses ranges, more takes longer
_PTQ = 1  # in the seed of its damage, so that it is not the gate's
_SHIFT, _LIGHT = 0.04, 0.12  # largest share of a side; largest change of contrast, and of brightness by full scale


@dataclass(frozen=True, slots=True)
class PtqImages:
    """images: graph inputs (H, W, 3) uint8; depths: theirs, (H, W) float32 metres, or None. record: what the bundle says of
    them."""

    images: list[Image]
    depths: list[Depth] | None
    record: PtqRecord


def ptq_images(run: Run) -> PtqImages:
    """VIEWS views of the parts that the model was trained on, and of no other; the same for the same run.

    First each part as it is, in an order drawn by chance, then moved and relit a little, every other time with painted damage
    too: what is strange has values beyond those of good parts. With tiles a view is a tile. Raises DataError where the
    photographs have gone or changed.
    """
    record = run.record
    root = Path(record.data)
    if not root.is_dir():
        raise DataError(f"{root}: the photographs that the model was trained on are not there; quantization needs them")
    parts = good_parts(root, record.seed)
    if parts.data_sha256(record.input.depth) != record.data_sha256:
        raise DataError(f"{root}: not the photographs that the model was trained on; fit again, or bring them back")
    random, contract, inside = default_rng(record.seed), record.input, inspected(record.input)
    order = random.permutation(len(parts.train))
    images, depths = [], []
    for k in range(VIEWS):
        photograph = parts.train[order[k % len(order)]]
        image = load(photograph, contract)
        depth = load_depth(photograph, contract) if contract.depth else None
        if k >= len(order):
            image, depth = _varied(image, depth, random)
        if k % 2:
            image = damage(image, KINDS[k // 2 % len(KINDS)], (record.seed, _PTQ, k), inside).image
        if contract.tiles is not None:
            image = contract.tiles.cut(image, int(random.choice(np.flatnonzero(looked_at(contract)))))
        images.append(np.ascontiguousarray(image))
        if depth is not None:
            depths.append(np.ascontiguousarray(depth))
    digest = hashlib.sha256(b"".join(image.tobytes() for image in images)).hexdigest()
    used = tuple(sorted({parts.train[k].sha256 for k in order[:VIEWS]}))
    return PtqImages(images, depths if contract.depth else None, PtqRecord(len(images), record.seed, used, digest))


def _varied(image: Image, depth: Depth | None, random: Generator) -> tuple[Image, Depth | None]:
    """Shifted by up to _SHIFT, the border repeated, and with other contrast and brightness; depth is shifted alike."""
    height, width = image.shape[:2]
    x, y = random.uniform(-_SHIFT, _SHIFT, 2) * (width, height)
    matrix = np.array([[1, 0, round(x)], [0, 1, round(y)]], dtype=np.float32)
    contrast, brightness = 1 + random.uniform(-_LIGHT, _LIGHT), 255 * random.uniform(-_LIGHT, _LIGHT)
    nearest, border = cv2.INTER_NEAREST, cv2.BORDER_REPLICATE
    moved = cv2.warpAffine(image, matrix, (width, height), flags=nearest, borderMode=border)
    relit = np.clip(np.rint((moved.astype(np.float32) - 128) * contrast + 128 + brightness), 0, 255).astype(np.uint8)
    if depth is None:
        return relit, None
    return relit, np.asarray(cv2.warpAffine(depth, matrix, (width, height), flags=nearest, borderMode=border), np.float32)
