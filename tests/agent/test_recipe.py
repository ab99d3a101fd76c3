"""The section `recipes`: each is a whole line, and what cannot change between two parts is refused with its place."""

import re
from pathlib import Path

import pytest
from kensa_process import kensa
from line_file import write_line
from small_bundle import write_bundle, write_photographs

from agent.config import Line, load_line
from agent.drivers import ConfigError
from agent.reload import why_no_reload

GUIDE = Path(__file__).parents[2] / "docs" / "gate.md"


def line_with(folder: Path, recipes: str) -> Path:
    """The small line and these recipes, four spaces before each."""
    file = write_line(folder, folder / "bundle")
    file.write_text(f"{file.read_text()}recipes:\n{recipes}\n")
    return file


def loaded(folder: Path, recipes: str) -> Line:
    return load_line(line_with(folder, recipes))


def test_a_recipe_is_the_line_with_what_differs(tmp_path: Path) -> None:
    line = loaded(
        tmp_path,
        "    1: {name: cap}\n"
        "    20: {name: lid, bundle: lid, sensitivity: 0.1, gate: {travel_ms: 300, pulse_ms: 25}, cameras: {top: {path: lids}}}",
    )

    cap, lid = line.recipes[1], line.recipes[20]

    assert (cap.recipe, cap.product, cap.bundle, cap.gate, cap.cameras) == (1, "cap", line.bundle, line.gate, line.cameras)
    assert (lid.recipe, lid.product, lid.bundle, lid.sensitivity) == (20, "lid", tmp_path / "lid", 0.1)
    assert (lid.gate.travel_ms, lid.gate.pulse_ms, lid.gate.lead_ms) == (300, 25, 20)
    assert lid.cameras["top"].path == str(tmp_path / "lids")  # type: ignore[attr-defined]
    assert (lid.ejector, lid.trigger, lid.state, lid.mqtt) == (line.ejector, line.trigger, line.state, line.mqtt)
    assert [one.recipe for one in line.each] == [1, 20]
    assert line.longest_travel_ms == 400


def test_the_example_of_the_documentation_is_a_section_as_it_should_be(tmp_path: Path) -> None:
    (section,) = re.findall(r"```yaml\nrecipes:\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    file = line_with(tmp_path, section)
    file.write_text(file.read_text().replace("{type: folder, path: photographs}", "{type: genicam, camera: K1}"))

    line = load_line(file)

    assert [one.product for one in line.each] == ["bottle cap", "jar lid"]
    assert line.recipes[2].gate.travel_ms == 640


def test_a_line_without_recipes_is_its_own_only_one(tmp_path: Path) -> None:
    line = load_line(write_line(tmp_path, tmp_path / "bundle"))

    assert (line.each, line.by(3)) == ([line], line)


@pytest.mark.parametrize(
    ("recipe", "where", "says"),
    [
        ("0: {name: cap}", "recipes", ">= 1"),
        ("65536: {name: cap}", "recipes", "<= 65535"),
        ("1: {}", "recipes.1", "missing required field `name`"),
        ("1: {name: cap, ejector: {type: dryrun}}", "recipes.1.ejector", "unknown key 'ejector'"),
        ("1: {name: cap, gate: {stop: {in_a_row: 3}}}", "recipes.1.gate.stop", "unknown key 'stop'"),
        ("1: {name: cap, gate: {lead_ms: 500}}", "recipes.1.gate", "must be smaller than travel_ms 400"),
        ("1: {name: cap, gate: {travel_counts: 900}}", "recipes.1.gate.travel_counts", "has no encoder"),
        ("1: {name: cap, cameras: {side: {path: x}}}", "recipes.1.cameras.side", "no camera 'side', it has: top"),
        ("1: {name: cap, cameras: {top: {type: rtsp}}}", "recipes.1.cameras.top.type", "not its driver"),
        ("1: {name: cap, cameras: {top: {exposure: 4}}}", "recipes.1.cameras.top.exposure", "unknown key 'exposure'"),
        ("1: {name: cap, sensitivity: 1.5}", "recipes.1.sensitivity", "< 1"),
    ],
    ids=lambda value: value[:40],
)
def test_what_cannot_be_a_recipe_is_named_with_its_place(tmp_path: Path, recipe: str, where: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, f"    {recipe}")

    assert where in str(refused.value)
    assert says in str(refused.value)
    assert "line.yaml:" in str(refused.value)


def test_check_opens_each_recipes_bundle_and_names_the_one_that_is_broken(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle")
    good = line_with(tmp_path, "    1: {name: cap}")
    checked = kensa("check", str(good))
    good.write_text(f"{good.read_text()}    2: {{name: lid, bundle: nothing}}\n")

    broken = kensa("check", str(good))

    assert (checked.returncode, broken.returncode) == (0, 2)
    assert "recipe 1 (cap): bundle " in checked.stdout
    assert broken.stderr.startswith("kensa check: recipe 2 (lid): ")


@pytest.mark.parametrize(
    ("then", "why"),
    [
        ("{name: cap, cameras: {top: {path: others}}}", ""),
        ("{name: cap, gate: {pulse_ms: 40}}", "changed: recipes: that needs a restart"),
        ("{name: cover}", "changed: recipes: that needs a restart"),
        ("{name: cap, bundle: nothing}", "nothing"),
    ],
    ids=["its camera", "its gate", "its name", "its bundle"],
)
def test_a_reload_takes_up_what_of_a_recipe_is_not_the_ejectors(tmp_path: Path, then: str, why: str) -> None:
    write_bundle(tmp_path / "bundle")
    write_photographs(tmp_path / "others", 1)
    file = line_with(tmp_path, "    1: {name: cap}")
    running = load_line(file)
    file.write_text(file.read_text().replace("{name: cap}", then))

    found = why_no_reload(running)

    assert why in found
    assert bool(found) == bool(why)
