"""A recipe's file, as people write it."""

from pathlib import Path

import pytest

from training.recipe import read_recipe


@pytest.mark.parametrize(
    ("written", "meant"), [("1e-3", 0.001), ("1E-3", 0.001), ("2.5e-2", 0.025), ("1.e-3", 0.001), (".5e-1", 0.05)], ids=str
)
def test_a_number_with_an_exponent_is_a_number(tmp_path: Path, written: str, meant: float) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(f"method: stfpm\ndata: d\nout: r\nfalse_reject_rate: {written}\nsettings: {{rate: {written}}}\n")

    recipe = read_recipe(file)

    assert (recipe.false_reject_rate, recipe.settings) == (meant, {"rate": meant})


def test_a_whole_number_with_an_exponent_counts_things_too(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("method: patchcore\ndata: d\nout: r\nsettings: {bank: 4e3}\n")

    bank = read_recipe(file).settings["bank"]

    assert (bank, type(bank)) == (4000, int)


def test_a_folder_that_reads_like_a_number_stays_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("method: stfpm\ndata: 2026e1\nout: 1e5\n")

    recipe = read_recipe(file)

    assert (recipe.data, recipe.out) == (str(tmp_path / "2026e1"), str(tmp_path / "1e5"))
