"""Weights rounded so that what a convolution gives changes least, and biases that make up for what is left of the mean.

Weights are rounded in turn; those not yet rounded take over the error, by what the convolution is given of views of good parts:
algorithm 1 of Frantar et al., "GPTQ", arXiv 2210.17323, with a convolution as the product that it is. Then its mean answer is
as it was: Nagel et al., "Data-Free Quantization", arXiv 1906.04721, section 4.2. Figures: docs/decisions.md, 28.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper
from torch import Tensor
from torch.nn import functional as F

MOST, MOST_NARROW = 127, 64  # the largest integers of weights of 8 and of 7 bits, as quantize_static has them
_VIEWS = 16
_AT_ONCE = 6  # layers whose inputs of all views are in memory
_PLACES = 1024  # of each view, as many of a small map as there are
_DAMPING = 0.01  # of the mean of the diagonal, as in the paper
_BLOCK = 128  # columns whose errors the rest takes over at once, as in the paper


@dataclass(frozen=True, slots=True)
class _Rounded:
    """integers: the weights as they are stored. offset: what the bias lacks, (channels,)."""

    integers: NDArray[np.int8]
    offset: NDArray[np.float64]


class Rounding:
    """Of the convolutions of a float graph; what was once found for one is kept.

    float_file: the ONNX graph that quantization starts from. views: what it is given, of good parts.
    """

    def __init__(self, float_file: Path, views: Sequence[Mapping[str, NDArray[Any]]]) -> None:
        self._model = onnx.load(float_file)
        self._nodes = {node.name: node for node in self._model.graph.node}
        self._weights = {tensor.name: tensor for tensor in self._model.graph.initializer}
        self._views = views[:: max(1, len(views) // _VIEWS)]
        self._found: dict[tuple[str, int], _Rounded] = {}

    def refine(self, file: Path, chosen: Collection[str], most: int) -> None:
        """Rounds the weights of the chosen convolutions in a Q/DQ file anew, to its own scales. most: MOST or MOST_NARROW."""
        model = onnx.load(file)
        tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        givers = {name: node for node in model.graph.node for name in node.output}
        convolutions = [node for node in model.graph.node if node.op_type == "Conv" and node.name in chosen]
        self._learn([node.name for node in convolutions if (node.name, most) not in self._found])
        for node in convolutions:
            found = self._found[node.name, most]
            _replace(tensors[givers[node.input[1]].input[0]], found.integers)
            if len(node.input) > 2:  # a bias
                bias, unit = (tensors[name] for name in givers[node.input[2]].input[:2])
                lacks = np.rint(found.offset / numpy_helper.to_array(unit))
                _replace(bias, numpy_helper.to_array(bias) + lacks.astype(np.int32))
        onnx.save(model, file)

    def _learn(self, names: Sequence[str]) -> None:
        for start in range(0, len(names), _AT_ONCE):
            nodes = [self._nodes[name] for name in names[start : start + _AT_ONCE]]
            inputs = list(dict.fromkeys(node.input[0] for node in nodes))
            session = _session_of(self._model, inputs)
            seen = [dict(zip(inputs, session.run(None, dict(view)), strict=True)) for view in self._views]
            for node in nodes:
                given = [torch.from_numpy(one[node.input[0]]) for one in seen]
                for most in (MOST, MOST_NARROW):
                    self._found[node.name, most] = _round(node, self._weights[node.input[1]], given, most)


def _round(node: NodeProto, stored: TensorProto, given: Sequence[Tensor], most: int) -> _Rounded:
    """given: what it is given of each view, (1, C, H, W)."""
    weight = torch.from_numpy(numpy_helper.to_array(stored).astype(np.float64))
    groups = _attribute(node, "group", 1)
    moments, mean = _products(node, weight, groups, given)
    rows = weight.reshape(groups, len(weight) // groups, -1)  # (groups, channels of each, columns)
    units = rows.abs().amax(dim=2, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / most  # as quantize_static has them
    integers = rounded(rows, units, moments, most)
    offset = ((rows - integers * units) @ mean[..., None]).reshape(-1)
    return _Rounded(integers.reshape(weight.shape).numpy().astype(np.int8), offset.numpy())


def _products(node: NodeProto, weight: Tensor, groups: int, given: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean products of what the weights are multiplied with, (groups, columns, columns), and its mean (groups, columns)."""
    random, columns = np.random.default_rng(0), weight[0].numel()
    moments, mean, count = torch.zeros(groups, columns, columns), torch.zeros(groups, columns), 0
    for one in given:
        unfolded = _unfolded(one, node, weight)
        places = random.permutation(unfolded.shape[1])[:_PLACES]
        unfolded = unfolded[:, places].reshape(groups, columns, -1)
        moments += unfolded @ unfolded.mT
        mean += unfolded.sum(dim=2)
        count += len(places)
    return moments.double() / count, mean.double() / count


def rounded(rows: Tensor, units: Tensor, moments: Tensor, most: int) -> Tensor:
    """Integers of (groups, channels, columns) weights, at most `most` in size, by GPTQ.

    units: (groups, channels, 1), what one is worth. moments: (groups, columns, columns), the mean products of what the columns
    are multiplied with; the column with most of it comes first, as its error costs most and others can still make up for it.
    """
    level = moments.diagonal(dim1=1, dim2=2).mean(dim=1)
    order = moments.diagonal(dim1=1, dim2=2).argsort(dim=1, descending=True)  # (groups, columns)
    across = order[:, None].expand_as(rows)
    left = rows.gather(2, across)
    ordered = moments.gather(1, order[..., None].expand_as(moments)).gather(2, order[:, None].expand_as(moments))
    damped = ordered + torch.diag_embed((_DAMPING * level + torch.finfo(torch.float64).tiny)[:, None].expand_as(order))
    share = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)
    found = torch.zeros_like(left)
    for start in range(0, left.shape[2], _BLOCK):
        end = min(start + _BLOCK, left.shape[2])
        errors = torch.zeros_like(left[..., start:end])
        for k in range(start, end):
            column = left[..., k : k + 1]
            found[..., k : k + 1] = (column / units).round().clamp(-most, most)
            error = (column - found[..., k : k + 1] * units) / share[:, k : k + 1, k : k + 1]
            left[..., k:end] -= error * share[:, k : k + 1, k:end]
            errors[..., k - start : k - start + 1] = error
        left[..., end:] -= errors @ share[:, start:end, end:]
    return torch.zeros_like(found).scatter(2, across, found)


def _unfolded(given: Tensor, node: NodeProto, weight: Tensor) -> Tensor:
    """(1, C, H, W) to (C * kernel, places): a convolution is a product with these, its groups one below the other."""
    top, left, bottom, right = _attribute(node, "pads", [0, 0, 0, 0])
    padded = F.pad(given, (left, right, top, bottom))
    kernel, stride, dilation = weight.shape[2:], _attribute(node, "strides", [1, 1]), _attribute(node, "dilations", [1, 1])
    return F.unfold(padded, tuple(kernel), dilation=tuple(dilation), stride=tuple(stride))[0]


def _attribute(node: NodeProto, name: str, otherwise: Any) -> Any:
    return next((onnx.helper.get_attribute_value(one) for one in node.attribute if one.name == name), otherwise)


def _session_of(model: ModelProto, tensors: Sequence[str]) -> onnxruntime.InferenceSession:
    """Gives these tensors of the graph and no other."""
    cut = ModelProto()
    cut.CopyFrom(model)
    del cut.graph.output[:]
    cut.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in tensors)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(cut.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _replace(tensor: TensorProto, values: NDArray[Any]) -> None:
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
