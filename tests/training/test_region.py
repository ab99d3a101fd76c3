"""A region as people draw it; and that a model fitted with one is blind outside and sees inside."""

import io
import os
from contextlib import ExitStack
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import torch
from small_dataset import plate, save, save_dataset
from small_methods import SMALL, recipe

from agent.drivers import ConfigError, section
from agent.preprocess import InputContract
from agent.roi import roi_of
from agent.tiles import Tiles
from agent.watch import what_is_wrong
from export.pack import export
from export.to_onnx import to_onnx
from training.data import DataError, Photograph
from training.evaluate import open_trained
from training.fit import fit
from training.graph import TorchRuntime
from training.progress import Lines
from training.recipe import Recipe
from training.region import Outline, check_region, region
from training.run import open_run

DATA = Path(os.environ.get("KENSA_DATA", Path(__file__).parents[3] / "shared" / "data"))
BOX = Outline(inspect=[[(16, 16), (79, 16), (79, 63), (16, 63)]])  # on a plate of 96x80 px


def photographs(*sizes: tuple[int, int]) -> list[Photograph]:
    return [Photograph(Path(f"{k}.png"), str(k), width, height, 0) for k, (width, height) in enumerate(sizes)]


def test_polygons_are_inspected_and_holes_cut_out_of_them() -> None:
    outline = Outline(inspect=[[(0, 0), (49, 0), (49, 79), (0, 79)]], ignore=[[(10, 10), (20, 10), (20, 20), (10, 20)]])

    mask = region(outline, photographs((100, 80))).mask(100, 80)

    assert [mask[40, 40], mask[15, 15], mask[40, 60]] == [255, 0, 0]


def test_ignoring_alone_leaves_the_rest() -> None:
    mask = region(Outline(ignore=[[(0, 0), (10, 0), (10, 10), (0, 10)]]), photographs((100, 80))).mask(100, 80)

    assert [mask[5, 5], mask[40, 40]] == [0, 255]


def test_a_mask_and_a_file_of_polygons_say_the_same(tmp_path: Path) -> None:
    file = tmp_path / "roi.yaml"
    file.write_text("inspect:\n  - [[16, 16], [79, 16], [79, 63], [16, 63]]\n")
    drawn = region(BOX, photographs((96, 80)))
    picture = save(tmp_path / "roi.png", np.repeat(drawn.mask(96, 80)[..., np.newaxis], 3, axis=2))

    assert region(str(file), photographs((96, 80))) == drawn
    assert region(str(picture), photographs((96, 80))) == drawn


@pytest.mark.parametrize(
    ("outline", "sizes", "what"),
    [
        (BOX, [(96, 80), (100, 80)], "2 sizes"),
        (Outline(inspect=[[(0, 0), (200, 0), (0, 40)]]), [(96, 80)], r"point \(200, 0\) lies outside of the photograph, 96x80"),
        (Outline(ignore=[[(0, 0), (96, 0), (96, 80), (0, 80)]]), [(96, 80)], "nothing is left"),
    ],
    ids=["sizes differ", "point outside", "nothing left"],
)
def test_a_mistaken_outline_is_refused(outline: Outline, sizes: list[tuple[int, int]], what: str) -> None:
    with pytest.raises(DataError, match=what):
        region(outline, photographs(*sizes))


def test_a_mistake_in_the_file_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "roi.yaml").write_text("inspect:\n  - [[0, 0], [1, 1]]\n")

    with pytest.raises(ConfigError, match=r"roi\.yaml:2: inspect\.0"):
        region(str(tmp_path / "roi.yaml"), photographs((96, 80)))


def limited(mask: np.ndarray) -> InputContract:
    return InputContract(64, 64, 90, 110, 70, 90, 1.0, 1.5, roi=roi_of(mask))


@pytest.mark.parametrize(
    ("mask", "what"),
    [
        (np.full((400, 500), 255, np.uint8), "500x400 px, expected 90-110"),
        (np.pad(np.full((1, 1), 255, np.uint8), ((0, 79), (0, 99))), "draw it larger"),
    ],
    ids=["of another camera", "one pixel"],
)
def test_a_region_that_cannot_decide_is_refused_before_the_work(mask: np.ndarray, what: str) -> None:
    with pytest.raises(DataError, match=what):
        check_region(limited(mask))


def test_a_region_that_no_tile_shows_is_refused_before_the_work() -> None:
    second_column = np.pad(np.full((80, 1), 255, np.uint8), ((0, 0), (1, 98)))  # of 100 to 64 px; the nearest are 0, 2, 3, 5 ...
    contract = msgspec.structs.replace(limited(second_column), tiles=Tiles(2, 2, size=32, step=32))

    with pytest.raises(DataError, match="draw it larger"):
        check_region(contract)


