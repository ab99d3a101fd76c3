from pathlib import Path

import openvino
import pytest

from agent.bundle import BundleError
from export.to_openvino import to_openvino


def test_weights_stay_in_float32(bundle_folder: Path) -> None:
    model = openvino.Core().read_model(bundle_folder / "artifacts" / "model.xml")

    kinds = {str(node.get_element_type()) for node in model.get_ops() if node.get_type_name() == "Constant"}

    assert not {kind for kind in kinds if "f16" in kind}


def test_the_compiled_model_computes_in_float32(bundle_folder: Path) -> None:
    from agent.drivers import section

    with section("agent.runtimes", {"type": "openvino"}).open(bundle_folder / "artifacts" / "model.xml") as opened:
        precision = opened.executed_precision

    assert precision == "f32"


def test_a_place_that_cannot_be_written_is_named(bundle_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.xml").mkdir()

    with pytest.raises(BundleError, match=r"model\.xml: cannot be written"):
        to_openvino(bundle_folder / "artifacts" / "model.onnx", tmp_path / "model.xml")
