"""Every example of the README is run: its commands in a fresh folder, its YAML through the real readers."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from small_dataset import save_dataset

from agent.config import load_line
from training.recipe import read_recipe

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+(?: \w+)?)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def block(kind: str) -> str:
    (text,) = [text for language, text in BLOCKS if language == kind]
    return text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the README assumes: photographs and line.yaml."""
    folder = tmp_path_factory.mktemp("readme")
    save_dataset(folder / "photographs")
    (folder / "line.yaml").write_text(block("yaml line"))
    (folder / "recipe.yaml").write_text(block("yaml recipe"))
    return folder


@pytest.mark.timeout(180)
def test_the_commands_work_in_their_order(folder: Path) -> None:
    here = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    finished = subprocess.run(
        ["bash", "-euc", block("sh")], cwd=folder, env={**os.environ, "PATH": here}, capture_output=True, text=True, timeout=170
    )

    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "good parts rejected (95 % confidence)" in finished.stdout
    assert finished.stdout.rstrip().endswith("ok")
    assert (folder / "cap.json").is_file()


def test_the_line_is_valid(folder: Path) -> None:
    assert load_line(folder / "line.yaml").gate.travel_ms == 600


def test_the_recipe_is_valid(folder: Path) -> None:
    assert read_recipe(folder / "recipe.yaml").settings == {"bank": 4000}


def test_the_readme_fits_two_screens() -> None:
    assert len(README.splitlines()) <= 120
