"""Tiny data sets of drawn plates, each in the exact layout of a public one."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
from small_dataset import plate, save, save_dataset, scratched

LOCO_DEFECTS = [
    {"defect_name": "missing_cap", "pixel_value": 255, "saturation_threshold": 0.5, "relative_saturation": True},
    {"defect_name": "long_scratch", "pixel_value": 254, "saturation_threshold": 20, "relative_saturation": False},
]


def grey_mask(**rectangles: tuple[slice, slice]) -> np.ndarray:
    """(80, 96, 1) uint8; `v255=np.s_[0:4, 0:5]` gives these pixels the value 255."""
    mask = np.zeros((80, 96, 1), np.uint8)
    for value, place in rectangles.items():
        mask[place] = int(value[1:])
    return mask


def save_grey(path: Path, image: np.ndarray) -> Path:
    """One channel, in the format that the name asks for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    return path


def save_loco(root: Path) -> Path:
    """Two logical and two structural anomalies; test/structural_anomalies/000 has two regions in one picture."""
    save_dataset(root, n_good=6, n_test=2)
    shutil.rmtree(root / "ground_truth")
    (root / "test" / "scratch").rename(root / "test" / "structural_anomalies")
    shutil.copytree(root / "test" / "structural_anomalies", root / "test" / "logical_anomalies")
    for k in range(2):
        save(root / "validation" / "good" / f"{k:03}.png", plate(500 + k))
        drawn = root / "ground_truth" / "logical_anomalies" / f"{k:03}"
        save_grey(drawn / "000.png", grey_mask(v255=np.s_[0:10, 0:10]))
        save_grey(drawn / "001.png", grey_mask(v254=np.s_[20:30, 20:30]))
        both = grey_mask(v255=np.s_[0:2, 0:5], v254=np.s_[40:42, 40:45])
        save_grey(root / "ground_truth" / "structural_anomalies" / f"{k:03}" / "000.png", both)
    (root / "defects_config.json").write_text(json.dumps(LOCO_DEFECTS))
    return root


def save_visa(root: Path, category: str = "candle") -> Path:
    """The category's folder; split_csv lies beside it and names another category, too. Mask values are 1, not 255."""
    rows = ["object,split,label,image,mask"]
    for k in range(8):
        save(root / category / "Data" / "Images" / "Normal" / f"{k:04}.JPG", plate(k))
        rows.append(f"{category},{'train' if k < 6 else 'test'},normal,{category}/Data/Images/Normal/{k:04}.JPG,")
    for k in range(2):
        save(root / category / "Data" / "Images" / "Anomaly" / f"{k:03}.JPG", scratched(plate(100 + k)))
        save_grey(root / category / "Data" / "Masks" / "Anomaly" / f"{k:03}.png", grey_mask(v1=np.s_[8:16, 5:50]))
        image, mask = (f"{category}/Data/{name}/Anomaly/{k:03}" for name in ("Images", "Masks"))
        rows.append(f"{category},test,anomaly,{image}.JPG,{mask}.png")
    rows.append("pcb1,train,normal,pcb1/Data/Images/Normal/0000.JPG,")
    (root / "split_csv").mkdir(parents=True)
    (root / "split_csv" / "1cls.csv").write_text("\n".join(rows) + "\n")
    return root / category


def save_mvtec3d(root: Path) -> Path:
    """train, validation and test, each with rgb and xyz (float32 metres), and gt in test."""
    points = np.random.default_rng(0).uniform(0.1, 0.5, (80, 96, 3)).astype(np.float32)
    for split, kind, n in (("train", "good", 6), ("validation", "good", 2), ("test", "good", 2), ("test", "hole", 2)):
        for k in range(n):
            image = plate(sum(map(ord, split + kind)) * 10 + k)
            save(root / split / kind / "rgb" / f"{k:03}.png", scratched(image) if kind == "hole" else image)
            save_grey(root / split / kind / "xyz" / f"{k:03}.tiff", points)
    for k in range(2):
        save_grey(root / "test" / "good" / "gt" / f"{k:03}.png", grey_mask())
        save_grey(root / "test" / "hole" / "gt" / f"{k:03}.png", grey_mask(v255=np.s_[8:16, 5:50]))
    return root
