"""The runtime that `kensa bench --choose` found best on this device; without that, the one that the bundle's first file needs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from agent.runtimes import Runtime, RuntimeConfig, onnxruntime, openvino


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to say; how the choice was made stands beside it in the station's state."""

    @contextmanager
    def open(self, file: Path, cache: Path | None = None) -> Iterator[Runtime]:
        runtime: RuntimeConfig = openvino.Config() if file.suffix == ".xml" else onnxruntime.Config()
        with runtime.open(file, cache) as opened:
            yield opened

    def on_cpu(self) -> "Config | None":
        return None
