"""A bundle that is not whole does not open."""

import base64
import hashlib
import json
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_bundle import edit_manifest, write_bundle

from agent.bundle import MANIFEST, BundleError, open_bundle, seal

Content = dict[str, Any]


@contextmanager
def put_back(file: Path) -> Iterator[bytearray]:
    """The bytes of a file, to be changed; afterwards the file is as it was."""
    original = file.read_bytes()
    try:
        yield bytearray(original)
    finally:
        file.write_bytes(original)


def flip(content: bytearray, position: int, mask: int) -> bytearray:
    content[position % len(content)] ^= mask
    return content


def opened_or_refused(folder: Path) -> str:
    """What `open_bundle` did; any other error comes through."""
    try:
        open_bundle(folder)
    except BundleError:
        return "refused"
    return "opened"


@pytest.fixture(scope="module")
def flippable(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(small_bundle, tmp_path_factory.mktemp("flippable") / "bundle")


def test_a_whole_bundle_opens(small_bundle: Path) -> None:
    bundle = open_bundle(small_bundle)

    assert bundle.manifest.name == "small"
    assert "artifacts/model.onnx" in bundle.manifest.files


@given(data=st.data(), position=st.integers(0, 10**6), mask=st.integers(1, 255))
def test_any_changed_byte_in_any_listed_file_is_refused(flippable: Path, data: st.DataObject, position: int, mask: int) -> None:
    name = data.draw(st.sampled_from(sorted(open_bundle(flippable).manifest.files)))

    with put_back(flippable / name) as content:
        (flippable / name).write_bytes(flip(content, position, mask))

        with pytest.raises(BundleError, match=f"{name}: sha256 .* changed or cut off"):
            open_bundle(flippable)


@given(position=st.integers(0, 10**5), mask=st.integers(1, 255))
def test_a_changed_byte_in_the_manifest_is_never_another_error(flippable: Path, position: int, mask: int) -> None:
    with put_back(flippable / MANIFEST) as content:
        (flippable / MANIFEST).write_bytes(flip(content, position, mask))

        did = opened_or_refused(flippable)

    assert did in {"opened", "refused"}


@given(share=st.floats(0, 0.999))
def test_a_manifest_cut_off_anywhere_is_refused(flippable: Path, share: float) -> None:
    with put_back(flippable / MANIFEST) as content:
        (flippable / MANIFEST).write_bytes(content[: int(share * len(content))])

        did = opened_or_refused(flippable)

    assert did == "refused"


@pytest.mark.parametrize("name", ["artifacts/model.onnx", "artifacts/model.bin", "reference/golden_0.png"])
def test_a_missing_file_is_named(own_bundle: Path, name: str) -> None:
    (own_bundle / name).unlink()

    with pytest.raises(BundleError, match=rf"{name}: missing, or not a regular file: copy the bundle again"):
        open_bundle(own_bundle)


def test_an_appended_byte_is_refused(own_bundle: Path) -> None:
    with (own_bundle / "artifacts/model.onnx").open("ab") as out:
        out.write(b"\0")

    with pytest.raises(BundleError, match=r"artifacts/model\.onnx: sha256"):
        open_bundle(own_bundle)


@pytest.mark.parametrize("target", ["elsewhere", "a whole folder elsewhere"])
def test_a_symbolic_link_is_refused_even_to_the_same_bytes(own_bundle: Path, tmp_path: Path, target: str) -> None:
    linked = {"elsewhere": own_bundle / "artifacts/model.onnx", "a whole folder elsewhere": own_bundle / "artifacts"}[target]
    linked.rename(tmp_path / "moved")
    linked.symlink_to(tmp_path / "moved")

    with pytest.raises(BundleError, match="not a regular file"):
        open_bundle(own_bundle)


@pytest.mark.parametrize("name", ["../outside.onnx", "artifacts/../../outside.onnx", "/etc/hostname"])
def test_a_file_name_that_leads_out_of_the_bundle_is_refused(own_bundle: Path, name: str) -> None:
    outside = b"outside"
    (own_bundle.parent / "outside.onnx").write_bytes(outside)
    edit_manifest(own_bundle, lambda content: content["files"].update({name: hashlib.sha256(outside).hexdigest()}))

    with pytest.raises(BundleError, match="leads out of the bundle"):
        open_bundle(own_bundle)


@pytest.mark.parametrize(
    "name", ["", ".", "artifacts", "no\0name", "x" * 5000], ids=["empty", "dot", "folder", "nul", "too long"]
)
def test_a_file_name_that_names_no_file_is_refused(own_bundle: Path, name: str) -> None:
    edit_manifest(own_bundle, lambda content: content["files"].update({name: "0" * 64}))

    with pytest.raises(BundleError):
        open_bundle(own_bundle)


def test_a_name_that_no_verdict_could_carry_is_refused(own_bundle: Path) -> None:
    edit_manifest(own_bundle, lambda content: content.update(name="x" * 201))

    with pytest.raises(BundleError, match=r"length <= 200.*name"):
        open_bundle(own_bundle)


@pytest.mark.parametrize("field", ["artifacts", "golden"])
def test_a_file_that_is_used_but_not_hashed_is_refused(own_bundle: Path, field: str) -> None:
    used = {"artifacts": "artifacts/model.onnx", "golden": "reference/golden_1.png"}[field]
    edit_manifest(own_bundle, lambda content: content["files"].pop(used))

    with pytest.raises(BundleError, match=f"{used} used but not among the hashed files"):
        open_bundle(own_bundle)


@pytest.mark.parametrize("schema", ["2.0", "0.9", "10.0", "", "none"])
def test_another_major_version_is_refused_with_what_to_do(own_bundle: Path, schema: str) -> None:
    edit_manifest(own_bundle, lambda content: content.update(schema=schema))

    with pytest.raises(BundleError, match="this agent reads 1: update the agent or export again"):
        open_bundle(own_bundle)


def test_a_major_version_is_refused_before_the_rest_is_understood(own_bundle: Path) -> None:
    (own_bundle / MANIFEST).write_text('{"schema": "2.0", "everything": "else is new"}')

    with pytest.raises(BundleError, match=r"schema version '2'"):
        open_bundle(own_bundle)


def test_a_manifest_without_a_version_is_refused(own_bundle: Path) -> None:
    edit_manifest(own_bundle, lambda content: content.pop("schema"))

    with pytest.raises(BundleError, match="schema version 'none'"):
        open_bundle(own_bundle)


def test_a_newer_minor_version_with_fields_unknown_here_opens(own_bundle: Path) -> None:
    edit_manifest(own_bundle, lambda content: content.update(schema="1.7", depth_input={"unit": "mm"}))

    bundle = open_bundle(own_bundle)

    assert bundle.manifest.schema == "1.7"


def test_a_bundle_id_that_does_not_belong_to_the_files_is_refused(own_bundle: Path) -> None:
    text = (own_bundle / MANIFEST).read_text()
    bundle_id = json.loads(text)["bundle_id"]
    (own_bundle / MANIFEST).write_text(text.replace(bundle_id, "0" * 64))

    with pytest.raises(BundleError, match="bundle_id does not match"):
        open_bundle(own_bundle)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[]", "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b'{"schema": 1}', "not valid JSON"),
        (b'{"schema": "1.0"}', "missing required field"),
        (b'{"schema": "1.0", "more": ' + b"[" * 100_000, "not valid JSON"),
    ],
    ids=["empty", "cut off", "list", "not text", "version is a number", "nothing else", "deep"],
)
def test_a_manifest_that_is_none_is_refused(own_bundle: Path, content: bytes, says: str) -> None:
    (own_bundle / MANIFEST).write_bytes(content)

    with pytest.raises(BundleError, match=says):
        open_bundle(own_bundle)


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda content: content["artifacts"][0].update(golden_raw=[0.1]), id="fewer golden scores than images"),
        pytest.param(lambda content: content["artifacts"][0].update(files=[]), id="an artefact without a file"),
        pytest.param(lambda content: content["artifacts"][0]["calibration"].update(threshold=None), id="no threshold"),
        pytest.param(lambda content: content["artifacts"][0]["calibration"].update(raw_scores=[]), id="no calibration scores"),
        pytest.param(
            lambda content: content["artifacts"][0]["calibration"].update(threshold=-5.0), id="threshold below the median"
        ),
        pytest.param(lambda content: content["input"].update(fit="guess"), id="unknown fit"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(own_bundle: Path, edit: Callable[[Content], object]) -> None:
    edit_manifest(own_bundle, edit)

    with pytest.raises(BundleError):
        open_bundle(own_bundle)


def region(png: bytes) -> Content:
    return {"png": base64.b64encode(png).decode()}


def png_of(width: int, height: int) -> bytes:
    """The head of a picture that claims to be as large as that."""
    return (
        cv2.imencode(".png", np.full((8, 8), 255, np.uint8))[1]
        .tobytes()
        .replace(struct.pack(">II", 8, 8), struct.pack(">II", width, height), 1)
    )


RIGHT_COLUMN = cv2.imencode(".png", np.uint8([[0, 0, 0, 255]]))[1].tobytes()


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"width": 0}, "`int` >= 1"),
        ({"height": -64}, "`int` >= 1"),
        ({"width": 10**9}, "`int` <= 32768"),
        ({"white_level": 0}, "`int` >= 1"),
        ({"roi": region(png_of(200_000, 200_000))}, "region of interest"),
        ({"roi": region(png_of(30_000, 30_000))}, "region of interest"),
        ({"tiles": {"columns": 0, "rows": 0, "size": 64, "step": 32}}, "`int` >= 1"),
        ({"tiles": {"columns": 1, "rows": 1, "size": 64, "step": 0}}, "`int` >= 1"),
        ({"tiles": {"columns": 3, "rows": 3, "size": 64, "step": 32}}, "tiles over 128x128 px"),
        (
            {"tiles": {"columns": 1, "rows": 1, "size": 64, "step": 64}, "roi": region(RIGHT_COLUMN), "fit": "crop"},
            "in none of the tiles",
        ),
    ],
    ids=lambda told: next(iter(told)) if isinstance(told, dict) else "",
)
def test_an_input_that_no_photograph_can_become_is_refused_when_the_bundle_is_opened(
    own_bundle: Path, told: Content, says: str
) -> None:
    edit_manifest(own_bundle, lambda content: content["input"].update(told))

    with pytest.raises(BundleError, match=says):
        open_bundle(own_bundle)


