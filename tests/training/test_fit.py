"""`kensa fit`: the same in, the same out; every mistake is one message; nothing half-written stays."""

import io
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from interruptible import heed_ctrl_c
from safetensors.torch import save_file
from small_dataset import save_dataset, small_recipe
from told import Cut

from kensa import main
from training.evaluate import evaluate_command
from training.fit import fit
from training.fit_command import fit_command
from training.graph import TorchRuntime
from training.pretrained import WeightsError, load_backbone
from training.progress import Lines
from training.recipe import Recipe
from training.run import RunError, open_run

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("KENSA_DATA", ROOT.parent / "shared" / "data"))
WEIGHTS = Path(os.environ.get("KENSA_WEIGHTS", ROOT.parent / "shared" / "weights"))

SMALL = ["--method", "patchcore", "--weights", "random", "--image-size", "64"]


def written(folder: Path, text: str) -> Path:
    file = folder / "recipe.yaml"
    file.write_text(text)
    return file


def test_the_same_data_settings_and_seed_give_the_same_bytes(dataset: Path, run_folder: Path, tmp_path: Path) -> None:
    fit(small_recipe(dataset, tmp_path / "again"), Lines(io.StringIO()))
    fit(small_recipe(dataset, tmp_path / "other", seed=1), Lines(io.StringIO()))

    model = (run_folder / "model.safetensors").read_bytes()
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == model
    assert (tmp_path / "again" / "run.json").read_bytes() == (run_folder / "run.json").read_bytes()
    assert (tmp_path / "other" / "model.safetensors").read_bytes() != model


def test_the_command_writes_a_run_and_explains_its_threshold(dataset: Path, tmp_path: Path, capsys) -> None:
    options = ["--data", str(dataset), "--out", str(tmp_path / "run"), "--set", "bank=20", "--fit", "pad"]

    assert fit_command([*SMALL, *options]) == 0

    record = open_run(tmp_path / "run").record
    assert (record.settings, record.input.fit) == ({"bank": 20}, "pad")
    out = capsys.readouterr().out
    assert "6 parts to learn from, 6 held out for the threshold" in out
    assert "1 % was asked for: that needs 299 held-out parts, 293 more" in out
    assert "to have them, put 299 more good photographs into validation/good: all there are held out" in out


@pytest.mark.parametrize(
    ("again", "goes_on"),
    [
        (
            ["--data", "{}/../plates/", "--set", "batch=2", "--set", "epochs=2", "--set", "rate=1.6", "--roi", "{}/again.yaml"],
            True,
        ),
        (["--data", "{}", "--set", "batch=2", "--set", "epochs=3", "--roi", "{}/roi.yaml"], False),
    ],
    ids=["typed otherwise", "another"],
)
def test_the_same_fit_goes_on_however_it_is_typed_and_no_other(tmp_path: Path, capsys, again: list[str], goes_on: bool) -> None:
    data, out = save_dataset(tmp_path / "plates"), ["--method", "stfpm", "--image-size", "64", "--out", str(tmp_path / "run")]
    (data / "roi.yaml").write_text("ignore: [[[0, 0], [20, 0], [20, 20]]]\n")
    shutil.copy(data / "roi.yaml", data / "again.yaml")
    first = Recipe(
        method="stfpm",
        data=str(data),
        out=str(tmp_path / "run"),
        image_size=64,
        roi=str(data / "roi.yaml"),
        settings={"epochs": 2, "batch": 2},
    )
    with pytest.raises(KeyboardInterrupt):
        fit(first, Cut(2))

    status = main(["fit", *out, *(word.format(data) for word in again), "--resume"])

    assert (status == 0, (tmp_path / "run").is_dir()) == (goes_on, goes_on)
    assert ("of other photographs or other options" in capsys.readouterr().err) != goes_on


