"""`kensa bench` measures what runs here, and `runtime: {type: auto}` runs what it chose."""

import json
from pathlib import Path

import pytest
from line_file import write_line

from agent.bundle import open_bundle
from agent.commands.bench import bench_command
from agent.commands.line import reporting
from agent.config import load_line
from agent.drivers import section
from agent.model import Here
from agent.serving.choice import FILE, chosen
from agent.serving.model_watch import ModelWatch

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
    best = min(measured, key=lambda one: one["p50_ms"])
    choice = json.loads((tmp_path / "state" / FILE).read_text())
    assert (choice["artifact"], choice["runtime"]["type"]) == (best["artifact"], best["runtime"]["type"])
    assert f"chosen: {best['artifact']}" in capsys.readouterr().out


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


def test_another_runtime_does_not_look_at_the_choice(small_bundle: Path, tmp_path: Path) -> None:
    bundle = open_bundle(small_bundle)
    write_choice(tmp_path, bundle.manifest.bundle_id, "openvino-f32")

    artifact, _ = chosen(bundle, "onnxruntime", AUTO, tmp_path)

    assert artifact.name == "onnx-f32"


def test_a_line_may_say_auto(state: Path, small_bundle: Path) -> None:
    assert load_line(write_line(state, small_bundle, runtime="auto")).runtime == AUTO


@pytest.mark.parametrize("words", [["--choose"], ["--frames", "0"]], ids=["choose without state", "no frames"])
def test_a_wrong_option_is_refused(small_bundle: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench_command([str(small_bundle), *words])

    assert "expected at least 1" in (said := capsys.readouterr().err) or "--choose needs --state" in said


def write_choice(state: Path, bundle_id: str, artifact: str) -> None:
    kind = {"onnx-f32": "onnxruntime", "openvino-f32": "openvino"}.get(artifact, "onnxruntime")
    content = {"bundle_id": bundle_id, "artifact": artifact, "runtime": {"type": kind}, "median_ms": 1.0, "made": "now"}
    (state / FILE).write_text(json.dumps(content))


def spoil(state: Path, bundle_id: str, content: str | None) -> None:
    """No choice, a broken one, or one for something else."""
    match content:
        case None:
            pass
        case "another bundle":
            write_choice(state, "0" * 64, "onnx-f32")
        case "another artefact":
            write_choice(state, bundle_id, "onnx-int8")
        case _:
            (state / FILE).write_text(content)
