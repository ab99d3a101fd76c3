"""docs/good-enough.md: its commands are run, its numbers are those of the code."""

import re
import shlex
from pathlib import Path

import pytest
from small_dataset import save_dataset

from agent.calibration import parts_needed
from kensa import main
from training.metrics import binomial_interval

TEXT = (Path(__file__).parents[2] / "docs" / "good-enough.md").read_text()
QUICK = TEXT.replace("--method patchcore", "--method patchcore --set bank=50 --set pool=400")
COMMANDS = [shlex.split(line)[1:] for line in re.findall(r"^kensa .*$", QUICK, re.MULTILINE)]


@pytest.mark.timeout(180)
def test_its_commands_work_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    save_dataset(tmp_path / "photographs")
    monkeypatch.chdir(tmp_path)

    ended = [main(command) for command in COMMANDS]

    assert ended == [0] * 5
    told = capsys.readouterr().out
    assert "what `sensitivity:` in line.yaml gives" in told
    assert "against runs/cap (torch, computed in f32), on the same parts:" in told
    assert (tmp_path / "cap.html").is_file()


@pytest.mark.parametrize("rate", [0.05, 0.03, 0.01, 0.001])
def test_the_parts_that_a_promise_needs_are_those_of_the_threshold(rate: float) -> None:
    assert f"{100 * rate:g} %: {parts_needed(rate)}" in TEXT.replace(" false rejects", "")


def test_its_example_of_limits_is_exact() -> None:
    limits = binomial_interval(29, 36)

    assert f"29 of 36 may be {100 * limits.low:.0f} % or {100 * limits.high:.0f} %" in TEXT
