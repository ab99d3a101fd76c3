"""`kensa bench` measures what runs here, and `runtime: {type: auto}` runs what it chose."""

import json
import shutil
from pathlib import Path

import msgspec
import pytest
from kensa_process import python
from line_file import write_line
from small_bundle import edit_manifest

from agent.bundle import BundleError, open_bundle
from agent.commands.bench import Measured, bench_command, energy_of, table
from agent.commands.line import reporting
from agent.config import load_line
from agent.drivers import section
from agent.model import Here
from agent.serving.choice import FOLDER, Choice, chosen, keep
from agent.serving.model_watch import ModelWatch, open_from

FIGURES = {
    "artifact": "onnx-f32",
    "runtime": {"type": "onnxruntime"},
    "executed_on": "CPU",
    "precision": "f32",
    **dict.fromkeys(("p50_ms", "p95_ms", "p99_ms", "graph_ms", "per_s", "compile_ms", "rss_mb", "base_mb", "size_mb"), 1.0),
}
AUTO = section("agent.runtimes", {"type": "auto"})


def test_each_artefact_is_measured_and_the_fastest_is_chosen(
    small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "figures.json"
    words = [str(small_bundle), "--frames", "20", "--choose", "--state", str(tmp_path / "state"), "--json", str(figures)]

    assert reporting(bench_command, words) == 0

    measured = json.loads(figures.read_text())
    assert [one["artifact"] for one in measured] == ["onnx-f32", "openvino-f32"]
    assert all(0 < one["p50_ms"] <= one["p95_ms"] <= one["p99_ms"] for one in measured)
    assert all(one["graph_ms"] > 0 and one["compile_ms"] > 0 and one["size_mb"] > 0 for one in measured)
    assert all(one["rss_mb"] >= one["base_mb"] > 0 for one in measured)
    assert all((one["joules"] is None or one["joules"] >= 0) and one["energy"] for one in measured)  # as this machine tells
    best = min(measured, key=lambda one: one["p50_ms"])
    (kept,) = (tmp_path / "state" / FOLDER).iterdir()
    choice = json.loads(kept.read_text())
    assert (choice["artifact"], choice["runtime"]["type"]) == (best["artifact"], best["runtime"]["type"])
    told = capsys.readouterr().out
    assert f"chosen: {best['artifact']}" in told
    assert "takes this up when its model is next opened" in told


def test_figures_that_cannot_be_written_do_not_cost_the_choice(small_bundle: Path, tmp_path: Path) -> None:
    words = [str(small_bundle), "--frames", "1", "--choose", "--state", str(tmp_path), "--json", "/dev/full"]

    with pytest.raises(OSError, match="No space left"):
        bench_command(words)

    assert len(list((tmp_path / FOLDER).iterdir())) == 1


@pytest.mark.parametrize("name", ["onnx-f32", "openvino-f32"])
def test_auto_runs_what_was_chosen(small_bundle: Path, tmp_path: Path, name: str) -> None:
    write_choice(tmp_path, open_bundle(small_bundle).manifest.bundle_id, name)

    with ModelWatch(small_bundle, "auto", AUTO, Here(tmp_path)) as models:
        assert models.now.artifact.name == name


@pytest.mark.parametrize("content", [None, "{", '{"made": 1}', "another bundle", "another artefact"])
def test_auto_without_a_choice_that_holds_runs_the_first_and_says_so(
    small_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str | None
) -> None:
    bundle = open_bundle(small_bundle)
    spoil(tmp_path, bundle.manifest.bundle_id, content)

    artifact, runtime = chosen(bundle, "auto", AUTO, tmp_path)

    assert (artifact.name, runtime) == ("onnx-f32", AUTO)
    assert "so onnx-f32 runs: kensa bench --choose measures which is best" in caplog.text


def test_each_bundle_of_a_line_keeps_its_own_choice(small_bundle: Path, tmp_path: Path) -> None:
    other = shutil.copytree(small_bundle, tmp_path / "other")
    edit_manifest(other, lambda manifest: manifest.update(name="other"))
    bundles = [open_bundle(small_bundle), open_bundle(other)]

    write_choice(tmp_path, bundles[0].manifest.bundle_id, "openvino-f32")
    write_choice(tmp_path, bundles[1].manifest.bundle_id, "onnx-f32")

    assert [chosen(bundle, "auto", AUTO, tmp_path)[0].name for bundle in bundles] == ["openvino-f32", "onnx-f32"]


def test_a_choice_that_does_not_run_here_any_more_says_to_choose_again(own_bundle: Path, tmp_path: Path) -> None:
    edit_manifest(own_bundle, lambda manifest: manifest["artifacts"][1].update(golden_raw=[0.1, 0.1]))
    write_choice(tmp_path, open_bundle(own_bundle).manifest.bundle_id, "openvino-f32")

    with pytest.raises(BundleError, match=r"gives raw score .*; openvino-f32 is what kensa bench --choose found .* choose again"):
        open_from(own_bundle, "auto", AUTO, Here(tmp_path))


def test_another_runtime_does_not_look_at_the_choice(small_bundle: Path, tmp_path: Path) -> None:
    bundle = open_bundle(small_bundle)
    write_choice(tmp_path, bundle.manifest.bundle_id, "openvino-f32")

    artifact, _ = chosen(bundle, "onnxruntime", AUTO, tmp_path)

    assert artifact.name == "onnx-f32"


def test_a_line_may_say_auto(state: Path, small_bundle: Path) -> None:
    assert load_line(write_line(state, small_bundle, runtime="auto")).runtime == AUTO


@pytest.mark.parametrize(
    "words",
    [["--choose"], ["--frames", "0"], ["--within-s", "0"], ["--json", "/nowhere/figures.json"], ["--json", "/dev"]],
    ids=["choose without state", "no frames", "no time", "figures in no folder", "figures that are a folder"],
)
def test_a_wrong_option_is_refused(small_bundle: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench_command([str(small_bundle), *words])

    said = capsys.readouterr().err
    reasons = ("expected at least 1", "--choose needs --state", "expected a number of seconds", "expected a file in a folder")
    assert any(reason in said for reason in reasons)


WITHOUT_OPENVINO = """
import sys
from pathlib import Path

sys.modules["openvino"] = None  # as where it is not installed
from agent.bundle import open_bundle
from agent.commands.bench import candidates

print(*(section for artifact in open_bundle(Path(sys.argv[1])).manifest.artifacts for section in candidates(artifact, 0)))
"""


def test_a_runtime_that_is_not_installed_does_not_end_it(small_bundle: Path) -> None:
    ended = python("-c", WITHOUT_OPENVINO, str(small_bundle))

    assert ended.stderr == ""
    assert ended.stdout == "{'type': 'onnxruntime', 'provider': 'cpu'} {'type': 'openvino'}\n"


def test_energy_is_told_for_one_image_where_the_machine_tells_it(tmp_path: Path) -> None:
    zone = tmp_path / "class/powercap/intel-rapl:0"  # made up: see tests/agent/test_energy.py
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0\n")
    (zone / "max_energy_range_uj").write_text("262143328850\n")
    counter = zone / "energy_uj"
    counter.write_text("0\n")

    joules, of = energy_of(lambda: counter.write_text(f"{int(counter.read_text()) + 250_000}\n"), 20, tmp_path)

    assert (joules, of) == (pytest.approx(0.25), "package-0")  # 20 times a quarter, summed in floats


def test_a_machine_that_tells_no_energy_has_none_and_the_table_says_why(tmp_path: Path) -> None:
    joules, why = energy_of(lambda: None, 20, tmp_path)

    figures = [msgspec.convert({**FIGURES, "joules": joules, "energy": why}, Measured) for _ in range(2)]

    *_, first, second, reason = table(figures).splitlines()
    assert joules is None
    assert first.endswith("  -")
    assert first == second
    assert reason == f"J/image: {tmp_path / 'class'} has no powercap/intel-rapl and no hwmon with an INA sensor"


def write_choice(state: Path, bundle_id: str, artifact: str) -> Path:
    kind = {"onnx-f32": "onnxruntime", "openvino-f32": "openvino"}.get(artifact, "onnxruntime")
    return keep(state, Choice(bundle_id, artifact, {"type": kind}, median_ms=1.0, made="now"))


def spoil(state: Path, bundle_id: str, content: str | None) -> None:
    """No choice, a broken one, or one for something else."""
    match content:
        case None:
            pass
        case "another bundle":
            write_choice(state, "0" * 64, "onnx-f32").rename(state / FOLDER / f"{bundle_id}.json")
        case "another artefact":
            write_choice(state, bundle_id, "onnx-int8")
        case _:
            write_choice(state, bundle_id, "onnx-f32").write_text(content)
