"""Runtimes: what executes an artefact. One driver per file, chosen by `type:`; artefacts name the runtime they are for.

The contract: `Config.open(file)` is a context manager that yields a Runtime for one model file, compiled and ready, with
its precision pinned to the one the file states; it raises InferenceError naming the file when it cannot.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from agent.inspection import AnomalyMap, Depth, Image


class InferenceError(Exception):
    """The runtime failed; the message names the model."""


class Runtime(Protocol):
    """A compiled model."""

    @property
    def executed_precision(self) -> str:
        """What the compiled model really computes in, as read back from the runtime."""
        ...

    def infer(self, image: Image, depth: Depth | None = None) -> tuple[float, AnomalyMap]:
        """Raw score and native map of one network input, (H, W, 3) uint8 RGB, with (H, W) float32 metres where the graph has
        a second input. Raises InferenceError."""
        ...


class RuntimeConfig(Protocol):
    """The section of the runtime."""

    def open(self, file: Path) -> AbstractContextManager[Runtime]: ...
