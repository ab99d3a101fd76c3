"""ONNX Runtime: on the CPU, or through an execution provider for an accelerator.

Asked for a provider that cannot be used, ONNX Runtime goes on with the CPU and says so in its log only. Here that is an error:
after opening, the session is asked which providers it has, and no node may move to the CPU.
CUDA, TensorRT and OpenVINO providers are written from their documentation and have not been run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from agent.inspection import AnomalyMap, Depth, Image
from agent.model_files.model_file import safe_onnx
from agent.runtimes import CPU, InferenceError

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
_NO_FALLBACK = "session.disable_cpu_ep_fallback"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """threads: 0 leaves the number to the runtime. device: of OpenVINO's provider, or the number of the GPU.

    cpu_instead: whether the station may go on with the CPU, and say so, where the provider is not there or is lost.
    """

    threads: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0
    provider: Literal["cpu", "cuda", "tensorrt", "openvino"] = "cpu"
    device: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9.:,]*$", max_length=64)] = ""
    cpu_instead: bool = False

    @contextmanager
    def open(self, file: Path, cache: Path | None = None) -> Iterator["OnnxRuntime"]:
        model = safe_onnx(file)
        try:
            import onnxruntime
        except ImportError as e:
            raise InferenceError(f"{file}: package onnxruntime is not installed: {e}") from e
        wanted = _PROVIDERS[self.provider]
        if wanted not in onnxruntime.get_available_providers():
            raise InferenceError(
                f"{file}: cannot be opened by onnxruntime with provider {self.provider}: this build has "
                f"{', '.join(onnxruntime.get_available_providers())}; install the package that brings it"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        options.add_session_config_entry("session.load_model_format", "ONNX")
        if self.provider != "cpu":
            options.add_session_config_entry(_NO_FALLBACK, "1")
        try:
            session = onnxruntime.InferenceSession(model, options, providers=[(wanted, self._settings(cache))])
        except Exception as e:
            raise InferenceError(f"{file}: cannot be opened by onnxruntime: {e}") from e
        session.disable_fallback()  # after an error it would go on with the CPU by itself
        if session.get_providers()[0] != wanted:
            raise InferenceError(
                f"{file}: onnxruntime was asked for {wanted} and silently took {session.get_providers()[0]}: "
                "look after the driver of the accelerator"
            )
        yield OnnxRuntime(session, file, self._place())

    def on_cpu(self) -> "Config | None":
        return Config(threads=self.threads) if self.cpu_instead and self.provider != "cpu" else None

    def _place(self) -> str:
        return CPU if self.provider == "cpu" else f"{self.provider} {self.device}".strip().lower()

    def _settings(self, cache: Path | None) -> dict[str, str]:
        """The provider's options, precision pinned where it may choose."""
        match self.provider:
            case "cuda":
                return {"device_id": self.device or "0", "use_tf32": "0"}
            case "tensorrt":
                kept = {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(cache)} if cache else {}
                return {"device_id": self.device or "0", "trt_fp16_enable": "0", **kept}
            case "openvino":
                kept = {"cache_dir": str(cache)} if cache else {}
                return {"device_type": self.device or "CPU", "precision": "FP32", **kept}
            case _:
                return {}


class OnnxRuntime:
    """A session; float32 graphs are computed in float32 by the CPU provider."""

    def __init__(self, session: Any, file: Path, place: str) -> None:
        self._session = session
        self._file = file
        self._place = place

    @property
    def executed_precision(self) -> str:
        kinds = {tensor.type for tensor in self._session.get_outputs()}
        return "f32" if kinds == {"tensor(float)"} else ", ".join(sorted(kinds))

    @property
    def executed_on(self) -> str:
        return self._place

    def infer(self, image: Image, depth: Depth | None = None) -> tuple[float, AnomalyMap]:
        inputs = {"image": image[np.newaxis]} if depth is None else {"image": image[np.newaxis], "depth": depth[np.newaxis]}
        try:
            score, anomaly_map = self._session.run(["score", "anomaly_map"], inputs)
        except Exception as e:
            raise InferenceError(f"{self._file}: {e}") from e
        return float(score[0]), anomaly_map[0]
