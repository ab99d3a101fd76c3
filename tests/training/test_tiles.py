"""Large photographs cut into tiles: small defects are found that shrinking hides, the same on workstation and device."""

import io
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_dataset import save
from small_methods import recipe

from agent.drivers import SectionError
from export.pack import export
from training.data import good_parts, input_contract
from training.evaluate import open_trained
from training.fit import fit
from training.methods import Parts
from training.progress import Lines
from training.recipe import Recipe
from training.region import Outline
from training.run import open_run


def surface(seed: int, width: int = 480, height: int = 288) -> np.ndarray:
    """Brushed metal, (H, W, 3) uint8."""
    random = np.random.default_rng(seed)
    brushed = cv2.blur(random.normal(0, 60, (height, width)), (31, 1))
    return np.repeat(np.clip(128 + brushed + random.normal(0, 2, (height, width)), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def pitted(image: np.ndarray, size: int = 6, grey: int = 90) -> np.ndarray:
    """With a pit of 6 px, less than a pixel once the whole is shrunk to 64 px."""
    damaged = image.copy()
    damaged[150 : 150 + size, 300 : 300 + size] = grey
    return damaged


@pytest.fixture(scope="module")
def surfaces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("surfaces")
    for k in range(8):
        save(root / "train" / "good" / f"{k}.png", surface(k))
    return root


def tiled_recipe(method: str, data: Path, out: Path, **changes: object) -> Recipe:
    """Tiles of 64 px, 32 px apart, so that nothing of a photograph is shrunk."""
    return recipe(method, data, out, **{"tiles": (14, 8), **changes})


@pytest.mark.parametrize("method", ["patchcore", "stfpm", "fastflow"])
def test_workstation_and_device_agree_on_a_tiled_model(method: str, surfaces: Path, tmp_path: Path) -> None:
    fit(tiled_recipe(method, surfaces, tmp_path / "run", tiles=(3, 2)), Lines(io.StringIO()))
    export(open_run(tmp_path / "run"), tmp_path / "bundle", "surface")
    image = pitted(surface(100))

    with ExitStack() as stack:
        torch, onnx, openvino = (
            open_trained(tmp_path / folder, runtime, stack).model
            for folder, runtime in (("run", "torch"), ("bundle", "onnxruntime"), ("bundle", "openvino"))
        )
        expected = torch.predict(image)
        found = [model.predict(image) for model in (onnx, openvino)]

    scale, map_range = torch.calibration.scale, float(np.ptp(expected.anomaly_map))
    assert max(abs(prediction.raw - expected.raw) for prediction in found) <= 1e-3 * scale  # export's own tolerance
    assert max(np.abs(p.anomaly_map - expected.anomaly_map).max() for p in found) <= 1e-3 * map_range


def test_a_pit_is_found_that_the_untiled_model_misses(surfaces: Path, tmp_path: Path) -> None:
    fit(tiled_recipe("patchcore", surfaces, tmp_path / "tiled", weights=None), Lines(io.StringIO()))
    fit(tiled_recipe("patchcore", surfaces, tmp_path / "whole", weights=None, tiles=None), Lines(io.StringIO()))

    with ExitStack() as stack:
        cut, whole = (open_trained(tmp_path / name, None, stack).model for name in ("tiled", "whole"))
        good = [image for image in map(surface, range(100, 108)) if max(cut.predict(image).score, whole.predict(image).score) < 1]
        found = [cut.predict(pitted(image)).score for image in good]
        missed = [whole.predict(pitted(image)).score for image in good]

    assert len(good) >= 4  # a threshold from eight photographs rejects some of what is good
    assert min(found) >= 1.0
    assert max(missed) < 1.0


PEAK_MB = """
import resource, sys
from contextlib import ExitStack
from pathlib import Path
from agent.preprocess import read_image
from training.evaluate import open_trained
with ExitStack() as stack:
    open_trained(Path(sys.argv[1]), None, stack).model.predict(read_image(Path(sys.argv[2])))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def peak_mb(run: Path, picture: Path) -> float:
    """Memory of a process that judges one picture."""
    return float(subprocess.run([sys.executable, "-c", PEAK_MB, run, picture], check=True, capture_output=True).stdout)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_pit_of_12_px_in_4096x3000_px_is_found_that_the_untiled_model_misses_in_bounded_memory(tmp_path: Path) -> None:
    """Several minutes. The whole photograph is kept three times (37 MB each: as read, prepared, and one more while resizing)."""
    for k in range(8):
        save(tmp_path / "data" / "train" / "good" / f"{k}.png", surface(k, 4096, 3000))
    for name, tiles in (("cut", (18, 13)), ("whole", None)):
        fit(Recipe("patchcore", str(tmp_path / "data"), str(tmp_path / name), tiles=tiles), Lines(io.StringIO()))
    good = [surface(seed, 4096, 3000) for seed in (100, 101, 102)]

    with ExitStack() as stack:
        cut, whole = (open_trained(tmp_path / name, None, stack).model for name in ("cut", "whole"))
        found = [cut.predict(pitted(image, 12, grey=100)).score for image in good]
        seen = [whole.predict(pitted(image, 12, grey=100)).score - whole.predict(image).score for image in good]
    picture = save(tmp_path / "pitted.png", pitted(good[0], 12, grey=100))
    grown_mb = peak_mb(tmp_path / "cut", picture) - peak_mb(tmp_path / "whole", picture)

    print(f"tiled {found}, whole: score changed by {seen}, memory of the tiled one more by {grown_mb:.0f} MB")
    assert min(found) >= 1.0
    assert max(seen) < 0.1  # of the way from a typical good part to a reject: nothing
    assert grown_mb < 150


def test_a_region_leaves_out_tiles_in_training_too(surfaces: Path, tmp_path: Path) -> None:
    left = Outline(inspect=[[(0, 0), (60, 0), (60, 287), (0, 287)]])
    run = fit(tiled_recipe("patchcore", surfaces, tmp_path / "run", tiles=(4, 2), roi=left), Lines(io.StringIO()))

    parts = Parts(good_parts(surfaces, seed=0).train, run.input, lambda images: images.float())

    assert len(parts) == len(parts.photographs) * 2  # of each row the first tile
    assert parts.pixels(range(len(parts))).shape == (len(parts), 64, 64, 3)


def test_held_out_photographs_share_no_tile_with_the_others(surfaces: Path) -> None:
    photographs = good_parts(surfaces, seed=0).train
    parts = Parts(photographs, input_contract(photographs, 64, tiles=(3, 2)), lambda images: images.float())

    kept, taken = parts.split(0.25, seed=0)

    assert len(kept) + len(taken) == len(parts)
    assert not set(kept.photographs) & set(taken.photographs)


@pytest.mark.parametrize(
    ("method", "changes", "what"),
    [
        ("efficientad", {}, "judges the whole picture"),
        ("ast", {}, "judges the whole picture"),
        ("patchcore", {"image_size": 72}, "multiple of 32"),
        ("patchcore", {"image_size": 32}, "at least 64"),
    ],
    ids=["efficientad", "ast", "odd size", "small size"],
)
def test_what_cannot_be_cut_is_refused(
    method: str, changes: dict[str, object], what: str, surfaces: Path, tmp_path: Path
) -> None:
    with pytest.raises(SectionError, match=what):
        fit(tiled_recipe(method, surfaces, tmp_path / "run", **changes), Lines(io.StringIO()))
