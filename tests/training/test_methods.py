"""The contract of a method, for every file in training/methods."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import torch
from small_dataset import plate, save, scratched
from small_methods import SMALL, recipe

from agent.drivers import driver, names, section
from agent.preprocess import prepare
from export.to_onnx import to_onnx
from export.to_openvino import to_openvino
from training.data import good_parts, input_contract
from training.fit import fit
from training.graph import TorchRuntime
from training.methods import Parts
from training.progress import Lines
from training.run import MODEL, Run, open_run

METHODS = names("training.methods")


class Fitted:
    """RUNs of the small recipes, each fitted once."""

    def __init__(self, data: Path, folder: Path) -> None:
        self._data = data
        self._folder = folder

    def __call__(self, method: str, name: str = "run", **changes: object) -> Run:
        out = self._folder / f"{method}-{name}"
        if not out.exists():
            with (self._folder / "progress.txt").open("a") as stream:
                fit(recipe(method, self._data, out, **changes), Lines(stream))
        return open_run(out)


@pytest.fixture(scope="module")
def fitted(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return Fitted(dataset, tmp_path_factory.mktemp("methods"))


def pictures(run: Run) -> list[np.ndarray]:
    """Network inputs: three good plates and one with a scratch."""
    clean = plate(2000)
    return [prepare(image, run.record.input) for image in (plate(1000), plate(1001), clean, scratched(clean))]


def answers(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Scores (4,) and maps (4, h, w) of the pictures."""
    found = [TorchRuntime(run.deployed).infer(image) for image in pictures(run)]
    return np.array([score for score, _ in found]), np.stack([anomaly_map for _, anomaly_map in found])


def test_each_method_has_a_small_recipe() -> None:
    assert set(SMALL) == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_its_settings_are_frozen_and_know_no_other_words(name: str) -> None:
    config = driver("training.methods", name).Config()

    assert config.levels == tuple(sorted(config.levels))
    assert config.image_size % config.levels[-1] == 0
    with pytest.raises(AttributeError):
        config.anything = 1
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"unknown": 1}, type(config))


@pytest.mark.parametrize("name", METHODS)
def test_its_map_is_finite_and_a_painted_defect_raises_the_score(name: str, fitted: Fitted) -> None:
    run = fitted(name)

    scores, maps = answers(run)

    assert maps.ndim == 3
    assert maps.dtype == np.float32
    assert np.isfinite(maps).all()
    assert np.isfinite(scores).all()
    assert scores[3] > scores[2]


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_scores_and_what_was_saved_gives_them_too(name: str, fitted: Fitted) -> None:
    first, again = fitted(name), fitted(name, "again")

    assert np.array_equal(answers(first)[0], answers(again)[0])
    assert first.record.content[MODEL] == again.record.content[MODEL]
    calibrated = [TorchRuntime(first.deployed).infer(image)[0] for image in first.calibration_images]
    assert sorted(calibrated) == list(first.record.calibration.raw_scores)


@pytest.mark.parametrize("name", METHODS)
def test_it_answers_the_same_in_train_and_eval_mode(name: str, fitted: Fitted) -> None:
    run = fitted(name)
    image = pictures(run)[3]

    before = TorchRuntime(run.deployed).infer(image)[0]
    with torch.inference_mode():
        in_train_mode = run.deployed.train()(torch.from_numpy(image)[None])[0]
    run.deployed.eval()

    assert float(in_train_mode[0]) == before


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_an_exported_method_gives_the_same_maps(name: str, runtime: str, fitted: Fitted, tmp_path: Path) -> None:
    run = fitted(name)
    to_onnx(run.deployed, run.record.input, tmp_path / "model.onnx")
    to_openvino(tmp_path / "model.onnx", tmp_path / "model.xml")
    expected_scores, expected_maps = answers(run)

    file = tmp_path / {"onnxruntime": "model.onnx", "openvino": "model.xml"}[runtime]
    with section("agent.runtimes", {"type": runtime}).open(file) as opened:
        found = [opened.infer(image) for image in pictures(run)]

    spread = expected_maps.max() - expected_maps.min()
    assert np.abs(np.stack([m for _, m in found]) - expected_maps).max() <= 1e-4 * spread  # spec 8.4, in float32
    assert np.abs(np.array([s for s, _ in found]) - expected_scores).max() <= 1e-4 * spread


