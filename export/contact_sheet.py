"""Parts with their heat maps and scores on one picture, for people who want to see what the model saw."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from agent.inspection import Image, Prediction
from agent.preprocess import InputContract, enlarge

_CELL = (320, 240)  # px of one picture
_CAPTION_PX = 28
_GREEN, _RED, _AMBER = (60, 170, 90), (215, 60, 55), (225, 150, 30)
_WHITE, _GROUND = (240, 240, 240), (28, 28, 30)


@dataclass(frozen=True, slots=True, eq=False)
class Inspected:
    """A photograph and what was said of it. title: for people. passed: the verdict. is_defect: the truth."""

    image: Image
    prediction: Prediction
    title: str
    passed: bool
    is_defect: bool

    @property
    def judged(self) -> str:
        """The verdict, and by its plant's name where it is wrong."""
        if self.passed:
            return "pass: ESCAPE" if self.is_defect else "pass"
        return "reject" if self.is_defect else "reject: FALSE REJECT"


def heat_map(inspected: Inspected, contract: InputContract) -> Image:
    """The photograph with its anomaly map over it: clear at a typical good part's level, red where it is strangest.

    The scale is the part's score against the threshold, so that a good part stays clear.
    """
    height, width = inspected.image.shape[:2]
    anomaly_map = enlarge(inspected.prediction.anomaly_map, (width, height), contract)
    raw, score = inspected.prediction.raw, max(inspected.prediction.score, 1e-3)
    heat = np.clip(anomaly_map / max(raw, 1e-9), 0, 1) ** 3 * min(score, 2.0) / 2.0
    colors = cv2.applyColorMap(np.rint(255 * heat).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    share = np.clip(heat * 1.4, 0, 0.75)[..., None]
    return np.asarray(np.rint(inspected.image * (1 - share) + colors * share), dtype=np.uint8)


def contact_sheet(parts: Sequence[Inspected], contract: InputContract, file: Path, columns: int = 3) -> None:
    """Writes one PNG: photograph and heat map side by side, `columns` parts in a row."""
    cells = [_cell(part, contract) for part in parts]
    cells += [np.full_like(cells[0], _GROUND)] * (-len(cells) % columns)
    rows = [np.hstack(cells[k : k + columns]) for k in range(0, len(cells), columns)]
    if not cv2.imwrite(str(file), np.vstack(rows)[..., ::-1]):
        raise OSError(f"{file}: picture not written")


def _cell(part: Inspected, contract: InputContract) -> Image:
    pair = [cv2.resize(picture, _CELL, interpolation=cv2.INTER_AREA) for picture in (part.image, heat_map(part, contract))]
    color = {"pass": _GREEN, "reject": _RED}.get(part.judged, _AMBER)
    caption = np.full((_CAPTION_PX, 2 * _CELL[0], 3), color, dtype=np.uint8)
    text = f"{part.title}   score {part.prediction.score:.2f}   {part.judged}"
    cv2.putText(caption, text, (8, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.5, _WHITE, 1, cv2.LINE_AA)
    cell = np.vstack([np.hstack(pair), caption])
    return np.asarray(cv2.copyMakeBorder(cell, 3, 3, 3, 3, cv2.BORDER_CONSTANT, value=_GROUND), dtype=np.uint8)
