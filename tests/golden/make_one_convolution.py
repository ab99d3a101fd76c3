"""Makes one_convolution.onnx: the smallest graph with the contract of a bundle; its map is local brightness (0..1).

Run it in the workstation's environment (needs onnx): python tests/golden/make_one_convolution.py
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE, STRIDE = 64, 8


def main() -> None:
    weight = np.full((1, 3, STRIDE, STRIDE), 1.0 / (3 * STRIDE * STRIDE * 255), dtype=np.float32)
    nodes = [
        helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["pixels", "weight"], ["local"], strides=[STRIDE, STRIDE]),
        helper.make_node("Squeeze", ["local", "axis"], ["anomaly_map"]),
        helper.make_node("ReduceMax", ["anomaly_map", "axes"], ["score"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "one_convolution",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, SIZE, SIZE, 3])],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("anomaly_map", TensorProto.FLOAT, [1, SIZE // STRIDE, SIZE // STRIDE]),
        ],
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(np.array([1], dtype=np.int64), "axis"),
            numpy_helper.from_array(np.array([1, 2], dtype=np.int64), "axes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, Path(__file__).with_name("one_convolution.onnx"))


if __name__ == "__main__":
    main()
