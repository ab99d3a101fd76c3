"""The folder camera: files in order, and a Fault in the place of each that is none."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.cameras import CameraLostError
from agent.cameras.folder import Config
from agent.inspection import Fault


def write_grey(file: Path, level: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), np.full((4, 4), level, dtype=np.uint8))


def shots(config: Config, n: int) -> list[int | str]:
    """n shots: the grey level of each image, or the reason of the fault."""
    with config.open() as camera:
        taken = [camera.shoot(0) for _ in range(n)]
    return [shot.reason if isinstance(shot, Fault) else int(shot[0, 0, 0]) for shot in taken]


def test_photographs_come_in_the_order_of_their_names_with_those_in_sub_folders(tmp_path: Path) -> None:
    write_grey(tmp_path / "b.png", 2)
    write_grey(tmp_path / "c" / "a.bmp", 3)
    write_grey(tmp_path / "A.PNG", 1)

    assert shots(Config(str(tmp_path)), 3) == [1, 2, 3]


def test_after_the_last_photograph_comes_the_first(tmp_path: Path) -> None:
    write_grey(tmp_path / "a.png", 1)
    write_grey(tmp_path / "b.png", 2)

    assert shots(Config(str(tmp_path)), 5) == [1, 2, 1, 2, 1]


def test_without_repeat_later_triggers_are_faults(tmp_path: Path) -> None:
    write_grey(tmp_path / "a.png", 1)

    assert shots(Config(str(tmp_path), repeat=False), 3) == [1, *["no photograph left: all 1 have been shown"] * 2]


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    write_grey(tmp_path / "a.png", 1)
    (tmp_path / "notes.txt").write_text("not a photograph")

    assert shots(Config(str(tmp_path)), 2) == [1, 1]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_an_image_is_read_only_rgb_with_the_bits_of_its_file(tmp_path: Path, kind: type) -> None:
    white = np.iinfo(kind).max
    cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 4, 3), (0, 0, white), dtype=kind))

    with Config(str(tmp_path)).open() as camera:
        image = camera.shoot(0)

    assert isinstance(image, np.ndarray)
    assert (image.shape, image.dtype, image.flags.writeable) == ((4, 4, 3), kind, False)
    assert image[0, 0].tolist() == [white, 0, 0]


def test_a_file_that_cannot_be_read_is_a_fault_that_names_it_and_the_next_one_comes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("this is text")
    write_grey(tmp_path / "b.png", 2)

    fault, level = shots(Config(str(tmp_path)), 2)

    assert str(tmp_path / "a.png") in str(fault)
    assert level == 2


def test_a_file_that_vanished_is_a_fault(tmp_path: Path) -> None:
    write_grey(tmp_path / "a.png", 1)
    with Config(str(tmp_path)).open() as camera:
        (tmp_path / "a.png").unlink()

        shot = camera.shoot(0)

    assert isinstance(shot, Fault)
    assert "No such file" in shot.reason


def test_a_fault_over_a_name_that_is_no_unicode_can_still_be_sent(tmp_path: Path) -> None:
    Path(os.fsdecode(bytes(tmp_path) + b"/gr\xfc\xdfe.png")).write_text("this is text")

    (reason,) = shots(Config(str(tmp_path)), 1)

    assert str(reason).encode()


@pytest.mark.parametrize(
    ("name", "says"), [("", "has no images, expected files such as"), ("gone", "is not a folder")], ids=["empty", "missing"]
)
def test_a_folder_without_photographs_is_a_lost_camera(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(CameraLostError, match=says), Config(str(tmp_path / name)).open():
        pass
