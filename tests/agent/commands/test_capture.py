"""`kensa capture`: photographs through a line's own camera and trigger, none lost, none overwritten."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from kensa_process import kensa
from line_file import write_line
from small_bundle import write_photographs

from agent.commands.capture import hint
from agent.watch import Look

SMALL = np.zeros((32, 32), np.float32)


def look(brightness: float = 120, white: float = 0.0, sharpness: float = 0.5) -> Look:
    return Look(brightness, 40.0, white, sharpness, 0.0, 0.0, SMALL)


def files_in(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_photographs_of_good_parts_are_where_training_looks_for_them_pixel_by_pixel(state: Path, tmp_path: Path) -> None:
    line = write_line(state, tmp_path / "no-bundle-yet")

    finished = kensa("capture", str(line), "--out", str(tmp_path / "data"), "--parts", "3")

    assert finished.returncode == 0, finished.stderr
    taken = [cv2.imread(str(file)) for file in sorted((tmp_path / "data" / "train" / "good").iterdir())]
    shown = [cv2.imread(str(file)) for file in sorted((state / "photographs").iterdir())]
    assert [np.array_equal(*pair) for pair in zip(taken, shown, strict=True)] == [True] * 3
    assert "3/3 top: brightness" in finished.stdout


def test_a_second_session_overwrites_nothing_and_a_defect_goes_to_the_test_set(state: Path, tmp_path: Path) -> None:
    line, out = write_line(state, tmp_path / "no-bundle-yet"), tmp_path / "data"
    kensa("capture", str(line), "--out", str(out), "--parts", "1", "--label", "scratch")
    first = files_in(out / "test" / "scratch")

    kensa("capture", str(line), "--out", str(out), "--parts", "2", "--label", "scratch")

    both = files_in(out / "test" / "scratch")
    assert len(both) == 3
    assert first.items() <= both.items()


def test_a_camera_with_a_bundle_of_its_own_has_photographs_of_its_own_to_train_on(state: Path, tmp_path: Path) -> None:
    line, out = write_line(state, tmp_path / "no-bundle-yet"), tmp_path / "data"
    cameras = "  back: {type: folder, path: photographs}\n  side: {type: folder, path: photographs, bundle: none-yet}\n"
    line.write_text(line.read_text().replace("trigger:", f"{cameras}trigger:", 1))

    finished = kensa("capture", str(line), "--out", str(out), "--parts", "2")

    assert [name.rpartition("-")[2] for name in files_in(out / "train" / "good")] == ["back.png", "top.png"] * 2
    assert [name.rpartition("-")[2] for name in files_in(tmp_path / "data-side" / "train" / "good")] == ["side.png"] * 2
    assert [row.split()[5] for row in finished.stdout.splitlines()[-2:]] == [str(out), str(tmp_path / "data-side")]


RECIPES = """\
recipes:
  1: {name: lids, cameras: {top: {path: lids}}}
  2: {name: caps, cameras: {top: {path: caps}}}
"""


def test_a_line_with_recipes_photographs_by_the_one_that_is_named(state: Path, tmp_path: Path) -> None:
    line, out = write_line(state, tmp_path / "no-bundle-yet"), tmp_path / "data"
    line.write_text(line.read_text() + RECIPES)
    write_photographs(state / "caps", 2, defects=frozenset({0, 1}))

    finished = kensa("capture", str(line), "--out", str(out), "--parts", "2", "--recipe", "2")

    assert finished.returncode == 0, finished.stderr
    taken = [cv2.imread(str(file)) for file in sorted((out / "train" / "good").iterdir())]
    shown = [cv2.imread(str(file)) for file in sorted((state / "caps").iterdir())]
    assert [np.array_equal(*pair) for pair in zip(taken, shown, strict=True)] == [True] * 2


@pytest.mark.parametrize(
    ("recipes", "asked", "says"),
    [
        (RECIPES, [], "--recipe is missing: expected one of its recipes: 1 (lids), 2 (caps)"),
        (RECIPES, ["--recipe", "3"], "--recipe 3: expected one of its recipes: 1 (lids), 2 (caps)"),
        ("", ["--recipe", "1"], "--recipe 1: expected none, the line has no recipes"),
    ],
    ids=["none", "unknown", "no recipes"],
)
def test_whose_photographs_they_would_be_is_asked_before_one_is_taken(
    state: Path, tmp_path: Path, recipes: str, asked: list[str], says: str
) -> None:
    line = write_line(state, tmp_path / "no-bundle-yet")
    line.write_text(line.read_text() + recipes)

    finished = kensa("capture", str(line), "--out", str(tmp_path / "data"), "--parts", "1", *asked)

    assert (finished.returncode, (tmp_path / "data").exists()) == (2, False)
    assert says in finished.stderr


def test_a_number_of_parts_that_is_none_is_told_of(state: Path, tmp_path: Path) -> None:
    finished = kensa("capture", str(write_line(state, tmp_path)), "--out", str(tmp_path / "data"), "--parts", "two")

    assert "argument --parts: must be a number, at least 1, got 'two'" in finished.stderr


def test_a_well_lit_photograph_of_12_bits_is_not_called_dark(state: Path, tmp_path: Path) -> None:
    line = write_line(state, tmp_path / "no-bundle-yet")
    bright = np.random.default_rng(0).integers(1000, 3000, (64, 64), dtype=np.uint16)
    cv2.imwrite(str(state / "photographs" / "0000.png"), bright)

    finished = kensa("capture", str(line), "--out", str(tmp_path / "data"), "--parts", "1")

    assert "1/1 top: brightness 12" in finished.stdout  # 2000 of 4095
    assert "too dark" not in finished.stdout


def test_a_part_without_a_photograph_is_told_of_and_not_counted(state: Path, tmp_path: Path) -> None:
    line = write_line(state, tmp_path / "no-bundle-yet")
    (state / "photographs" / "0000.png").write_text("this is text")

    finished = kensa("capture", str(line), "--out", str(tmp_path / "data"), "--parts", "2")

    assert "not photographed" in finished.stdout
    assert len(files_in(tmp_path / "data" / "train" / "good")) == 2


def test_a_label_that_leads_elsewhere_is_refused(state: Path, tmp_path: Path) -> None:
    line = write_line(state, tmp_path / "no-bundle-yet")

    finished = kensa("capture", str(line), "--out", str(tmp_path / "data"), "--parts", "1", "--label", "../good")

    assert (finished.returncode, (tmp_path / "data").exists()) == (2, False)
    assert "--label '../good': expected a name" in finished.stderr


@pytest.mark.parametrize(
    ("seen", "says"),
    [(look(brightness=12), "too dark"), (look(white=0.1), "overexposed"), (look(sharpness=0.2), "softer than before")],
    ids=["dark", "overexposed", "soft"],
)
def test_the_hint_says_what_to_do_about_light_and_lens(seen: Look, says: str) -> None:
    assert says in hint(seen, sharpest=0.5)


def test_a_good_photograph_has_numbers_and_no_warning() -> None:
    assert hint(look(), sharpest=0.5) == "brightness 120 of 255, 0.0% white, sharpness 0.50 (best 0.50)"