def test_a_picture_of_good_parts_that_has_another_size_than_all_is_refused(own_bundle: Path) -> None:
    ranges = ("brightness", "contrast", "white", "sharpness", "red", "blue", "likeness")
    usual = {**{name: {"low": 0.0, "high": 1.0} for name in ranges}, "picture": [1.0]}
    edit_manifest(own_bundle, lambda content: content.update(usual=usual))

    with pytest.raises(BundleError, match="length >= 1024"):
        open_bundle(own_bundle)


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: None], ids=["empty folder", "file", "nothing"])
def test_what_has_no_manifest_is_no_bundle(tmp_path: Path, make: Callable[[Path], object]) -> None:
    folder = tmp_path / "bundle"
    make(folder)

    with pytest.raises(BundleError, match=r"no readable manifest\.json .* not a bundle, or an export that was cut off"):
        open_bundle(folder)


@pytest.mark.parametrize("name", ["SIGNATURE", "manifest.json"])
def test_a_reserved_name_is_not_sealed(own_bundle: Path, name: str) -> None:
    manifest = open_bundle(own_bundle).manifest
    (own_bundle / MANIFEST).unlink()
    (own_bundle / name).write_text("mine")

    with pytest.raises(BundleError, match=f"{name} is a reserved name"):
        seal(own_bundle, manifest)


