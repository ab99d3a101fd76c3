"""Models and runtimes that break in one way: a graph that never ends for some images, an accelerator that goes away."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from small_bundle import write_bundle

from agent.bundle import MANIFEST, open_bundle, seal
from agent.runtimes import InferenceError, Runtime, onnxruntime

HANGS_AT = 255  # a pixel as bright as this in an image


def write_hanging_bundle(folder: Path, hangs_at: int = HANGS_AT, openvino_too: bool = False) -> None:
    """The small bundle, whose ONNX graph counts to 2^40 before it gives the score of an image with a pixel of hangs_at."""
    write_bundle(folder, openvino_too)
    manifest = open_bundle(folder).manifest
    model = onnx.load(folder / "artifacts" / "model.onnx")
    (producer,) = (node for node in model.graph.node if "score" in node.output)
    producer.output[list(producer.output).index("score")] = "score_at_once"
    body = helper.make_graph(
        [helper.make_node("Identity", ["go_on"], ["still"]), helper.make_node("Add", ["n", "one"], ["next"])],
        "count",
        [
            helper.make_tensor_value_info("k", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("n", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [1]),
        ],
    )
    constants: dict[str, Any] = {
        "one": np.ones(1, np.float32),
        "zero": np.zeros(1, np.float32),
        "brightest": np.float32(hangs_at - 0.5),
        "very_many": np.int64(1 << 40),
        "yes": np.bool_(True),
    }
    model.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    model.graph.node.extend(
        [
            helper.make_node("Cast", ["image"], ["as_floats"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMax", ["as_floats"], ["peak"], keepdims=0),
            helper.make_node("Greater", ["peak", "brightest"], ["hangs"]),
            helper.make_node("Cast", ["hangs"], ["hangs_int"], to=TensorProto.INT64),
            helper.make_node("Mul", ["hangs_int", "very_many"], ["times"]),
            helper.make_node("Loop", ["times", "yes", "zero"], ["counted"], body=body),
            helper.make_node("Mul", ["counted", "zero"], ["nothing"]),
            helper.make_node("Add", ["score_at_once", "nothing"], ["score"]),
        ]
    )
    onnx.save_model(model, folder / "artifacts" / "model.onnx")
    (folder / MANIFEST).unlink()
    seal(folder, manifest)


@dataclass(eq=False)
class Accelerator:
    """A runtime section for an accelerator that the test takes away; what it computes is ONNX Runtime's.

    place: where it says that it computes. lost: numbers of sessions that are lost, from 1; gone: none can be opened any more.
    wrong: numbers of sessions that compute something else.
    failures: of the next inferences, whatever their session.
    """

    place: str = "cpu"
    cpu_instead: bool = False
    gone: bool = False
    failures: int = 0
    lost: set[int] = field(default_factory=set)
    wrong: set[int] = field(default_factory=set)
    sessions: int = 0

    @contextmanager
    def open(self, file: Path, cache: Path | None = None) -> Iterator[Runtime]:
        if self.gone:
            raise InferenceError(f"{file}: the accelerator is gone")
        self.sessions += 1
        with onnxruntime.Config(threads=1).open(file) as opened:
            yield Session(self, self.sessions, opened)

    def on_cpu(self) -> onnxruntime.Config | None:
        return onnxruntime.Config(threads=1) if self.cpu_instead else None


@dataclass(eq=False)
class Session:
    """One session of the accelerator."""

    accelerator: Accelerator
    number: int
    real: Runtime
    executed_precision: str = "f32"

    @property
    def executed_on(self) -> str:
        return self.accelerator.place

    def infer(self, image: np.ndarray, depth: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        self.accelerator.failures -= 1
        if self.accelerator.gone or self.number in self.accelerator.lost or self.accelerator.failures >= 0:
            raise InferenceError("device lost")
        raw, anomaly_map = self.real.infer(image)
        return raw + (self.number in self.accelerator.wrong), anomaly_map