@pytest.mark.parametrize("out", [".", "/", "new/.."])
def test_a_run_without_a_name_of_its_own_is_refused_before_any_work(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, out: str
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["fit", *SMALL, "--data", str(dataset), "--out", out, "--overwrite"]) == 2

    assert capsys.readouterr().err == (
        f"kensa fit: {out}: no name for a RUN, which is written beside its place first; give a folder's name as --out\n"
    )


def test_a_recipe_says_the_same_as_options_with_paths_relative_to_it(tmp_path: Path) -> None:
    save_dataset(tmp_path / "plates")
    file = written(tmp_path, "method: patchcore\ndata: plates\nout: run\nweights: random\nimage_size: 64\nsettings: {bank: 20}\n")

    assert fit_command([str(file)]) == 0

    assert open_run(tmp_path / "run").record.settings == {"bank": 20}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--method", "patchcoer"], "--method patchcoer: method 'patchcoer' is not one of the methods here: ast, efficientad,"),
        (["--backbone", "resnet81"], "resnet18"),
        (["--set", "bnak=5"], "--set bnak=5: unknown key 'bnak', known: bank, pool, projection"),
        (["--set", "bank=many"], "--set bank=many: expected `int | float`"),
        (["--set", "bank"], "expected key=value"),
        (["--backbone", "resnet18", "--weights", "nowhere.safetensors"], "nowhere.safetensors: no such file"),
        (["--weights", "mine.safetensors"], "backbone 'embedded' brings its own weights"),
        (["--set-backbone", "colour=1"], "does not take the options {'colour': 1}"),
        (["--std", "1", "0", "1"], "--std 1.0 0.0 1.0: expected `float` > 0.0"),
        (["--mean", "123.7", "116.3", "103.5"], "--mean 123.7 116.3 103.5: expected `float` <= 1.0"),
        (["--image-size", "5"], "--image-size 5: expected `int` >= 32"),
        (["--data", "/nowhere"], "/nowhere: no such folder"),
        (["--data", ""], "--data : expected `str` of length >= 1"),
        (["--tiles", "3", "-1"], "--tiles 3 -1: expected `int` >= 1"),
    ],
    ids=[
        "method",
        "backbone",
        "set-key",
        "set-type",
        "set-form",
        "weights",
        "embedded",
        "option",
        "std",
        "mean",
        "size",
        "data",
        "no-data",
        "tiles",
    ],
)
def test_a_mistake_is_one_message_and_no_run(dataset: Path, tmp_path: Path, capsys, options: list[str], named: str) -> None:
    out = tmp_path / "run"

    assert main(["fit", *SMALL, "--data", str(dataset), "--out", str(out), *options]) == 2

    assert named in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("method: patchcore\ndata: d\nout: r\nimagesize: 64\n", "recipe.yaml:4: imagesize: unknown key 'imagesize'"),
        ("method: patchcore\ndata: d\n", "recipe.yaml:1: file: object missing required field `out`"),
        ("data: d\nout: r\nweights: random\nmethod: nope\n", "recipe.yaml:4: method: method 'nope' is not one of"),
        (
            "method: patchcore\ndata: d\nout: r\nweights: random\nsettings:\n  bank: 5\n  pol: 7\n",
            "recipe.yaml:7: settings.pol: unknown key 'pol'",
        ),
        ("method: patchcore\nmethod: patchcore\n", "recipe.yaml:2: key 'method' stands here a second time"),
    ],
    ids=["unknown", "missing", "method", "setting", "twice"],
)
def test_a_mistake_in_a_recipe_is_named_with_its_line(tmp_path: Path, capsys, text: str, named: str) -> None:
    file = written(tmp_path, text)

    assert main(["fit", str(file)]) == 2

    assert named in capsys.readouterr().err


def test_a_method_data_or_out_that_was_forgotten_is_named_as_people_write_it(capsys) -> None:
    with pytest.raises(SystemExit):
        fit_command(["--data", "photographs"])

    assert "expected a recipe, or --method, --data and --out; without --method, --out" in capsys.readouterr().err


