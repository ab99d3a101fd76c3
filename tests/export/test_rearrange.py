"""What is rearranged for OpenVINO: the same numbers to the last bit, in an order that its CPU plugin computes faster."""

from collections.abc import Callable
from typing import Any

import numpy as np
import openvino
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from openvino import opset13

from export.rearrange import rearranged

CHANNELS = 6


def images(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0.0, 2.0, shape).astype(np.float32)


def compiled(model: Any) -> Any:
    return openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def computed(model: Any, image: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(compiled(model)({0: image})[0])


def kinds(model: Any) -> list[str]:
    """Of what computes, in its order."""
    return [op.get_type_name() for op in model.get_ordered_ops() if op.get_type_name() not in ("Constant", "Parameter", "Result")]


def rounded(source: Any, scale: float, zero_point: int, low: Any = 0.0) -> Any:
    """As a Q/DQ pair of ONNX becomes."""
    least, most = np.float32(-zero_point * scale), np.float32((255 - zero_point) * scale)
    found = opset13.fake_quantize(source, least + np.float32(low), most, np.float32(0), np.float32(255), 256)
    whole = opset13.convert(opset13.convert(found, "u8"), "f32")
    point = opset13.convert(opset13.constant(np.uint8(zero_point)), "f32")
    return opset13.multiply(opset13.subtract(whole, point), opset13.constant(np.float32(scale)))


def pooled(source: Any, padding: int = 1) -> Any:
    return opset13.max_pool(source, [2, 2], [1, 1], [padding, padding], [padding, padding], [3, 3]).output(0)


def convolved(source: Any, seed: int = 0) -> Any:
    """With weights that are rounded, as an INT8 layer's are."""
    whole = np.random.default_rng(seed).integers(-127, 128, (CHANNELS, CHANNELS, 3, 3)).astype(np.int8)
    weight = opset13.multiply(opset13.convert(opset13.constant(whole), "f32"), opset13.constant(np.float32(0.01)))
    return opset13.convolution(source, weight, [1, 1], [1, 1], [1, 1], [1, 1])


def graph(shape: tuple[int, ...], build: Callable[[Any], Any]) -> Any:
    image = opset13.parameter(shape, np.float32, name="image")
    return openvino.Model([opset13.result(build(image))], [image], "graph")


def stem(height: int, width: int, scale: float, zero_point: int) -> Any:
    """A network's first layers: rounded, convolved, pooled, rounded for the next convolution."""

    def build(image: Any) -> Any:
        first = opset13.relu(convolved(rounded(image, 0.05, 128)))
        return convolved(rounded(pooled(first), scale, zero_point), seed=1)

    return graph((1, CHANNELS, height, width), build)


@settings(max_examples=15, deadline=None)  # each compiles two models
@given(
    st.integers(3, 17), st.integers(3, 17), st.floats(1e-3, 0.1), st.integers(0, 255), st.integers(0, 1000)
)  # odd and even; ranges that cut off; any zero point
def test_rounding_in_front_of_a_pooling_gives_the_same_bits(
    height: int, width: int, scale: float, zero_point: int, seed: int
) -> None:
    model, image = stem(height, width, scale, zero_point), images(seed, 1, CHANNELS, height, width)
    expected = computed(model.clone(), image)

    rearranged(model)

    order = kinds(model)
    assert max(k for k, kind in enumerate(order) if kind == "FakeQuantize") < order.index("MaxPool")
    np.testing.assert_array_equal(computed(model, image), expected)


def test_a_pooling_of_rounded_values_compares_bytes() -> None:
    before = stem(16, 16, 0.05, 0)
    after = before.clone()

    rearranged(after)

    read = [
        [op.get_rt_info()["runtimePrecision"].astype(str) for op in compiled(model).get_runtime_model().get_ops()
         if op.get_rt_info()["layerType"].astype(str) == "Pooling"]
        for model in (before, after)
    ]  # fmt: skip
    assert read == [["f32"], ["u8"]]


@pytest.mark.parametrize(
    "build",
    [
        lambda image: opset13.add(rounded(largest := pooled(image), 0.05, 0), largest),
        lambda image: opset13.add(rounded(largest := pooled(image), 0.05, 0), rounded(largest, 0.02, 9)),
        lambda image: opset13.multiply(pooled(image), opset13.constant(np.float32(-2.0))),
        lambda image: rounded(pooled(image), 0.05, 0, low=np.linspace(0, 1, CHANNELS, dtype=np.float32)[:, None, None]),
        lambda image: opset13.subtract(opset13.constant(np.float32(1.0)), pooled(image)),
        lambda image: opset13.sigmoid(pooled(image)),
    ],
    ids=[
        "pooled values wanted as they are",
        "rounded in two ways",
        "turned over",
        "each channel rounded its way",
        "subtracted from",
        "no rounding",
    ],
)
def test_what_is_not_one_rounding_for_all_stays_behind_the_pooling(build: Callable[[Any], Any]) -> None:
    model, image = graph((1, CHANNELS, 9, 8), build), images(1, 1, CHANNELS, 9, 8)
    expected, order = computed(model.clone(), image), kinds(model)

    rearranged(model)

    assert kinds(model) == order
    np.testing.assert_array_equal(computed(model, image), expected)


def test_one_rounded_map_for_two_is_moved_once() -> None:
    def build(image: Any) -> Any:
        whole = rounded(pooled(convolved(image)), 0.05, 3)
        return opset13.add(convolved(whole, seed=1), whole)

    model, image = graph((1, CHANNELS, 11, 10), build), images(2, 1, CHANNELS, 11, 10)
    expected = computed(model.clone(), image)

    rearranged(model)

    order = kinds(model)
    assert order.index("FakeQuantize") < order.index("MaxPool") < order.index("Add")
    np.testing.assert_array_equal(computed(model, image), expected)


@pytest.mark.parametrize(("channels", "transposed"), [(64, 2), (65, 0)], ids=["few", "many"])
def test_few_channels_are_brought_first_by_transposing(channels: int, transposed: int) -> None:
    model = graph((1, channels, 5, 7), lambda image: opset13.reshape(image, np.array([1, channels, 35]), special_zero=False))
    image = images(3, 1, channels, 5, 7)

    rearranged(model)

    assert kinds(model).count("Transpose") == transposed
    np.testing.assert_array_equal(computed(model, image), image.reshape(1, channels, 35))


@pytest.mark.parametrize("shape", [(1, 12, 28), (1, 336)], ids=["channels together", "all together"])
def test_another_reshaping_stays_as_it_is(shape: tuple[int, ...]) -> None:
    model = graph((1, 48, 1, 7), lambda image: opset13.reshape(image, np.array(shape), special_zero=False))

    rearranged(model)

    assert kinds(model) == ["Reshape"]