@pytest.fixture(scope="module")
def plates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_dataset(tmp_path_factory.mktemp("plates"))


@pytest.mark.parametrize("method", SMALL)
def test_a_model_is_blind_outside_and_sees_inside_on_every_runtime(method: str, plates: Path, tmp_path: Path) -> None:
    fit(recipe(method, plates, tmp_path / "run", roi=BOX), Lines(io.StringIO()))
    export(open_run(tmp_path / "run"), tmp_path / "bundle", "plate")
    image, noise = plate(3000), np.random.default_rng(0).integers(0, 256, (80, 96, 3), dtype=np.uint8)
    roi = region(BOX, photographs((96, 80)))
    outside = np.where(roi.mask(96, 80)[..., np.newaxis] > 0, image, noise)
    inside = image.copy()
    inside[24:40, 30:60] = 250

    with ExitStack() as stack:
        models = [
            open_trained(tmp_path / folder, runtime, stack).model
            for folder, runtime in (("run", "torch"), ("bundle", "onnxruntime"), ("bundle", "openvino"))
        ]
        same = [model.predict(outside).raw == model.predict(image).raw for model in models]
        seen = [model.predict(inside).raw > model.predict(image).raw for model in models]

    assert same == [True, True, True]
    assert seen == [True, True, True]


def test_the_cameras_guard_too_looks_within_the_region_alone(plates: Path, tmp_path: Path) -> None:
    usual = fit(recipe("patchcore", plates, tmp_path / "run", roi=BOX), Lines(io.StringIO())).usual
    inside = region(BOX, photographs((96, 80))).mask(96, 80)[..., np.newaxis] > 0

    assert usual is not None
    assert usual.within == pytest.approx((16 / 96, 16 / 80, 80 / 96, 64 / 80))
    assert what_is_wrong(np.where(inside, plate(3000), np.uint8(255)), usual) == ""


def test_an_exported_search_for_candidates_looks_for_them_inside(plates: Path, tmp_path: Path) -> None:
    fit(recipe("patchcore", plates, tmp_path / "run", roi=BOX), Lines(io.StringIO()))
    run = open_run(tmp_path / "run")
    good = run.calibration_images[0].copy()
    exact, _ = TorchRuntime(run.deployed).infer(good)

    run.deployed.method.search_in(16, run.deployed.normalize(torch.from_numpy(run.calibration_images[:2].copy())))
    to_onnx(run.deployed, run.record.input, tmp_path / "searching.onnx")

    with section("agent.runtimes", {"type": "onnxruntime"}).open(tmp_path / "searching.onnx") as opened:
        assert opened.infer(good)[0] == pytest.approx(exact, rel=1e-5)  # the patches that decide are measured in float32


def damaged(image: np.ndarray, place: tuple[int, int]) -> np.ndarray:
    """8x8 px at `place` (x, y), dark on bright ground and bright on dark."""
    x, y = place
    painted = image.copy()
    painted[y : y + 8, x : x + 8] = 20 if image[y + 4, x + 4].mean() > 127 else 235
    return painted


@pytest.mark.skipif(not (DATA / "mvtec_small" / "hazelnut").is_dir(), reason=f"no real photographs at {DATA} (KENSA_DATA)")
def test_a_small_defect_just_inside_is_seen_wherever_it_is(tmp_path: Path) -> None:
    """Real photographs, 256 px. 95 of 100 positions is what is promised of a painted defect of 8 px, 4 px inside or more."""
    pictures = sorted((DATA / "mvtec_small" / "hazelnut" / "train" / "good").glob("*.png"))[:16]
    for path in pictures:
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        save(tmp_path / "data" / path.name, cv2.resize(image, (256, 256), interpolation=cv2.INTER_AREA))
    box = Outline(inspect=[[(40, 20), (216, 20), (216, 236), (40, 236)]])
    with (tmp_path / "progress.txt").open("w") as stream:
        fit(Recipe("patchcore", str(tmp_path / "data"), str(tmp_path / "run"), settings={"bank": 500}, roi=box), Lines(stream))
    random = np.random.default_rng(0)
    places = [(int(random.integers(44, 205)), int(random.integers(24, 225))) for _ in range(100)]
    unseen = np.asarray(open_run(tmp_path / "run").calibration_images[0])

    with ExitStack() as stack:
        model = open_trained(tmp_path / "run", None, stack).model
        good = model.predict(unseen).raw
        seen = [model.predict(damaged(unseen, place)).raw > good for place in places]

    assert sum(seen) >= 95
