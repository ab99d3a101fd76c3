"""OpenVINO. The precision hint is pinned to f32: left alone, it computes f32 models in bf16 where the CPU can."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from agent.inspection import AnomalyMap, Depth, Image
from agent.runtimes import InferenceError


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """device: an OpenVINO device name. threads: 0 leaves the number to the runtime."""

    device: str = "CPU"
    threads: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0

    @contextmanager
    def open(self, file: Path) -> Iterator["OpenVino"]:
        try:
            import openvino
        except ImportError as e:
            raise InferenceError(f"{file}: package openvino is not installed: {e}") from e
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if self.threads:
            settings["INFERENCE_NUM_THREADS"] = self.threads
        try:
            compiled = openvino.Core().compile_model(str(file), self.device, settings)
        except RuntimeError as e:
            raise InferenceError(f"{file}: cannot be opened by openvino on {self.device}: {e}") from e
        yield OpenVino(compiled, file)


class OpenVino:
    """A compiled model with one request, for one thread."""

    def __init__(self, compiled: Any, file: Path) -> None:
        self._compiled = compiled
        self._file = file
        self._request = compiled.create_infer_request()
        self._outputs = [compiled.output("score"), compiled.output("anomaly_map")]

    @property
    def executed_precision(self) -> str:
        """The lowest floating-point precision any node was compiled to (OpenVINO's `runtimePrecision`)."""
        ranks = ("i8", "u8", "bf16", "f16", "f32")
        used = {
            str(node.get_rt_info()["runtimePrecision"].astype(str))
            for node in self._compiled.get_runtime_model().get_ops()
            if "runtimePrecision" in node.get_rt_info()
        }
        floats = [p for p in ranks[2:] if p in used]
        return floats[0] if floats else "none"

    def infer(self, image: Image, depth: Depth | None = None) -> tuple[float, AnomalyMap]:
        inputs = {"image": image[np.newaxis]} if depth is None else {"image": image[np.newaxis], "depth": depth[np.newaxis]}
        try:
            results = self._request.infer(inputs, share_inputs=True)
        except RuntimeError as e:
            raise InferenceError(f"{self._file}: {e}") from e
        return float(results[self._outputs[0]][0]), results[self._outputs[1]][0].copy()