@pytest.mark.parametrize("name", METHODS)
def test_no_picture_of_a_defect_has_any_part_in_the_fit(name: str, fitted: Fitted, dataset: Path, tmp_path: Path) -> None:
    data = shutil.copytree(dataset, tmp_path / "data")
    [file.write_bytes(b"cannot be decoded") for file in data.glob("test/*/*.png")]

    with (tmp_path / "progress.txt").open("w") as stream:
        record = fit(recipe(name, data, tmp_path / "run"), Lines(stream))

    assert record.content[MODEL] == fitted(name).record.content[MODEL]


class CutOff:
    """Progress that is interrupted in the middle of one stage."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def track(self, items, stage):
        half = len(items) // 2
        return _until(half, iter(items)) if stage == self._stage else iter(items)

    def tell(self, figures: str) -> None:
        del figures


def _until(count: int, items):
    yield from (item for item, _ in zip(items, range(count), strict=False))
    raise KeyboardInterrupt


STAGES = [("stfpm", "student"), ("fastflow", "flow"), ("efficientad", "student"), ("ast", "teacher"), ("ast", "student")]


@pytest.mark.parametrize(("name", "stage"), STAGES)
def test_a_fit_that_was_cut_off_ends_as_if_it_had_not_been(
    name: str, stage: str, fitted: Fitted, dataset: Path, tmp_path: Path, often: Callable[[], None]
) -> None:
    often()
    small = recipe(name, dataset, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        fit(small, CutOff(stage))
    left = {file.stem for file in (tmp_path / "run.checkpoint").glob("*.safetensors")}

    with (tmp_path / "progress.txt").open("w") as stream:
        record = fit(small, Lines(stream), resume=True)

    assert stage in left
    assert not (tmp_path / "run.checkpoint").exists()
    assert record.content[MODEL] == fitted(name).record.content[MODEL]


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A checkpoint after each step instead of once a minute."""
    return lambda: monkeypatch.setattr("training.descend._CHECKPOINT_S", -1.0)


def test_parts_come_normalized_and_in_the_order_asked_for(tmp_path: Path) -> None:
    [save(tmp_path / f"{k}.png", plate(k, 64, 64)) for k in range(4)]
    photographs = good_parts(tmp_path, seed=0).train

    parts = Parts(photographs, input_contract(photographs, size=64), lambda images: images.float())

    expected = [plate(int(p.path.stem), 64, 64) for p in photographs]
    assert len(parts) == 2
    assert np.array_equal(parts.batch([1, 0]).numpy(), np.stack(expected[::-1]).astype(np.float32))


@pytest.mark.parametrize(("limit_bytes", "read_again"), [(2**20, 0), (2 * 64 * 64 * 3, 4)], ids=["all", "two"])
def test_a_photograph_is_decoded_once_as_long_as_memory_is_granted(tmp_path: Path, limit_bytes: int, read_again: int) -> None:
    [save(tmp_path / f"{k:02}.png", plate(k, 64, 64)) for k in range(12)]
    photographs = good_parts(tmp_path, seed=0).train
    parts = Parts(photographs, input_contract(photographs, size=64), lambda images: images.float(), limit_bytes=limit_bytes)
    before = [parts.pixels([k]) for k in range(6)]
    [save(p.path, 255 - plate(k, 64, 64)) for k, p in enumerate(photographs)]

    after = [parts.pixels([k]) for k in range(6)]

    assert [bool((a == b).all()) for a, b in zip(before, after, strict=True)] == [True] * (6 - read_again) + [False] * read_again


@pytest.mark.parametrize(("share", "taken"), [(0.25, 2), (0.01, 1), (0.5, 4)])
def test_a_split_takes_each_part_once_and_the_same_ones_for_a_seed(tmp_path: Path, share: float, taken: int) -> None:
    [save(tmp_path / f"{k:02}.png", plate(k, 64, 64)) for k in range(16)]
    photographs = good_parts(tmp_path, seed=0).train
    parts = Parts(photographs, input_contract(photographs, size=64), lambda images: images.float())

    rest, held_out = parts.split(share, seed=3)

    assert len(held_out) == taken
    assert [p.path for p in held_out.photographs] == [p.path for p in parts.split(share, seed=3)[1].photographs]
    assert sorted(p.path for p in (*rest.photographs, *held_out.photographs)) == [p.path for p in photographs]
    assert cv2.imread(str(held_out.photographs[0].path)) is not None
