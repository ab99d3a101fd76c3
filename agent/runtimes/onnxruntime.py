"""ONNX Runtime on the CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from agent.inspection import AnomalyMap, Depth, Image
from agent.runtimes import InferenceError


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """threads: 0 leaves the number to the runtime."""

    threads: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0

    @contextmanager
    def open(self, file: Path) -> Iterator["OnnxRuntime"]:
        try:
            import onnxruntime
        except ImportError as e:
            raise InferenceError(f"{file}: package onnxruntime is not installed: {e}") from e
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as e:
            raise InferenceError(f"{file}: cannot be opened by onnxruntime: {e}") from e
        yield OnnxRuntime(session, file)


class OnnxRuntime:
    """A session; float32 graphs are computed in float32 by the CPU provider."""

    def __init__(self, session: Any, file: Path) -> None:
        self._session = session
        self._file = file

    @property
    def executed_precision(self) -> str:
        kinds = {tensor.type for tensor in self._session.get_outputs()}
        return "f32" if kinds == {"tensor(float)"} else ", ".join(sorted(kinds))

    def infer(self, image: Image, depth: Depth | None = None) -> tuple[float, AnomalyMap]:
        inputs = {"image": image[np.newaxis]} if depth is None else {"image": image[np.newaxis], "depth": depth[np.newaxis]}
        try:
            score, anomaly_map = self._session.run(["score", "anomaly_map"], inputs)
        except Exception as e:
            raise InferenceError(f"{self._file}: {e}") from e
        return float(score[0]), anomaly_map[0]
