"""An OpenVINO graph in an order that its CPU plugin computes faster: the same values, to the last bit."""

from typing import Any

import numpy as np
from openvino import opset13

_FEW = 64  # channels up to which the CPU brings a map from channels last to channels first by a slow loop
_SCALED = ("FakeQuantize", "Convert", "Subtract", "Multiply")  # of rounding: what keeps the order of values if it is one for all


def rearranged(model: Any) -> None:
    """Changes the model."""
    _pool_what_is_rounded(model)
    _flatten_few_channels(model)
    model.validate_nodes_and_infer_types()


def _pool_what_is_rounded(model: Any) -> None:
    """The largest of rounded values is the rounded largest: so rounding is done by the layer in front of a pooling, which then
    writes and compares bytes."""
    for pool in [op for op in model.get_ordered_ops() if op.get_type_name() == "MaxPool"]:
        end = pool
        while (follower := _only_follower(end)) is not None and _keeps_order(follower):
            end = follower
        if end is pool or any(output.get_target_inputs() for output in pool.outputs()[1:]):
            continue
        followers, first = end.output(0).get_target_inputs(), _only_follower(pool)
        assert first is not None
        first.input(0).replace_source_output(pool.input_value(0))
        pool.input(0).replace_source_output(end.output(0))
        for target in followers:
            target.replace_source_output(pool.output(0))


def _only_follower(op: Any) -> Any | None:
    targets = list(op.output(0).get_target_inputs())
    return targets[0].get_node() if len(targets) == 1 and targets[0].get_index() == 0 else None


def _keeps_order(op: Any) -> bool:
    """Whether a larger value never becomes a smaller one, all being treated alike."""
    if op.get_type_name() not in _SCALED:
        return False
    constants = [_constant(op.input_value(k).get_node()) for k in range(1, op.get_input_size())]
    if op.get_type_name() == "Multiply":
        return constants[0] is not None and constants[0] > 0
    return None not in constants


def _constant(op: Any) -> float | None:
    """Of one number, perhaps as another type."""
    if op.get_type_name() == "Convert":
        op = op.input_value(0).get_node()
    return float(op.get_data().item()) if op.get_type_name() == "Constant" and op.get_data().size == 1 else None


def _flatten_few_channels(model: Any) -> None:
    """(1, C, H, W) to (1, C, H*W): where convolutions have channels last, few of them are brought first by transposing places
    and channels, which is quicker than what the plugin would do."""
    for op in model.get_ordered_ops():
        if op.get_type_name() != "Reshape" or not _flattens_few_channels(op):
            continue
        _, channels, places = op.output(0).get_shape()
        last = opset13.transpose(op.input_value(0), np.array([0, 2, 3, 1]))
        flat = opset13.reshape(last, np.array([1, places, channels]), special_zero=False)
        rows = opset13.transpose(flat, np.array([0, 2, 1]))
        for target in op.output(0).get_target_inputs():
            target.replace_source_output(rows.output(0))


def _flattens_few_channels(op: Any) -> bool:
    given, wanted = op.get_input_partial_shape(0), op.get_output_partial_shape(0)
    if not (given.is_static and wanted.is_static and len(given) == 4 and len(wanted) == 3):
        return False
    batch, channels, height, width = op.input(0).get_shape()
    return (batch, channels, height * width) == tuple(op.output(0).get_shape()) and batch == 1 and channels <= _FEW
