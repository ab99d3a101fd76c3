"""OpenVINO. The precision hint is pinned to f32: left alone, it computes f32 models in bf16 where the CPU can.

AUTO may choose the CPU where an accelerator was hoped for; the compiled model is asked where it runs, and the CPU in place of
another device that was named is an error. Nor may it move later: a threshold belongs to the place that it was asked for at the
start. Devices other than CPU (and AUTO on it) have not been run.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from agent.inspection import AnomalyMap, Depth, Image
from agent.model_files.model_file import refuse_unsafe_model
from agent.runtimes import CPU, InferenceError

_PRECISIONS = {"I8": "int8", "i8": "int8", "u8": "int8", "bf16": "bf16", "f16": "f16", "f32": "f32"}


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """device: an OpenVINO device name, such as CPU, GPU, NPU, AUTO:GPU,CPU. threads: 0 leaves the number to the runtime.

    cpu_instead: whether the station may go on with the CPU, and say so, where the device is not there or is lost.
    """

    device: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9.:,()_-]+$", max_length=64)] = "CPU"
    threads: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0
    cpu_instead: bool = False

    @contextmanager
    def open(self, file: Path, cache: Path | None = None) -> Iterator["OpenVino"]:
        refuse_unsafe_model(file)
        try:
            import openvino
        except ImportError as e:
            raise InferenceError(f"{file}: package openvino is not installed: {e}") from e
        try:
            compiled = openvino.Core().compile_model(str(file), self.device, self.settings(cache))
            places = sorted({str(name) for name in compiled.get_property("EXECUTION_DEVICES")})
            opened = OpenVino(compiled, file, places)
        except RuntimeError as e:
            raise InferenceError(f"{file}: cannot be opened by openvino on {self.device}: {e}") from e
        if not self._may_be_cpu and any(place.strip("()").startswith("CPU") for place in places):
            raise InferenceError(
                f"{file}: openvino was asked for {self.device} and silently took {', '.join(places)}: "
                "look after the driver of the accelerator"
            )
        yield opened

    def on_cpu(self) -> "Config | None":
        return Config(threads=self.threads) if self.cpu_instead and self.device != "CPU" else None

    def settings(self, cache: Path | None) -> dict[str, Any]:
        """OpenVINO's properties for this section."""
        chosen: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if not any(name.startswith("NPU") for name in re.split("[:,]", self.device)):  # it computes in f16, takes no such hint
            chosen["INFERENCE_PRECISION_HINT"] = "f32"
        if self.threads and self._may_be_cpu:
            chosen["INFERENCE_NUM_THREADS"] = self.threads
        if cache is not None and self.device != "CPU":
            chosen["CACHE_DIR"] = str(cache)
        if self.device.startswith("AUTO"):  # else: on the CPU until the accelerator is ready, and after an error
            chosen |= {"ENABLE_STARTUP_FALLBACK": False, "ENABLE_RUNTIME_FALLBACK": False}
        return chosen

    @property
    def _may_be_cpu(self) -> bool:
        """AUTO alone leaves the choice to OpenVINO; whatever names another device was meant to have it."""
        return self.device in ("CPU", "AUTO")


def computed_in(info: Any) -> str:
    """What a node of a compiled model computes in: int8, bf16, f16, f32; empty for one that computes nothing, as a constant.

    info: what the runtime says of it. On the CPU `runtimePrecision` may be that in which weights are stored: a file with
    weights of float16 is said to run in f16, and is computed in float32. The kernel's name ends with the precision of what it is
    given; other devices' names need not.
    """
    kernel, precision = (str(info[key].astype(str)) if key in info else "" for key in ("primitiveType", "runtimePrecision"))
    if kernel.startswith("unknown"):
        return ""
    by_name = _PRECISIONS.get(kernel.rpartition("_")[2])
    return by_name or _PRECISIONS.get(precision, "")


class OpenVino:
    """A compiled model with one request, for one thread."""

    def __init__(self, compiled: Any, file: Path, places: list[str]) -> None:
        self._compiled = compiled
        self._file = file
        self._places = places
        self._request = compiled.create_infer_request()
        self._outputs = [compiled.output("score"), compiled.output("anomaly_map")]

    @property
    def executed_precision(self) -> str:
        """The lowest floating-point precision that any node computes in."""
        used = {computed_in(node.get_rt_info()) for node in self._compiled.get_runtime_model().get_ops()}
        return next((precision for precision in ("bf16", "f16", "f32") if precision in used), "none")

    @property
    def executed_on(self) -> str:
        """A processor is a processor to both runtimes; their scores differ by rounding only, which the golden images bound."""
        return CPU if {place.strip("()") for place in self._places} == {"CPU"} else f"openvino {' '.join(self._places)}".lower()

    def infer(self, image: Image, depth: Depth | None = None) -> tuple[float, AnomalyMap]:
        inputs = {"image": image[np.newaxis]} if depth is None else {"image": image[np.newaxis], "depth": depth[np.newaxis]}
        try:
            results = self._request.infer(inputs, share_inputs=True)
        except RuntimeError as e:
            raise InferenceError(f"{self._file}: {e}") from e
        return float(results[self._outputs[0]][0]), results[self._outputs[1]][0].copy()
