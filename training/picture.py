"""The test parts that teach most, as a report shows them: photograph, heat map, and the outline of the drawn defect."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import PurePath
from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.inspection import Fault, Image
from agent.model import Model
from agent.preprocess import enlarge
from training.data import Photograph, load_original, load_original_depth
from training.drawings import read_mask
from training.evaluation import HEAT_SHARES, Evaluation, PartResult
from training.findings import percent

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SHOWN_WRONG, _SHOWN_RIGHT = 6, 4
MOST_PICTURES = 2 * _SHOWN_WRONG + _SHOWN_RIGHT  # of escapes and false rejects, and of defects found
_LONGER_SIDE_PX, _JPEG_QUALITY = 360, 80
_OUTLINE, _OUTLINE_EDGE = (0, 225, 255), (10, 20, 30)  # cyan on black: no colour of the heat map and no grey


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A test part as it is shown: the photograph and, beside it, what the model found strange and where the defect is."""

    part: PartResult
    photograph: Image
    heat_map: Image


@dataclass(frozen=True, slots=True)
class Pictures:
    """The parts that teach most, worst first."""

    escapes: tuple[Picture, ...]
    false_rejects: tuple[Picture, ...]
    weakest_found: tuple[Picture, ...]


def pictures(evaluation: Evaluation, photographs: Sequence[Photograph], model: Model) -> Pictures:
    """The worst escapes and false rejects and the defects found by the smallest margin, inspected once more.

    photographs: those of the evaluation, in its order.
    """
    by_path = {str(p.path): p for p in photographs}

    def seen(parts: Iterable[PartResult], most: int) -> tuple[Picture, ...]:
        return tuple(_picture(part, by_path[part.path], evaluation, model) for part in list(parts)[:most])

    inspected = sorted((p for p in evaluation.parts if p.fault is None), key=lambda p: p.raw)
    escapes = [p for p in inspected if p.defect is not None and not p.rejected]
    false_rejects = [p for p in inspected[::-1] if p.defect is None and p.rejected]
    found = [p for p in inspected if p.defect is not None and p.rejected]
    return Pictures(seen(escapes, _SHOWN_WRONG), seen(false_rejects, _SHOWN_WRONG), seen(found, _SHOWN_RIGHT))


def _picture(part: PartResult, photograph: Photograph, evaluation: Evaluation, model: Model) -> Picture:
    image = load_original(photograph, model.contract)
    reading = model.read(image, load_original_depth(photograph, model.contract))
    height, width = image.shape[:2]
    scale = min(1.0, _LONGER_SIDE_PX / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    if isinstance(reading, Fault):
        return Picture(part, small, small)
    anomaly_map = enlarge(reading.anomaly_map, (width, height), model.contract)
    heat = np.asarray(cv2.resize(anomaly_map, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
    return Picture(part, small, _outlined(_heated(small, heat, evaluation.heat), read_mask(photograph)))


def _heated(image: Image, anomaly_map: "NDArray[np.float32]", levels: tuple[float, float]) -> Image:
    """The grey image, coloured from the first level of the map on, fully at the second."""
    low, high = levels
    heat = np.clip(np.nan_to_num((anomaly_map - low) / max(high - low, 1e-12)), 0.0, 1.0)
    colors = cv2.applyColorMap(np.rint(95 + 150 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    share = (0.8 * np.minimum(1.0, 2.5 * heat))[..., None]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    return np.asarray(np.rint(grey * (1 - share) + colors * share), dtype=np.uint8)


def _outlined(image: Image, mask: "NDArray[np.bool_] | None") -> Image:
    """The image with the drawn defect's outline."""
    if mask is None or not mask.any():
        return image
    height, width = image.shape[:2]
    share = np.asarray(cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA))
    outlines, _ = cv2.findContours((share > 0).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outlined = np.ascontiguousarray(image)
    cv2.drawContours(outlined, outlines, -1, _OUTLINE_EDGE, 4)
    cv2.drawContours(outlined, outlines, -1, _OUTLINE, 2)
    return outlined


def galleries(e: Evaluation, shown: Pictures) -> str:
    """All of them as HTML, the JPEGs inside."""
    low, high = (escaped(f"{100 * share:g} %") for share in HEAT_SHARES)
    passed, found = ([p for p in e.parts if p.defect and p.rejected is is_found] for is_found in (False, True))
    false_rejects = [p for p in e.parts if not p.defect and p.rejected]
    return (
        '<p class="muted">Left the photograph, right the heat map: coloured where the picture is stranger than '
        f"{low} of the good parts' pixels, brightest beyond {high}. The cyan line surrounds the defect as people drew it.</p>"
        + _gallery("Defects that passed", shown.escapes, passed, "lowest")
        + _gallery("Good parts that were rejected", shown.false_rejects, false_rejects, "highest")
        + _gallery("Defects just found", shown.weakest_found, found, "lowest")
    )


def _gallery(title: str, pictures: Sequence[Picture], parts: Sequence[PartResult], order: str) -> str:
    """parts: of which the pictures are; those that could not be inspected have none."""
    unseen = sum(part.fault is not None for part in parts)
    which = f"{len(pictures)} of {len(parts) - unseen}, {order} score first" if pictures else "none"
    which += f"; besides, {unseen} that could not be inspected" if unseen else ""
    return f'<h3>{title}: {which}</h3><div class="gallery">{"".join(map(_shown, pictures))}</div>'


def _shown(picture: Picture) -> str:
    part = picture.part
    size = f", {percent(part.defect_share)} of the picture" if part.defect_share else ""
    return (
        f'<figure><div class="two">{_image(picture.photograph, "photograph")}{_image(picture.heat_map, "heat map")}</div>'
        f"<figcaption><strong>score {_score(part.score)}</strong>{size}<br>{escape(name_of(part))}</figcaption></figure>"
    )


def name_of(part: PartResult) -> str:
    """Kind and file: for people, not unique."""
    return f"{part.defect or 'good'}/{PurePath(part.path).name}"


def _score(score: float) -> str:
    return f"{score:.2f}".replace("-", "\N{MINUS SIGN}")


def _image(image: Image, what: str) -> str:
    """An image element with its JPEG inside. image: (H, W, 3) uint8 RGB."""
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return f'<img alt="{what}" src="data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}">'


def escaped(words: str) -> str:
    """Escaped, and no percent sign alone on a new line."""
    return escape(words).replace(" %", "&nbsp;%")
