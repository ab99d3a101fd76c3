"""What may be quantized: the layers of an exported graph, outside of the method's float islands, and what they cost."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, shape_inference

WEIGHTED = ("Conv", "Gemm", "MatMul")
AVERAGE = "AveragePool"
_METHOD = "method."  # where training/graph.py keeps it
_HARMLESS = frozenset({"Add", AVERAGE, "Clip", "Concat", "HardSwish", "MaxPool", "Relu", "Resize"})


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution or a matrix product with trained weights. node: its name in the graph. module: its path in the method.

    macs: multiplications per image.
    """

    node: str
    module: str
    macs: int

    @property
    def block(self) -> str:
        """The module it is widened with: to the first number in its path, or what the path says the layer is a chunk of.

        >>> [Layer("", f"backbone.network.{path}", 1).block for path in ("conv1", "layer1.0.conv2")]
        ['backbone.network.conv1', 'backbone.network.layer1.0']
        >>> Layer("", "search.chunks.7", 1).block
        'search'
        """
        words = self.module.split(".chunks.")[0].split(".")
        number = next((k for k, word in enumerate(words) if word.isdigit()), len(words))
        return ".".join(words[: number + 1])


def layers(model: ModelProto) -> list[Layer]:
    """All of them, in the order of the graph. The exporter keeps the name of the weight that a node was traced with."""
    weights = {tensor.name for tensor in model.graph.initializer}
    found = []
    for node, macs in products(model):
        name = node.input[1]
        if name in weights and name.startswith(_METHOD) and name.endswith(".weight"):
            found.append(Layer(node.name, name.removeprefix(_METHOD).removesuffix(".weight"), macs))
    return found


def outside(found: Iterable[Layer], islands: Sequence[str]) -> list[Layer]:
    """Those in none of the modules named.

    >>> outside([Layer("a", "flows.0.steps", 1), Layer("b", "flowers.0", 1)], ["flows"])
    [Layer(node='b', module='flowers.0', macs=1)]
    """
    return [layer for layer in found if not any(f"{layer.module}.".startswith(f"{island}.") for island in islands)]


def all_macs(model: ModelProto) -> int:
    """Multiplications per image of every convolution and matrix product, with trained weights or without."""
    return sum(macs for _, macs in products(model))


def between(model: ModelProto, givers: Iterable[Layer], takers: Iterable[Layer]) -> list[str]:
    """Names of the nodes, such as activations and poolings, through which the output of a giver reaches a taker."""
    nodes = list(model.graph.node)
    after = _reached(nodes, {layer.node for layer in givers})
    before = _reached([_turned(node) for node in reversed(nodes)], {layer.node for layer in takers})
    return [node.name for node in nodes if node.op_type in _HARMLESS and node.name in after and node.name in before]


def is_averaged(model: ModelProto, chosen: Sequence[Layer]) -> bool:
    """Whether what one of the chosen layers gives another is averaged over places between them."""
    among = set(between(model, chosen, chosen))
    return any(node.op_type == AVERAGE and node.name in among for node in model.graph.node)


def maxima(model: ModelProto, chosen: Iterable[Layer]) -> list[str]:
    """Names of the nodes that add a constant to what a chosen layer gives, as its bias, and take the largest of it, which is as
    exact in low precision."""
    given = {layer.node for layer in chosen}
    tensors = {tensor for node in model.graph.node if node.name in given for tensor in node.output}
    constants = {tensor.name for tensor in model.graph.initializer}
    found: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type == "Add" and node.input[0] in tensors and node.input[1] in constants:
            found[node.output[0]] = node.name
    ends = [node for node in model.graph.node if node.op_type == "ReduceMax" and node.input[0] in tensors | found.keys()]
    return [node.name for node in ends] + [found[node.input[0]] for node in ends if node.input[0] in found]


def _reached(nodes: Sequence[NodeProto], start: set[str]) -> set[str]:
    """Names of the nodes that take what comes from the start nodes, without passing another start node or a stranger."""
    tensors: set[str] = set()
    found = set()
    for node in nodes:
        if node.name in start:
            tensors |= set(node.output)
        elif tensors & set(node.input) and node.op_type in _HARMLESS:
            tensors |= set(node.output)
            found.add(node.name)
    return found


def _turned(node: NodeProto) -> NodeProto:
    return onnx.helper.make_node(node.op_type, inputs=list(node.output), outputs=list(node.input), name=node.name)


def products(model: ModelProto) -> list[tuple[NodeProto, int]]:
    """Every convolution and matrix product with its multiplications per image."""
    inferred = shape_inference.infer_shapes(model)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for value in [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]:
        shapes[value.name] = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
    return [(node, _macs(node, shapes)) for node in model.graph.node if node.op_type in WEIGHTED]


def _macs(node: NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    output = int(np.prod(shapes[node.output[0]]))
    first, second = shapes[node.input[0]], shapes[node.input[1]]
    if node.op_type == "Conv":
        return output * int(np.prod(second[1:]))
    transposed = node.op_type == "Gemm" and any(a.name == "transA" and a.i for a in node.attribute)
    return output * (first[0] if transposed else first[-1])
