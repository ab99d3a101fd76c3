"""Both runtimes: the same scores, in the stated precision, from a real bundle."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_bundle import CONTRACT, photograph, raw_score

from agent.bundle import BundleError
from agent.drivers import section
from agent.preprocess import prepare
from agent.runtimes import InferenceError, Runtime

FILES = {"onnxruntime": "artifacts/model.onnx", "openvino": "artifacts/model.xml"}
FLOAT32_SUM = 1e-5  # of a mean of 192 bytes in float32 against float64, with room for another order of summation
both = pytest.mark.parametrize("runtime", FILES)


def opened(runtime: str, folder: Path, threads: int = 1) -> object:
    return section("agent.runtimes", {"type": runtime, "threads": threads}).open(folder / FILES[runtime])


@both
@pytest.mark.parametrize("defect", [False, True], ids=["good", "defect"])
def test_the_raw_score_is_what_the_graph_says(runtime: str, small_bundle: Path, defect: bool) -> None:
    image = photograph(np.random.default_rng(5), defect)
    with opened(runtime, small_bundle) as session:
        raw, anomaly_map = session.infer(image)

    assert raw == pytest.approx(raw_score(image), abs=FLOAT32_SUM)
    assert isinstance(raw, float)
    assert (anomaly_map.shape, anomaly_map.dtype) == ((8, 8), np.float32)
    assert anomaly_map.max() == pytest.approx(raw, abs=FLOAT32_SUM)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_the_runtimes_agree_with_each_other(small_bundle: Path, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with opened("onnxruntime", small_bundle) as onnx, opened("openvino", small_bundle) as openvino:
        raw_onnx, map_onnx = onnx.infer(image)
        raw_openvino, map_openvino = openvino.infer(image)

    assert raw_onnx == pytest.approx(raw_openvino, abs=FLOAT32_SUM)
    assert map_onnx == pytest.approx(map_openvino, abs=FLOAT32_SUM)


@both
@pytest.mark.parametrize("size", [(64, 64), (64, 80), (90, 60)], ids=str)
@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
def test_whatever_comes_out_of_preprocessing_goes_in(runtime: str, small_bundle: Path, size: tuple[int, int], fit: str) -> None:
    image = np.full((*size, 3), 200, dtype=np.uint8)
    image[::2] = 100
    image.flags.writeable = False
    contract = type(CONTRACT)(64, 64, 48, 128, 48, 128, 0.5, 2.0, fit=fit)
    prepared = prepare(image, contract)
    with opened(runtime, small_bundle) as session:
        raw, _ = session.infer(prepared)

    assert raw == pytest.approx(raw_score(prepared), abs=FLOAT32_SUM)


@both
def test_an_earlier_map_is_not_overwritten_by_the_next_image(runtime: str, small_bundle: Path) -> None:
    with opened(runtime, small_bundle) as session:
        _, of_black = session.infer(np.zeros((64, 64, 3), dtype=np.uint8))
        session.infer(np.full((64, 64, 3), 255, dtype=np.uint8))

    assert of_black.max() < 0.01


@both
def test_it_computes_in_float32(runtime: str, small_bundle: Path) -> None:
    with opened(runtime, small_bundle) as session:
        assert precision_of(session) == "f32"


@both
@pytest.mark.parametrize("content", [b"", b"this is no model", None], ids=["empty", "text", "missing"])
def test_a_broken_model_is_an_error_that_names_the_file(runtime: str, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / Path(FILES[runtime]).name
    write(file, content)

    with (
        pytest.raises(BundleError, match=f"{file.name}: (refused before any runtime opened it|cannot be read)"),
        section("agent.runtimes", {"type": runtime}).open(file),
    ):
        pass


def test_a_graph_without_a_score_is_an_error_that_names_the_file(small_bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.xml"
    file.write_text((small_bundle / FILES["openvino"]).read_text().replace('names="score"', 'names="rating"'))
    file.with_suffix(".bin").write_bytes((small_bundle / FILES["openvino"]).with_suffix(".bin").read_bytes())

    with (
        pytest.raises(InferenceError, match=r"(?s)model\.xml: cannot be opened by openvino on CPU: .*'score' is not found"),
        section("agent.runtimes", {"type": "openvino"}).open(file),
    ):
        pass


@both
def test_an_image_of_another_size_is_an_error_that_names_the_file(runtime: str, small_bundle: Path) -> None:
    with opened(runtime, small_bundle) as session, pytest.raises(InferenceError, match=r"model\.(onnx|xml): "):
        session.infer(np.zeros((32, 32, 3), dtype=np.uint8))


@both
def test_after_an_error_the_next_image_is_judged_as_ever(runtime: str, small_bundle: Path) -> None:
    image = photograph(np.random.default_rng(6))
    with opened(runtime, small_bundle) as session:
        with pytest.raises(InferenceError):
            session.infer(np.zeros((32, 32, 3), dtype=np.uint8))

        raw, _ = session.infer(image)

    assert raw == pytest.approx(raw_score(image), abs=FLOAT32_SUM)


@pytest.mark.parametrize("device", ["AUTO", "AUTO:GPU,CPU", "AUTO:NPU"])
def test_m10_auto_stays_where_it_was_found_at_the_start(device: str) -> None:
    config = section("agent.runtimes", {"type": "openvino", "device": device})

    asked = config.settings(cache=None)

    assert (asked["ENABLE_STARTUP_FALLBACK"], asked["ENABLE_RUNTIME_FALLBACK"]) == (False, False)


@pytest.mark.parametrize("device", ["CPU", "GPU.1", "AUTO", "AUTO:GPU,CPU", "AUTO:-NPU", "MULTI:GPU", "HETERO:GPU,CPU"])
def test_the_precision_is_pinned_wherever_it_computes(device: str) -> None:
    config = section("agent.runtimes", {"type": "openvino", "device": device})

    assert config.settings(cache=None)["INFERENCE_PRECISION_HINT"] == "f32"


@pytest.mark.parametrize("device", ["NPU", "NPU.7", "AUTO:NPU", "AUTO:GPU,NPU"])
def test_a_place_that_may_be_an_npu_is_given_no_precision_that_it_cannot_compute_in(device: str) -> None:
    config = section("agent.runtimes", {"type": "openvino", "device": device})

    assert "INFERENCE_PRECISION_HINT" not in config.settings(cache=None)


@pytest.mark.parametrize("device", ["CPU", "AUTO"])
def test_what_openvino_is_asked_for_it_knows(small_bundle: Path, tmp_path: Path, device: str) -> None:
    config = section("agent.runtimes", {"type": "openvino", "device": device, "threads": 1})

    with config.open(small_bundle / FILES["openvino"], tmp_path) as session:
        assert session.executed_on == "cpu"


def test_a_device_that_is_not_there_is_an_error_that_names_it(small_bundle: Path) -> None:
    config = section("agent.runtimes", {"type": "openvino", "device": "NPU.7"})

    with (
        pytest.raises(InferenceError, match=r"model\.xml: cannot be opened by openvino on NPU\.7"),
        config.open(small_bundle / FILES["openvino"]),
    ):
        pass


def precision_of(session: Runtime) -> str:
    return session.executed_precision


def write(file: Path, content: bytes | None) -> None:
    """The file with this content; no file for None."""
    if content is not None:
        file.write_bytes(content)
