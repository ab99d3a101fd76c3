"""Files whose layers compute in different precisions: what the files say, and what OpenVINO makes of them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest

from export.executed import of_products, share
from export.layers import Layer, between
from export.mix import Bfloat16, Int8, Mix, bf16_nodes
from export.quantize import Quantizer, inputs_of
from training.methods.patchcore import PatchCore
from training.run import Run

CPU_HAS_BF16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
IN_BF16 = "bf16" if CPU_HAS_BF16 else "f32"


@pytest.fixture(scope="module")
def graph(bundle_folder: Path) -> Path:
    return bundle_folder / "artifacts" / "model.onnx"


@pytest.fixture(scope="module")
def quantizer(graph: Path, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Quantizer:
    return Quantizer(graph, inputs_of(run.calibration_images[:4], None), tmp_path_factory.mktemp("ranges"))


def within(layers: tuple[Layer, ...], module: str) -> tuple[Layer, ...]:
    found = tuple(layer for layer in layers if f"{layer.module}.".startswith(f"backbone.network.{module}."))
    assert found
    return found


def stated(file: Path) -> dict[str, str]:
    """The type of each convolution's result in an IR."""
    ops = openvino.Core().read_model(file).get_ops()
    found = [op for op in ops if op.get_type_name() == "Convolution"]
    return {op.get_friendly_name().split("/")[0]: op.output(0).get_element_type().get_type_name() for op in found}


def test_a_block_beside_int8_is_bfloat16_in_the_file_and_in_the_compiled_model(
    graph: Path, run: Run, quantizer: Quantizer, tmp_path: Path
) -> None:
    kind = Int8(graph, run.deployed.method, tmp_path, quantizer, "openvino")
    beside = within(kind.network, "layer1")
    low = tuple(layer for layer in kind.allowed if layer not in beside)

    file = kind.write(Mix(low, beside))

    executed = of_products(file)
    assert {stated(file)[layer.node] for layer in beside} == {"bf16"}
    assert {stated(file)[layer.node] for layer in low} == {"f32"}  # between the quantizations
    assert {executed[layer.node] for layer in beside} == {IN_BF16}
    assert {executed[layer.node] for layer in low} == {"int8"}
    assert share(graph, file, "openvino", "int8") == pytest.approx(sum(layer.macs for layer in low) / kind.macs)


ASK = """
import sys
from pathlib import Path
import numpy as np
from agent.drivers import section
with section("agent.runtimes", {"type": "openvino"}).open(Path(sys.argv[1])) as opened:
    print(*(opened.infer(np.ascontiguousarray(image))[0] for image in np.load(sys.argv[2])))
"""


