"""`kensa distill`: the same command gives the same file, however often it was cut off; what it makes can be used."""

import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_dataset import plate, save
from told import Cut, Told, quiet

from kensa import main
from training.checkpoints import DescentError
from training.crops import open_source
from training.data import DataError
from training.distill import distill
from training.plan import DistillError, Plan, Teacher
from training.pretrained import load_backbone

ROOT = Path(__file__).parents[2]
STEPS = 5


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network's file; what it knows does not matter here."""
    file = tmp_path_factory.mktemp("teacher") / "mobilenetv2.safetensors"
    torch.manual_seed(1)
    save_file(timm.create_model("mobilenetv2_050", pretrained=False).state_dict(), file)
    return file


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures") / "plates"
    for k in range(3):
        save(folder / f"{k}.png", plate(k))
    return folder


@pytest.fixture
def plan(teacher: Path, photographs: Path) -> Plan:
    stated = {"pad_type": "same", "mean": 0.5, "std": 0.5, "licence": "theirs"}
    return Plan((Teacher("mobilenetv2_050", str(teacher), stated),), (str(photographs),), STEPS, batch=2, crop=32, licence="ours")


def test_the_same_plan_gives_the_same_bytes_and_another_seed_others(plan: Plan, tmp_path: Path) -> None:
    first = distill(plan, tmp_path / "a.safetensors", quiet())
    again = distill(plan, tmp_path / "b.safetensors", quiet())
    other = distill(replace(plan, seed=1), tmp_path / "c.safetensors", quiet())

    assert first == again != other
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_a_resumed_run_gives_the_bytes_of_an_uninterrupted_one(plan: Plan, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.safetensors", tmp_path / "cut.safetensors"
    distill(plan, whole, quiet())
    with pytest.raises(KeyboardInterrupt):
        distill(plan, cut, Cut(3))
    assert not cut.exists()
    rest = Told()

    distill(plan, cut, rest, resume=True)

    assert len(rest.losses) == STEPS - 3
    assert cut.read_bytes() == whole.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.md", "cut.safetensors", "whole.md", "whole.safetensors"]


def test_the_student_learns(plan: Plan, tmp_path: Path) -> None:
    told = Told()

    distill(replace(plan, steps=40, batch=4), tmp_path / "s.safetensors", told)

    assert all(map(math.isfinite, told.losses))
    assert sum(told.losses[-5:]) < 0.8 * sum(told.losses[:5])


def test_the_student_is_a_backbone_and_says_what_it_is(plan: Plan, tmp_path: Path) -> None:
    out = tmp_path / "s.safetensors"

    digest = distill(plan, out, quiet())

    backbone, provenance = load_backbone("resnet18", str(out), seed=0)
    assert all(level.isfinite().all() for level in backbone(torch.randn(1, 3, 64, 64)))
    assert (provenance.licence, provenance.mean) == ("ours", (0.485, 0.456, 0.406))
    assert {value.dtype for value in load_file(out).values()} == {torch.float16}
    assert out.stat().st_size < 6_000_000
    card = (tmp_path / "s.md").read_text()
    assert digest in card
    assert "mobilenetv2_050, licence: theirs" in card
    assert "kensa distill --student pyramid --teacher mobilenetv2_050=mobilenetv2.safetensors,pad_type=same," in card
    assert str(tmp_path) not in card


def test_photographs_and_textures_are_mixed_and_named_in_the_card(plan: Plan, tmp_path: Path) -> None:
    distill(replace(plan, images=("procedural", *plan.images), steps=1), tmp_path / "s.safetensors", quiet())

    card = (tmp_path / "s.md").read_text()
    assert "| images | procedural (" in card
    assert "| images | 3 photographs of plates (" in card


def test_a_checkpoint_of_another_command_is_refused(plan: Plan, tmp_path: Path) -> None:
    out = tmp_path / "s.safetensors"
    with pytest.raises(KeyboardInterrupt):
        distill(plan, out, Cut(2))

    with pytest.raises(DescentError, match="--resume"):
        distill(plan, out, quiet())
    with pytest.raises(DescentError, match="of other photographs or other options"):
        distill(replace(plan, seed=1), out, quiet(), resume=True)
    (tmp_path / "s.safetensors.checkpoint" / "student.safetensors").write_bytes(b"half")
    with pytest.raises(DescentError, match="remove it and begin again"):
        distill(plan, out, quiet(), resume=True)


@pytest.mark.parametrize("resume", [False, True], ids=["anew", "resumed"])
def test_what_stands_at_out_is_not_overwritten(plan: Plan, tmp_path: Path, resume: bool) -> None:
    (tmp_path / "s.safetensors").touch()
    (tmp_path / "s.safetensors.checkpoint").mkdir()

    with pytest.raises(DistillError, match="exists already"):
        distill(plan, tmp_path / "s.safetensors", quiet(), resume)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"--teacher": "mobilenetv2_500"}, "mobilenetv2_500"),
        ({"--teacher": "mobilenetv2_050=nowhere.safetensors"}, "nowhere.safetensors: no such file"),
        ({"--teacher": "mobilenetv2_050,pad_type"}, "expected NAME[=FILE][,KEY=VALUE...]"),
        ({"--teacher": "mobilenetv2_050,mean=grey"}, "could not convert string to float: 'grey'"),
        ({"--teacher": "mobilenetv2_050,std=58"}, "mean and std are of pixels from 0 to 1"),
        ({"--images": "empty"}, "no photographs"),
        ({"--out": "student.bin"}, ".safetensors"),
        ({"--out": "nowhere/student.safetensors"}, "in a folder that exists"),
    ],
    ids=["teacher", "file", "form", "mean", "std", "images", "suffix", "folder"],
)
def test_a_mistake_is_one_message(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, changes: dict[str, str], named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    options = {"--teacher": f"mobilenetv2_050={teacher}", "--images": "procedural", "--out": "student.safetensors"} | changes

    assert main(["distill", *(word for pair in options.items() for word in pair), "--steps", "1"]) == 2

    assert named in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["empty"]


def test_pictures_that_cannot_be_read_are_named_before_anything_is_learned(plan: Plan, photographs: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(photographs, tmp_path / "photographs")
    [(folder / f"broken_{k}.jpg").write_text("no picture") for k in range(2)]
    told = Told()

    with pytest.raises(DataError, match=r"broken_0\.jpg: not an image[^\n]*\n[^\n]*broken_1\.jpg: not an image"):
        distill(replace(plan, images=(str(folder),)), tmp_path / "s.safetensors", told)

    assert told.losses == []


def test_what_was_cut_off_before_its_card_goes_on(plan: Plan, tmp_path: Path) -> None:
    out = tmp_path / "s.safetensors"
    (tmp_path / "s.md").mkdir()  # as if the disk had no room for it
    with pytest.raises(DistillError, match=r"s\.md: cannot be written"):
        distill(plan, out, quiet())
    student = out.read_bytes()
    (tmp_path / "s.md").rmdir()

    distill(plan, out, quiet(), resume=True)

    assert out.read_bytes() == student
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.md", "s.safetensors"]


def test_sigterm_keeps_the_checkpoint_and_says_how_to_go_on(teacher: Path, photographs: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.safetensors"
    options = ["--teacher", f"mobilenetv2_050={teacher}", "--images", str(photographs), "--out", str(out), "--steps", "100000"]
    code = "import sys; from training.distill_command import distill_command; sys.exit(distill_command(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *options, "--batch", "1", "--crop", "32"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    lines = iter(process.stderr.readline, "")
    assert any(line.startswith("student: ") for line in lines)  # steps are taken

    process.terminate()
    _, told = process.communicate()

    assert process.returncode == 130
    assert "interrupted; --resume goes on from the last checkpoint" in told
    assert [p.name for p in tmp_path.iterdir()] == ["s.safetensors.checkpoint"]
    with safe_open(tmp_path / "s.safetensors.checkpoint" / "student.safetensors", framework="pt") as checkpoint:
        assert int(checkpoint.metadata()["steps"]) >= 1


def test_photographs_of_a_camera_of_12_bits_are_as_light_as_in_8(tmp_path: Path) -> None:
    for name, picture in (("8", plate(0)), ("12", plate(0).astype(np.uint16) * 16)):
        save(tmp_path / name / "a.png", picture)

    pictures = [open_source(str(tmp_path / name), 0).pick(np.random.default_rng(0), 0) for name in ("8", "12")]

    assert np.abs(pictures[0].astype(int) - pictures[1]).max() <= 1  # of rounding: 4095 is 255, 16 x 255 is 4080
