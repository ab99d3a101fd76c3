import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest


@pytest.mark.timeout(240)
def test_the_demo_runs_a_whole_line_and_everything_adds_up(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kensa", "demo", "--headless", "--parts", "24", "--rate", "8", "--train", "24"]

    finished = subprocess.run([*command, "--out", str(tmp_path / "d")], capture_output=True, text=True, timeout=220)

    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "The parts are drawn" in finished.stdout
    assert re.search(r"account at the gate: 24 triggers = \d+ pass \+ \d+ reject", finished.stdout)
    assert "independent subscriber: 24 events" in finished.stdout
    assert "everything adds up" in finished.stdout
    assert cv2.imread(str(tmp_path / "d" / "contact_sheet.png")) is not None


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")

    finished = subprocess.run(
        [sys.executable, "-m", "kensa", "demo", "--out", str(tmp_path)], capture_output=True, text=True, timeout=60
    )

    assert finished.returncode != 0
    assert "was not made by the demo" in finished.stderr
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_weights_that_are_not_there_are_one_clear_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kensa", "demo", "--weights", str(tmp_path / "no.safetensors"), "--train", "4"]

    finished = subprocess.run([*command, "--out", str(tmp_path / "d")], capture_output=True, text=True, timeout=60)

    assert finished.returncode == 2
    assert "no.safetensors: no such file" in finished.stderr
    assert "Traceback" not in finished.stderr