def test_narrow_weights_give_the_same_scores_where_two_products_are_added_in_16_bit(
    graph: Path, run: Run, quantizer: Quantizer, tmp_path: Path
) -> None:
    kind = Int8(graph, run.deployed.method, tmp_path, quantizer, "openvino")
    np.save(tmp_path / "images.npy", run.calibration_images[:4])

    file = kind.write(Mix(kind.allowed, narrow=True))

    scores = [
        subprocess.run(
            [sys.executable, "-c", ASK, str(file), str(tmp_path / "images.npy")],
            env={**os.environ, "ONEDNN_MAX_CPU_ISA": isa},  # AVX2: without VNNI
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for isa in ("ALL", "AVX2")
    ]
    weights = [
        onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(tmp_path / "model.int8.onnx").graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and tensor.name.endswith("weight_quantized")
    ]
    assert len(weights) == len(kind.allowed)
    assert max(np.abs(weight.astype(int)).max() for weight in weights) == 64
    assert list(map(float, scores[0])) == pytest.approx(list(map(float, scores[1])), rel=1e-5)  # floats around them


def test_what_is_in_neither_precision_is_in_float32(graph: Path, run: Run, quantizer: Quantizer, tmp_path: Path) -> None:
    kind = Int8(graph, run.deployed.method, tmp_path, quantizer, "openvino")
    left_out = within(kind.network, "layer1")

    file = kind.write(Mix(tuple(layer for layer in kind.allowed if layer not in left_out)))

    executed = of_products(file)
    assert {executed[layer.node] for layer in left_out} == {"f32"}
    assert "bf16" not in executed.values()


@pytest.mark.parametrize(("runtime", "taker"), [("openvino", "Add"), ("onnxruntime", "QuantizeLinear")])
def test_what_leaves_the_layers_is_rounded_only_where_the_runtime_needs_it(
    graph: Path, run: Run, quantizer: Quantizer, tmp_path: Path, runtime: str, taker: str
) -> None:
    kind = Int8(graph, run.deployed.method, tmp_path, quantizer, runtime)

    file = kind.write(Mix(kind.allowed))

    nodes = onnx.load(tmp_path / "model.int8.onnx").graph.node
    (last,) = (node for node in nodes if node.name == kind.network[-1].node)
    assert {node.op_type for node in nodes if last.output[0] in node.input} == {taker}
    assert share(graph, file, runtime, "int8") == pytest.approx(sum(layer.macs for layer in kind.network) / kind.macs)


def test_activations_and_poolings_between_two_blocks_in_bfloat16_are_too(graph: Path, run: Run, tmp_path: Path) -> None:
    kind, model = Bfloat16(graph, run.deployed.method, tmp_path), onnx.load(graph)
    first, rest = within(kind.network, "conv1"), within(kind.network, "layer1")

    alone, both = bf16_nodes(model, first, first), bf16_nodes(model, first, [*first, *rest])

    assert alone == {layer.node for layer in first}
    assert both - alone == set(between(model, first, rest))
    assert {node.op_type for node in model.graph.node if node.name in both - alone} == {"Add", "MaxPool", "Relu"}


def test_scores_with_a_block_in_bfloat16_are_near_those_of_float32(graph: Path, run: Run, tmp_path: Path) -> None:
    kind = Bfloat16(graph, run.deployed.method, tmp_path)
    image = np.ascontiguousarray(run.calibration_images[0])[np.newaxis]
    compiled = [
        openvino.Core().compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        for file in (kind.write(Mix(within(kind.network, "layer2"))), graph)
    ]

    low, exact = (float(model({"image": image})["score"][0]) for model in compiled)

    assert low == pytest.approx(exact, rel=0.05)  # 8 bits of each product's factors; by chance they nearly cancel
    assert low != exact or not CPU_HAS_BF16


@pytest.mark.parametrize(
    ("floats", "bf16s", "expected"),
    [
        ((), (), {"INT8", "bfloat16"}),
        ((), ("backbone.network.layer1",), {"bfloat16", "bfloat16 beside INT8"}),
        (("backbone.network.layer1",), (), set()),
        (("backbone.network.layer1",), ("backbone",), set()),
    ],
    ids=["no island", "not INT8", "float32", "float32 within one that is not INT8"],
)
def test_an_island_says_what_its_layers_may_be(
    graph: Path, run: Run, quantizer: Quantizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    floats: tuple[str, ...], bf16s: tuple[str, ...], expected: set[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(PatchCore, "float_islands", floats)
    monkeypatch.setattr(PatchCore, "bf16_islands", bf16s)

    int8 = Int8(graph, run.deployed.method, tmp_path, quantizer, "openvino")
    bf16 = Bfloat16(graph, run.deployed.method, tmp_path)

    offered = {"INT8": int8.allowed, "bfloat16": bf16.allowed, "bfloat16 beside INT8": int8.spared}
    assert {name for name, layers in offered.items() if set(within(int8.network, "layer1")) <= set(layers)} == expected


def test_narrow_weights_are_tried_first_and_averages_of_bytes_where_there_are_any(
    graph: Path, averaging: Path, run: Run, quantizer: Quantizer, tmp_path: Path
) -> None:
    method = run.deployed.method  # its backbone averages nothing

    tries = {
        (file, runtime): [(mix.narrow, mix.averaged) for mix in kind.quicker(Mix(kind.allowed))]
        for file in (graph, averaging)
        for runtime in ("openvino", "onnxruntime")
        for kind in [Int8(file, method, tmp_path, quantizer, runtime)]
    }

    assert tries == {
        (graph, "openvino"): [(True, False)],
        (averaging, "openvino"): [(True, True), (True, False)],
        (graph, "onnxruntime"): [],
        (averaging, "onnxruntime"): [],
    }
