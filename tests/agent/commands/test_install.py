"""`kensa install` and `kensa rollback`: what a line cannot use is refused before anything changes."""

import shutil
from pathlib import Path

import pytest
from line_file import write_line
from small_bundle import edit_manifest

from agent.bundle import Bundle, BundleError, open_bundle
from agent.commands.install import install_command, rollback_command, trial_on
from agent.config import load_line
from agent.model import Model
from agent.serving.choice import Choice, keep
from agent.serving.slots import pointer


@pytest.fixture
def file(state: Path, small_bundle: Path) -> Path:
    """A line that runs what is installed."""
    (state / "state").mkdir()
    file = write_line(state, pointer(state / "state"))
    assert install_command([str(small_bundle), str(file)]) == 0
    return file


@pytest.fixture
def newer(own_bundle: Path) -> Path:
    edit_manifest(own_bundle, lambda manifest: manifest.update(name="newer"))
    return own_bundle


def runs(file: Path) -> str:
    return open_bundle(pointer(file.parent / "state")).manifest.name


def test_a_bundle_is_tried_and_becomes_the_active_one(file: Path, newer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = install_command([str(newer), str(file)])

    assert (status, runs(file)) == (0, "newer")
    assert "newer" in capsys.readouterr().out


def test_a_roll_back_leads_to_the_one_before(file: Path, newer: Path) -> None:
    install_command([str(newer), str(file)])

    status = rollback_command([str(file)])

    assert (status, runs(file)) == (0, "small")


def test_m4_a_bundle_that_scores_otherwise_on_this_device_is_refused(file: Path, newer: Path) -> None:
    edit_manifest(newer, lambda manifest: manifest["artifacts"][0].update(golden_raw=[0.9, 0.1]))

    with pytest.raises(BundleError, match="at export"):
        install_command([str(newer), str(file)])

    assert runs(file) == "small"


def test_m5_a_bundle_too_slow_for_the_time_that_a_part_has_is_refused(file: Path, newer: Path) -> None:
    """A thousandth of a millisecond: no model is that fast."""
    file.write_text(file.read_text().replace("lead_ms: 20", "lead_ms: 399.999"))

    with pytest.raises(BundleError, match="from its trigger to the gate"):
        install_command([str(newer), str(file)])

    assert runs(file) == "small"


def with_cameras(file: Path, *more: str) -> None:
    """The line with further cameras; of the 60 ms from trigger to gate 40 are a part's."""
    text = file.read_text().replace("travel_ms: 400", "travel_ms: 60")
    cameras = "".join(f"  c{k}: {{type: folder, path: photographs{keys}}}\n" for k, keys in enumerate(more))
    file.write_text(text.replace("trigger:", f"{cameras}trigger:", 1))


def measured(bundle: Bundle, model: Model) -> float:
    """Made up: ms for an image."""
    del model
    return {"small": 15.0, "slow": 30.0}[bundle.manifest.name]


def write_slow(folder: Path, bundle: Path) -> None:
    shutil.copytree(bundle, folder / "slow")
    edit_manifest(folder / "slow", lambda manifest: manifest.update(name="slow"))


@pytest.mark.parametrize("cameras", [(), ("",)], ids=["one", "two"])
def test_a_bundle_whose_images_of_all_cameras_are_judged_in_time_passes_its_trial(
    state: Path, small_bundle: Path, cameras: tuple[str, ...]
) -> None:
    file = write_line(state, small_bundle)
    with_cameras(file, *cameras)

    trial_on(load_line(file), measured)(open_bundle(small_bundle))


@pytest.mark.parametrize(
    ("cameras", "found"),
    [
        (
            ("", ""),
            r"15\.00 ms for an image here, 45\.00 ms for those of 3 cameras, one after the other; a part .* has 40\.00 ms",
        ),
        ((", bundle: slow",), r"15\.00 ms for an image here, 45\.00 ms for those of 2 cameras, one after the other"),
    ],
    ids=["all judged by it", "one judged by a slower one"],
)
def test_m5_a_part_has_an_image_of_each_camera_judged_one_after_the_other(
    state: Path, small_bundle: Path, cameras: tuple[str, ...], found: str
) -> None:
    write_slow(state, small_bundle)
    file = write_line(state, small_bundle)
    with_cameras(file, *cameras)

    with pytest.raises(BundleError, match=found):
        trial_on(load_line(file), measured)(open_bundle(small_bundle))


def test_a_camera_whose_own_bundle_does_not_open_is_not_counted_and_that_is_told(
    state: Path, small_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_line(state, small_bundle)
    with_cameras(file, "", ", bundle: nowhere")

    trial_on(load_line(file), measured)(open_bundle(small_bundle))

    assert "nowhere is not counted, it does not open: " in capsys.readouterr().out


def test_a_recipe_with_another_bundle_has_its_own_time(state: Path, small_bundle: Path) -> None:
    write_slow(state, small_bundle)
    file = write_line(state, small_bundle)
    with_cameras(file, "")
    lid = "{name: lid, bundle: slow, gate: {travel_ms: 21}}"
    file.write_text(f"{file.read_text()}recipes:\n  1: {{name: cap}}\n  2: {lid}\n")
    trial = trial_on(load_line(file), measured)

    trial(open_bundle(small_bundle))

    with pytest.raises(BundleError, match=r"30\.00 ms .* of recipe 1 has 40\.00 ms"):
        trial(open_bundle(state / "slow"))


def test_a_bundle_that_does_not_allow_the_sensitivity_of_a_recipe_is_refused(file: Path, newer: Path) -> None:
    file.write_text(f"{file.read_text()}recipes: {{1: {{name: cap}}, 2: {{name: lid, sensitivity: 0.4}}}}\n")
    edit_manifest(newer, lambda manifest: manifest.update(sensitivity_limits=[-0.2, 0.3]))
    trial = trial_on(load_line(file))

    with pytest.raises(BundleError, match=r"of recipe 2: sensitivity 0\.4, this bundle allows"):
        trial(open_bundle(newer))


@pytest.mark.parametrize(
    ("runtime", "is_chosen", "remedy"),
    [
        ("openvino", False, "refused, let kensa bench --choose .* artefacts, which `runtime: {type: auto}` runs, or export"),
        ("auto", False, "refused, let kensa bench --choose .* find the fastest of its artefacts, or export a faster one"),
        ("auto", True, "refused, export a faster one"),
    ],
    ids=["named", "auto, not chosen", "auto, chosen"],
)
def test_what_is_too_slow_is_chosen_before_it_is_exported_anew(
    state: Path, small_bundle: Path, runtime: str, is_chosen: bool, remedy: str
) -> None:
    line = load_line(write_line(state, small_bundle, runtime=runtime))
    bundle = open_bundle(small_bundle)
    chosen_for = bundle.manifest.bundle_id if is_chosen else "0" * 64
    keep(line.state, Choice(chosen_for, "openvino-f32", {"type": "openvino"}, 1.0, "now"))

    with pytest.raises(BundleError, match=remedy):
        trial_on(line, lambda *_: 500.0)(bundle)


def test_an_empty_folder_is_refused(file: Path, newer: Path) -> None:
    shutil.rmtree(newer)
    newer.mkdir()

    with pytest.raises(BundleError, match="not a bundle"):
        install_command([str(newer), str(file)])

    assert runs(file) == "small"


def test_a_line_that_does_not_run_what_is_installed_is_told_how(
    state: Path, small_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_line(state, small_bundle)

    install_command([str(small_bundle), str(file)])

    assert "write `bundle: " in capsys.readouterr().out
