"""`kensa check`: what is told of a line before it runs is what would run."""

import json
import pkgutil
from pathlib import Path

import msgspec
import pytest
import yaml
from kensa_process import kensa
from line_file import write_line
from small_bundle import write_photographs

from agent.bundle import open_bundle
from agent.commands.check import describe
from agent.config import load_line
from agent.drivers import driver
from agent.only_one import only_one
from agent.serving import choice, local_calibration
from agent.serving.local_calibration import LocalTable, artifact_sha256
from kensa import main


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("travel_ms: 400", "travel: 400", "line.yaml:9: gate.travel: unknown key 'travel'"),
        ("gate:", "gate: {", "line.yaml:"),
        ("type: folder", "type: gige", "line.yaml:5: cameras.top.type: type 'gige' is not one of the cameras here: folder"),
        ("{type: dryrun}", "{type: valve}", "line.yaml:7: ejector.type:"),
        ("path: photographs", "path: nothing", "nothing is not a folder"),
        ("{type: onnxruntime}", "{type: openvino, device: 5}", "line.yaml:12: runtime.device: expected `str`, got `int`"),
        ("bundle: ", "bundle: no/", "no readable manifest.json"),
    ],
    ids=["unknown key", "not YAML", "camera", "ejector", "no photographs", "type of a value", "no bundle"],
)
def test_check_names_what_is_wrong_with_a_line_in_one_line(
    state: Path, small_bundle: Path, old: str, new: str, says: str
) -> None:
    file = write_line(state, small_bundle)
    file.write_text(file.read_text().replace(old, new))

    ended = kensa("check", str(file))

    assert ended.returncode == 2
    assert says in ended.stderr
    assert ended.stderr.startswith("kensa check: ")
    assert ended.stderr.count("\n") == 1


def test_check_says_what_a_right_line_is(state: Path, small_bundle: Path) -> None:
    ended = kensa("check", str(write_line(state, small_bundle)))

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "small: onnx-f32, threshold" in ended.stdout
    assert ended.stdout.endswith("ok\n")
    assert not (state / "state").exists()


def test_check_notes_a_camera_that_is_waited_for_longer_than_a_part_has(state: Path, small_bundle: Path) -> None:
    file = write_line(state, small_bundle)
    camera = "{type: simulated, path: belt, width: 8, height: 8, timeout_ms: 380}"
    file.write_text(file.read_text().replace("{type: folder, path: photographs}", camera))

    ended = kensa("check", str(file))

    assert "note: cameras.top: timeout_ms 380 is not below the 380 ms that a part has" in ended.stdout


def test_check_leaves_the_cameras_of_a_line_that_runs_alone(state: Path, small_bundle: Path) -> None:
    """What opens a camera takes it from the line; this one has lost its photographs since."""
    file = write_line(state, small_bundle)
    with only_one(state / "state", "inspect"):
        [photograph.unlink() for photograph in (state / "photographs").iterdir()]
        running = kensa("check", str(file))
    standing = kensa("check", str(file))

    assert (running.returncode, standing.returncode) == (0, 2)
    assert "note: cameras: in use by the running line, not looked at: see its state\n" in running.stdout


def test_the_configuration_is_readable_and_one_could_write_it_so(state: Path, small_bundle: Path) -> None:
    file = write_line(state, small_bundle)
    write_photographs(state / "lids", 1)
    file.write_text(file.read_text() + "recipes:\n  2: {name: lid, cameras: {top: {path: lids}}, sensitivity: 0.1}\n")

    told = describe(load_line(file))

    found = yaml.safe_load(told)
    assert max(map(len, told.splitlines())) < 200
    assert found["trigger"] == {"type": "timer", "period_ms": 50.0, "count": None, "delay_ms": 0.0}
    assert found["cameras"]["top"]["type"] == "folder"
    assert found["runtime"]["type"] == "onnxruntime"
    (lid,) = found["recipes"].values()
    assert lid.keys() == {"name", "cameras", "sensitivity"}  # what is different, and nothing else
    assert (lid["name"], lid["cameras"]["top"]["path"]) == ("lid", str(state / "lids"))


@pytest.mark.parametrize("package", ["cameras", "triggers", "ejectors", "encoders", "plc", "runtimes"])
def test_each_driver_is_called_what_type_says(package: str) -> None:
    folder = Path(__file__).parents[3] / "agent" / package
    names = [module.name for module in pkgutil.iter_modules([str(folder)]) if not module.name.startswith("_")]

    assert [driver(f"agent.{package}", name).Config.__module__.rpartition(".")[2] for name in names] == names


def test_programs_get_one_json_object(state: Path, small_bundle: Path) -> None:
    ended = kensa("check", str(write_line(state, small_bundle)), "--json")

    told = json.loads(ended.stdout)
    assert ended.returncode == 0
    assert told["line"]["station"] == "press-3"
    assert told["notes"] == []
    assert [(one["artifact"], one["name"]) for one in told["judges"]] == [("onnx-f32", "small")]


def test_what_was_chosen_and_calibrated_here_is_what_is_told(
    state: Path, small_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = open_bundle(small_bundle)
    artifact = bundle.manifest.artifacts[1]
    manifest_id, here = bundle.manifest.bundle_id, state / "state"
    file = write_line(state, small_bundle, runtime="auto")
    choice.keep(here, choice.Choice(manifest_id, artifact.name, {"type": "openvino"}, median_ms=1.0, made="now"))
    own = msgspec.structs.replace(artifact.calibration, threshold=0.75)
    table = LocalTable(artifact_sha256(bundle, artifact), "cpu", "f32", own, artifact.golden_raw, "0" * 64, "now")
    kept = local_calibration.keep(here, table)

    status = main(["check", str(file)])

    assert status == 0
    own_table = f"threshold 0.75 from 60 good parts, this device's own table {kept} (without it the bundle's holds)"
    assert f": openvino-f32, {own_table}\n" in capsys.readouterr().out


def test_a_threshold_of_an_accelerator_is_not_told_as_that_of_the_processor(
    state: Path, small_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_line(state, small_bundle, runtime="openvino, device: GPU")

    status = main(["check", str(file)])

    assert status == 0
    assert ": openvino-f32, with this device's own table (kensa calibrate)\n" in capsys.readouterr().out


def test_a_sensitivity_that_the_bundle_does_not_allow_is_found_before_a_start(
    state: Path, small_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_line(state, small_bundle)
    file.write_text(file.read_text() + "sensitivity: 0.9\n")

    status = main(["check", str(file)])

    assert (status, capsys.readouterr().err) == (2, "kensa check: sensitivity 0.9, this bundle allows -0.2 to 0.5\n")