def test_parts_that_do_not_differ_carry_no_threshold_and_leave_no_run(tmp_path: Path, capsys) -> None:
    save_dataset(tmp_path / "data", n_good=2)

    assert main(["fit", *SMALL, "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run")]) == 2

    assert "at least 4 are needed" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_ctrl_c_while_fitting_leaves_nothing_that_opens(tmp_path: Path) -> None:
    data = save_dataset(tmp_path / "data", n_good=40)
    code = "import sys; from training.fit_command import fit_command; sys.exit(fit_command(sys.argv[1:]))"
    options = [*SMALL, "--image-size", "512", "--data", str(data), "--out", str(tmp_path / "out" / "run"), "--set", "bank=20000"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *options],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("photographs: 40 in")
    assert process.stderr.readline().startswith("features: 20 in")  # the coreset has begun

    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)

    assert process.returncode == 130
    assert "interrupted, no RUN was written" in told
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(RunError):
        open_run(tmp_path / "out" / "run")


def test_without_network_cache_and_weights_the_embedded_backbone_is_used(dataset: Path, tmp_path: Path) -> None:
    options = ["--method", "patchcore", "--data", str(dataset), "--out", str(tmp_path / "run"), "--image-size", "64"]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "empty"), "OMP_NUM_THREADS": "1"}

    subprocess.run([sys.executable, "-m", "kensa", "fit", *options], cwd=ROOT, env={**os.environ, **offline}, check=True)

    record = open_run(tmp_path / "run").record
    assert (record.backbone, record.weights_licence) == ("resnet18", "Apache-2.0")
    assert record.weights.startswith("embedded pyramid-r18.safetensors, file sha256")


def test_an_embedded_file_that_was_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = (ROOT / "training" / "weights").glob("pyramid*.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    (tmp_path / file.name).write_bytes(content)
    monkeypatch.setattr("training.pretrained._FOLDER", tmp_path)

    with pytest.raises(WeightsError, match=r"pyramid-r18\.safetensors: sha256 .* changed or cut off"):
        load_backbone("embedded", None, seed=0)


def test_a_run_opens_with_the_options_its_backbone_was_made_with(dataset: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    save_file(timm.create_model("mobilenetv2_050").state_dict(), tmp_path / "w.safetensors")
    used = ["--backbone", "mobilenetv2_050", "--weights", str(tmp_path / "w.safetensors"), "--set-backbone", "pad_type=same"]
    colors = ["--mean", "0.5", "0.5", "0.5", "--std", "0.4", "0.4", "0.4"]

    assert fit_command([*SMALL, *used, *colors, "--data", str(dataset), "--out", str(tmp_path / "run")]) == 0

    run = open_run(tmp_path / "run")
    assert (run.record.backbone_options, run.record.mean) == ({"pad_type": "same"}, (0.5, 0.5, 0.5))
    scores = sorted(TorchRuntime(run.deployed).infer(image)[0] for image in run.calibration_images)
    assert scores == list(run.record.calibration.raw_scores)


@pytest.mark.skipif(not (DATA / "mvtec_small" / "hazelnut").is_dir(), reason=f"no real photographs at {DATA} (KENSA_DATA)")
@pytest.mark.skipif(not WEIGHTS.is_dir(), reason=f"no weights at {WEIGHTS} (KENSA_WEIGHTS)")
def test_real_hazelnuts_with_defects_are_told_from_good_ones(tmp_path: Path) -> None:
    import json

    data, weights = str(DATA / "mvtec_small" / "hazelnut"), str(WEIGHTS / "resnet18_imagenet_fp16.safetensors")
    options = ["--backbone", "resnet18", "--weights", weights]
    run, figures = str(tmp_path / "run"), tmp_path / "figures.json"

    assert fit_command(["--method", "patchcore", "--data", data, "--out", run, *options, "--set", "bank=500"]) == 0
    assert evaluate_command([run, "--data", data, "--json", str(figures)]) == 0

    assert json.loads(figures.read_text())["image_auroc"] > 0.8
    assert json.loads(figures.read_text())["pixel_auroc"] > 0.9
