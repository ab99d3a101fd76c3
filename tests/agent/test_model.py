"""A model proves itself on its own golden images before it judges a part."""

import math
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_bundle import edit_manifest, photograph, raw_score

from agent.bundle import Bundle, BundleError, open_bundle
from agent.drivers import section
from agent.model import open_model, self_test
from agent.preprocess import RefusedImageError
from agent.shrink import Helpers

both = pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])


def edit_artifact(folder: Path, edit: Callable[[dict[str, Any]], object]) -> Bundle:
    """The bundle with its first artefact's entry in the manifest changed."""
    edit_manifest(folder, lambda content: edit(content["artifacts"][0]))
    return open_bundle(folder)


@both
def test_a_model_gives_score_and_p_value_of_its_own_table(small_bundle: Path, runtime: str) -> None:
    bundle = open_bundle(small_bundle)
    artifact = bundle.artifact_for([runtime])
    image = photograph(np.random.default_rng(8), defect=True)
    with open_model(bundle, artifact, section("agent.runtimes", {"type": runtime})) as model:
        prediction = model.predict(image)

    assert prediction.raw == pytest.approx(raw_score(image), abs=1e-5)
    assert prediction.score == artifact.calibration.score(prediction.raw)
    assert prediction.score > 1
    assert prediction.p_value == pytest.approx(1 / 61)


@both
def test_the_golden_images_score_as_at_export(small_bundle: Path, runtime: str) -> None:
    bundle = open_bundle(small_bundle)
    artifact = bundle.artifact_for([runtime])
    with open_model(bundle, artifact, section("agent.runtimes", {"type": runtime})) as model:
        checks = self_test(bundle, artifact, model)

    assert [check.file for check in checks] == ["reference/golden_0.png", "reference/golden_1.png"]
    assert max(check.deviation for check in checks) <= artifact.parity.tolerance


def test_a_bundle_that_is_away_when_a_station_tests_itself_is_told_in_words(own_bundle: Path) -> None:
    bundle = open_bundle(own_bundle)
    artifact = bundle.artifact_for(["onnxruntime"])
    with open_model(bundle, artifact, section("agent.runtimes", {"type": "onnxruntime"})) as model:
        shutil.rmtree(own_bundle)  # a share that went away

        with pytest.raises(BundleError, match=r"golden_0\.png: a golden image that cannot be judged: .* cannot be read"):
            self_test(bundle, artifact, model)


@pytest.mark.parametrize("golden", [0, 1])
@pytest.mark.parametrize("change", [0.01, -0.01, 1e6])
def test_a_golden_image_that_scores_otherwise_than_at_export_is_refused(own_bundle: Path, golden: int, change: float) -> None:
    expected = open_bundle(own_bundle).manifest.artifacts[0].golden_raw[golden]
    bundle = edit_artifact(own_bundle, lambda artifact: artifact["golden_raw"].__setitem__(golden, expected + change))
    artifact = bundle.artifact_for(["onnxruntime"])

    with (
        pytest.raises(BundleError, match=rf"golden_{golden}\.png: onnx-f32 gives raw score .* do not run this bundle here"),
        open_model(bundle, artifact, section("agent.runtimes", {"type": "onnxruntime"})),
    ):
        pass


@pytest.mark.parametrize("change", [0.2, -0.2], ids=["stranger", "less strange"])
def test_m4_a_device_that_judges_otherwise_is_refused_however_far_the_artefact_is_from_the_trained_model(
    own_bundle: Path, change: float
) -> None:
    def found_far_from_float_at_export(artifact: dict[str, Any]) -> None:
        artifact["parity"]["tolerance"] = 0.7
        artifact["golden_raw"][0] += change * table.scale

    table = open_bundle(own_bundle).manifest.artifacts[0].calibration
    bundle = edit_artifact(own_bundle, found_far_from_float_at_export)

    with (
        pytest.raises(BundleError, match=r"deviation 0\.\d+ of its distance from the threshold, at most 0\.1 allowed"),
        open_model(bundle, bundle.artifact_for(["onnxruntime"]), section("agent.runtimes", {"type": "onnxruntime"})),
    ):
        pass


@pytest.mark.parametrize(
    ("change", "advice"),
    [(0.05, "make a threshold here with kensa calibrate"), (0.2, "run another of its artefacts")],
    ids=["near enough", "too far"],
)
def test_kensa_calibrate_is_advised_only_where_it_makes_a_threshold(own_bundle: Path, change: float, advice: str) -> None:
    table = open_bundle(own_bundle).manifest.artifacts[0].calibration
    other = open_bundle(own_bundle).manifest.artifacts[0].golden_raw[0] + change * table.scale
    bundle = edit_artifact(own_bundle, lambda artifact: artifact["golden_raw"].__setitem__(0, other))

    with (
        pytest.raises(BundleError, match=f"{advice}.*, or do not run this bundle here"),
        open_model(bundle, bundle.artifact_for(["onnxruntime"]), section("agent.runtimes", {"type": "onnxruntime"})),
    ):
        pass


def test_a_deviation_that_is_no_number_is_refused(own_bundle: Path) -> None:
    bundle = edit_artifact(own_bundle, lambda artifact: None)
    artifact = bundle.artifact_for(["onnxruntime"])
    with open_model(bundle, artifact, section("agent.runtimes", {"type": "onnxruntime"})) as model:
        broken = type(model)(model.contract, GivesNothing(), model.calibration)

        with pytest.raises(BundleError, match="gives raw score nan"):
            self_test(bundle, artifact, broken)


def test_an_image_outside_the_contract_is_refused(small_bundle: Path) -> None:
    bundle = open_bundle(small_bundle)
    artifact = bundle.artifact_for(["onnxruntime"])
    with (
        open_model(bundle, artifact, section("agent.runtimes", {"type": "onnxruntime"})) as model,
        pytest.raises(RefusedImageError, match="image is 20x20 px"),
    ):
        model.predict(np.zeros((20, 20, 3), dtype=np.uint8))


class GivesNothing:
    """A runtime whose arithmetic has broken down."""

    executed_precision = "f32"

    def infer(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        return math.nan, np.zeros((8, 8), dtype=np.float32)


def test_a_model_that_is_closed_leaves_no_thread_that_shrinks(small_bundle: Path) -> None:
    bundle = open_bundle(small_bundle)
    with open_model(bundle, bundle.artifact_for(["onnxruntime"]), section("agent.runtimes", {"type": "onnxruntime"})) as model:
        open_with = model.shrink

    assert isinstance(open_with, Helpers)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("shrink")]
