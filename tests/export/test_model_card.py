"""What a bundle tells of itself to other tools: model card, bill of materials, ONNX metadata."""

import json
from pathlib import Path

import msgspec
import onnx
import pytest
import yaml

from agent.bundle import Manifest, Withheld, open_bundle
from agent.tiles import Tiles
from export.bom import bill_of
from export.model_card import model_card


@pytest.fixture
def manifest(bundle_folder: Path) -> Manifest:
    return open_bundle(bundle_folder).manifest


def test_the_card_has_front_matter_that_hugging_face_reads_and_each_artefact(bundle_folder: Path, manifest: Manifest) -> None:
    card = (bundle_folder / "README.md").read_text()

    _, front, text = card.split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "kensa"
    assert manifest.provenance.method in yaml.safe_load(front)["tags"]
    assert all(f"| {a.name} | {a.runtime} | {a.precision} | {a.calibration.threshold:.6g} |" in text for a in manifest.artifacts)
    assert manifest.provenance.data_sha256 in text


def test_the_card_says_what_shapes_the_files_have(bundle_folder: Path) -> None:
    graph = onnx.load(bundle_folder / "artifacts" / "model.onnx").graph
    shapes = {value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim) for value in graph.input}

    told = (bundle_folder / "README.md").read_text()

    assert f"`image` {shapes['image']} uint8 RGB. `score` (1,) float32" in told
    assert [value.type.tensor_type.shape.dim[0].dim_value for value in graph.output] == [1, 1]


def test_the_card_says_how_tiles_become_the_score_of_a_part(manifest: Manifest) -> None:
    tiles = Tiles(3, 2, size=128, step=96)
    contract = msgspec.structs.replace(manifest.input, width=tiles.width, height=tiles.height, tiles=tiles)

    card = model_card(msgspec.structs.replace(manifest, input=contract))

    assert "`image` (1, 128, 128, 3) uint8 RGB" in card
    assert "prepared as 320x224 px and cut into 3 x 2 tiles" in card
    assert "A part's score is the largest of its tiles' scores" in card
    assert "tiles" not in model_card(manifest)


def test_a_reason_that_a_runtime_gave_is_no_markup_in_the_card(manifest: Manifest) -> None:
    reason = "could not be made: <node> `x` | [link](y) takes 3 % more"
    lost = msgspec.structs.replace(manifest, withheld=(Withheld("onnx-int8", "onnxruntime", "int8", reason),))

    assert "- `onnx-int8` was made and left out: could not be made:  node   x     link (y) takes 3 % more\n" in model_card(lost)


def test_the_bill_names_weights_photographs_tools_and_each_file_with_its_hash(bundle_folder: Path, manifest: Manifest) -> None:
    bill = json.loads((bundle_folder / "bom.cdx.json").read_text())

    refs = [one["bom-ref"] for one in bill["components"]]
    assert len(refs) == len(set(refs))
    assert {"weights", "photographs", *(a.name for a in manifest.artifacts)} <= set(refs)
    hashed = {file["name"]: file["hashes"][0]["content"] for one in bill["components"] for file in one.get("components", [])}
    assert hashed == {name: manifest.files[name] for a in manifest.artifacts for name in a.files}
    known = {*refs, bill["metadata"]["component"]["bom-ref"]}
    assert {ref for one in bill["dependencies"] for ref in (one["ref"], *one["dependsOn"])} <= known


@pytest.mark.parametrize(
    ("told", "name", "hashes"),
    [
        (f"embedded a.safetensors, file sha256 {'a' * 64}", "embedded a.safetensors", ["a" * 64]),
        ("random, seed 0", "random, seed 0", []),
    ],
)
def test_the_bill_has_the_hash_of_the_file_of_the_weights(manifest: Manifest, told: str, name: str, hashes: list[str]) -> None:
    provenance = msgspec.structs.replace(manifest.provenance, weights=told)

    bill = bill_of(msgspec.structs.replace(manifest, provenance=provenance), manifest.files)

    (weights,) = (one for one in bill["components"] if one["bom-ref"] == "weights")
    assert weights["name"] == name
    assert [one["content"] for one in weights.get("hashes", [])] == hashes  # what a scanner compares with files
    assert weights["properties"] == [{"name": "kensa:tensors_sha256", "value": provenance.weights_sha256}]


def test_both_are_made_from_the_manifest_alone(bundle_folder: Path, manifest: Manifest) -> None:
    assert model_card(manifest) == (bundle_folder / "README.md").read_text()
    assert bill_of(manifest, manifest.files) == json.loads((bundle_folder / "bom.cdx.json").read_text())


def test_both_are_hashed_with_the_rest_of_the_bundle(manifest: Manifest) -> None:
    assert {"README.md", "bom.cdx.json"} <= manifest.files.keys()


def test_the_onnx_file_tells_its_input_and_its_scores(bundle_folder: Path, manifest: Manifest) -> None:
    props = {prop.key: prop.value for prop in onnx.load(bundle_folder / "artifacts" / "model.onnx").metadata_props}

    width, height = manifest.input.graph_size
    assert props["kensa.input"].startswith(f"image (1, {height}, {width}, 3) uint8 RGB")
    assert props["kensa.model_sha256"] == manifest.provenance.model_sha256
    assert "larger is stranger" in props["kensa.score"]
