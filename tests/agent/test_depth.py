"""Depth on its way from a file to a model's second input: never blended, never guessed."""

from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from agent.calibration import calibrate
from agent.cameras import CameraLostError
from agent.cameras.folder import Config
from agent.inspection import AnomalyMap, Depth, Fault, Image
from agent.model import Model
from agent.preprocess import InputContract, PixelsWithDepth, RefusedImageError, prepare_depth, read_depth

CONTRACT = InputContract(
    width=4, height=4, min_width=4, max_width=64, min_height=4, max_height=64, min_aspect=0.4, max_aspect=2.5, depth=True
)


class Nearest:
    """A runtime whose score is the nearest point of the depth it is given, in metres."""

    executed_precision = "f32"

    def infer(self, image: Image, depth: Depth | None = None) -> tuple[float, AnomalyMap]:
        del image
        return float("nan") if depth is None else float(depth[depth > 0].min()), np.zeros((2, 2), np.float32)


def save(path: Path, depth: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".tiff", depth)[1].tobytes())
    return path


def model() -> Model:
    return Model(CONTRACT, Nearest(), calibrate([0.1, 0.2, 0.3, 0.4], 0.2))


def test_of_points_the_depth_is_the_last_of_x_y_z(tmp_path: Path) -> None:
    x, y, z = (np.full((3, 5), value, np.float32) for value in (0.1, 0.2, 0.5))
    file = save(tmp_path / "points.tiff", np.dstack([z, y, x]))  # OpenCV turns the order round: x, y, z in the file

    assert np.array_equal(read_depth(file), z)


def test_what_was_not_measured_is_zero_however_a_scanner_says_it(tmp_path: Path) -> None:
    file = save(tmp_path / "depth.tiff", np.array([[0.5, np.nan, np.inf], [0.0, -1.0, 0.25]], np.float32))

    found = read_depth(file)

    assert found.tolist() == [[0.5, 0.0, 0.0], [0.0, 0.0, 0.25]]
    assert found.dtype == np.float32


@pytest.mark.parametrize("content", [b"", b"no picture", cv2.imencode(".png", np.ones((3, 3), np.uint16))[1].tobytes()])
def test_another_file_is_refused_with_what_was_expected(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "depth.tiff"
    file.write_bytes(content)

    with pytest.raises(RefusedImageError, match=r"depth\.tiff: .*expected depth in metres as a float32 TIFF"):
        read_depth(file)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedImageError, match="the depth cannot be read: No such file"):
        read_depth(tmp_path / "missing.tiff")


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("size", [(16, 12), (7, 13), (4, 4)])
def test_no_depth_is_a_mixture_of_two(fit: str, size: tuple[int, int]) -> None:
    width, height = size
    depth = np.where(np.indices((height, width)).sum(axis=0) % 3 == 0, 0.0, 0.5).astype(np.float32)

    prepared = prepare_depth(depth, size, msgspec.structs.replace(CONTRACT, fit=fit))

    assert prepared.shape == (4, 4)
    assert set(np.unique(prepared)) <= {np.float32(0), np.float32(0.5)}


def test_depth_of_another_size_than_its_image_is_refused() -> None:
    with pytest.raises(RefusedImageError, match="depth is 8x6 px, its image 16x12"):
        prepare_depth(np.ones((6, 8), np.float32), (16, 12), CONTRACT)


def test_a_model_that_needs_depth_is_given_it_and_faults_without() -> None:
    image, depth = np.zeros((8, 8, 3), np.uint8), np.full((8, 8), 0.5, np.float32)

    with_depth, without = model().read(image, depth), model().read(image)

    assert not isinstance(with_depth, Fault)
    assert with_depth.raw == pytest.approx(0.5)
    assert isinstance(without, Fault)
    assert "does this camera measure it?" in without.reason


def test_a_folder_gives_each_photograph_with_its_depth(tmp_path: Path) -> None:
    for name, far in (("a", 0.5), ("b", 0.6)):
        (tmp_path / "rgb").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "rgb" / f"{name}.png"), np.full((8, 8, 3), 9, np.uint8))
        save(tmp_path / "xyz" / f"{name}.tiff", np.full((8, 8), far, np.float32))
    cv2.imwrite(str(tmp_path / "rgb" / "c.png"), np.zeros((8, 8, 3), np.uint8))

    with Config(str(tmp_path / "rgb"), depth=str(tmp_path / "xyz")).open() as camera:
        first, second, alone = (camera.shoot(0) for _ in range(3))

    assert isinstance(first, PixelsWithDepth)
    assert isinstance(second, PixelsWithDepth)
    assert [float(taken.depth[0, 0]) for taken in (first, second)] == pytest.approx([0.5, 0.6])
    assert not first.depth.flags.writeable
    assert isinstance(alone, Fault)
    assert "c.tiff: the depth cannot be read" in alone.reason


@pytest.mark.parametrize("depth", ["missing", "rgb/xyz"])
def test_a_depth_folder_that_is_missing_or_among_the_photographs_is_refused(tmp_path: Path, depth: str) -> None:
    (tmp_path / "rgb" / "xyz").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "rgb" / "a.png"), np.zeros((8, 8, 3), np.uint8))

    with (
        pytest.raises(CameraLostError, match="is not a folder beside"),
        Config(str(tmp_path / "rgb"), depth=str(tmp_path / depth)).open(),
    ):
        pass
