"""In which precision a compiled artefact really computes, as its runtime says, weighted by the work."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import onnx
import onnxruntime
import openvino

from agent.runtimes.openvino import computed_in
from export.layers import layers, products

_INTEGER = ("QLinearConv", "ConvInteger", "QGemm", "QLinearMatMul", "MatMulInteger")


def share(float_file: Path, file: Path, runtime: str, precision: str) -> float:
    """Of the multiplications of the float ONNX graph that `file` was made from, the share that is computed in a precision."""
    graph = onnx.load(float_file)
    macs = {node.name: count for node, count in products(graph)}
    if runtime == "openvino":
        fused = _fused(graph)
        low = {fused.get(name, name) for name, found in of_products(file).items() if found == precision}
        computed = sum(macs.get(name, 0) for name in low)
    else:
        computed = _integer_macs(graph, file) if precision == "int8" else 0
    return computed / sum(macs.values())


def _fused(graph: onnx.ModelProto) -> Mapping[str, str]:
    """The product whose result a node shifts or scales by a constant: OpenVINO may call both by that node's name."""
    giving = {node.output[0]: node.name for node, _ in products(graph)}
    constants = {tensor.name for tensor in graph.graph.initializer}
    found: dict[str, str] = {}
    for node in graph.graph.node:
        if node.op_type in ("Add", "Sub", "Mul", "Div") and constants & set(node.input):
            for name in giving.keys() & set(node.input):
                found[node.name] = giving[node.output[0]] = giving[name]
    return found


def of_products(file: Path) -> Mapping[str, str]:
    """What OpenVINO computes each convolution and matrix product in, by the name it has in the ONNX graph, or that of what is
    fused with it."""
    compiled = openvino.Core().compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"})
    found = {}
    for node in compiled.get_runtime_model().get_ops():
        info = node.get_rt_info()
        if info["layerType"].astype(str) in ("Convolution", "FullyConnected", "MatMul"):
            for name in info["originalLayersNames"].astype(str).split(","):
                found[name.split("/")[0]] = computed_in(info)
    return found


def _integer_macs(graph: onnx.ModelProto, file: Path) -> int:
    """Of the layers that ONNX Runtime turned into integer ones; they are known by their weights."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        nodes = onnx.load(options.optimized_model_filepath).graph.node
    weights = [name for node in nodes if node.op_type in _INTEGER for name in node.input]
    return sum(layer.macs for layer in layers(graph) if any(f"method.{layer.module}.weight" in name for name in weights))
