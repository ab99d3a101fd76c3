"""Runtimes: what executes an artefact. One driver per file, chosen by `type:`; artefacts name the runtime they are for.

The contract: `Config.open(file)` is a context manager that yields a Runtime for one model file, compiled and ready, with
its precision pinned to the one the file states. It raises BundleError for a file that must not be opened (agent/model_files/),
and InferenceError naming the file where it cannot be opened here, or only on another device than the one that was asked for.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from agent.error import OutageError
from agent.inspection import AnomalyMap, Depth, Image

CPU = "cpu"  # where every artefact is calibrated at export


class InferenceError(OutageError):
    """The runtime failed; the message names the model."""


class Runtime(Protocol):
    """A compiled model."""

    @property
    def executed_precision(self) -> str:
        """What the compiled model really computes in, as read back from the runtime."""
        ...

    @property
    def executed_on(self) -> str:
        """Where it really computes, as read back from the runtime: `cpu`, `cuda`, `openvino gpu`. Scores differ between them."""
        ...

    def infer(self, image: Image, depth: Depth | None = None) -> tuple[float, AnomalyMap]:
        """Raw score and native map of one network input, (H, W, 3) uint8 RGB, with (H, W) float32 metres where the graph has
        a second input. Raises InferenceError."""
        ...


class RuntimeConfig(Protocol):
    """The section of the runtime."""

    def open(self, file: Path, cache: Path | None = None) -> AbstractContextManager[Runtime]:
        """cache: a folder for what was compiled, which makes the next start faster; bounded by agent/serving/compiled.py."""
        ...

    def on_cpu(self) -> "RuntimeConfig | None":
        """The same on the processor, where the section allows it (`cpu_instead: true`) and it is not there already."""
        ...


def place_wanted(runtime: RuntimeConfig) -> str:
    """The device or the provider that a section asks for, `cpu` where it asks for none."""
    return str(getattr(runtime, "device", "") or getattr(runtime, "provider", "") or CPU).lower()
