"""What a bundle tells of itself to other tools: model card, bill of materials, ONNX metadata."""

import json
from pathlib import Path

import onnx
import pytest
import yaml

from agent.bundle import Manifest, open_bundle
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


def test_the_bill_names_weights_photographs_tools_and_each_file_with_its_hash(bundle_folder: Path, manifest: Manifest) -> None:
    bill = json.loads((bundle_folder / "bom.cdx.json").read_text())

    refs = [one["bom-ref"] for one in bill["components"]]
    assert len(refs) == len(set(refs))
    assert {"weights", "photographs", *(a.name for a in manifest.artifacts)} <= set(refs)
    hashed = {file["name"]: file["hashes"][0]["content"] for one in bill["components"] for file in one.get("components", [])}
    assert hashed == {name: manifest.files[name] for a in manifest.artifacts for name in a.files}
    known = {*refs, bill["metadata"]["component"]["bom-ref"]}
    assert {ref for one in bill["dependencies"] for ref in (one["ref"], *one["dependsOn"])} <= known


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