def test_sealing_the_same_files_gives_the_same_manifest(tmp_path: Path) -> None:
    first = write_bundle(tmp_path / "first")
    shutil.copytree(tmp_path / "first", tmp_path / "second", ignore=shutil.ignore_patterns(MANIFEST))

    seal(tmp_path / "second", first)

    assert (tmp_path / "second" / MANIFEST).read_bytes() == (tmp_path / "first" / MANIFEST).read_bytes()


def test_a_threshold_changed_by_hand_is_refused(own_bundle: Path) -> None:
    content = json.loads((own_bundle / MANIFEST).read_text())
    content["artifacts"][0]["calibration"]["threshold"] += 1.0
    (own_bundle / MANIFEST).write_text(json.dumps(content))

    with pytest.raises(BundleError, match="has been changed"):
        open_bundle(own_bundle)


def test_another_file_is_another_bundle_id(tmp_path: Path) -> None:
    first = write_bundle(tmp_path / "bundle")
    (tmp_path / "bundle" / MANIFEST).unlink()
    (tmp_path / "bundle" / "artifacts" / "model.onnx").write_bytes(b"another model")

    second = seal(tmp_path / "bundle", first)

    assert second.bundle_id != first.bundle_id


def test_the_first_wished_runtime_that_the_bundle_has_is_taken(small_bundle: Path) -> None:
    bundle = open_bundle(small_bundle)

    assert bundle.artifact_for(["tensorrt", "openvino", "onnxruntime"]).name == "openvino-f32"


def test_a_runtime_the_bundle_has_nothing_for_is_refused_with_what_it_has(small_bundle: Path) -> None:
    bundle = open_bundle(small_bundle)

    with pytest.raises(BundleError, match="no artefact for runtime tensorrt; the bundle has: onnxruntime, openvino"):
        bundle.artifact_for(["tensorrt"])
