"""The camera of a simulated belt: asks another process, over a Unix socket, what stood before it at the trigger."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import msgspec
import numpy as np

from agent.inspection import Fault
from agent.preprocess import Pixels

_LARGEST_BYTES = 65_536  # of a picture; one packet
_AGAIN_S = 0.02


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """path: of the belt's socket. width, height: of its pictures, px. timeout_ms: after it a picture is a fault."""

    path: str
    width: Annotated[int, msgspec.Meta(ge=1, le=512)] = 64
    height: Annotated[int, msgspec.Meta(ge=1, le=512)] = 64
    timeout_ms: Annotated[float, msgspec.Meta(gt=0, le=60_000)] = 300.0

    @contextmanager
    def open(self) -> Iterator["SimulatedCamera"]:
        yield SimulatedCamera(self)


class SimulatedCamera:
    """Connects for each picture, so that a belt that was away is found again."""

    def __init__(self, config: Config) -> None:
        self._config = config

    @property
    def trouble(self) -> str:
        """Each picture speaks for itself."""
        return ""

    @property
    def is_there(self) -> bool:
        return True

    def expect(self, triggered_ns: int) -> None:
        """The belt knows what stood there when."""

    def shoot(self, triggered_ns: int) -> Pixels | Fault:
        until_s = time.monotonic() + self._config.timeout_ms / 1000
        shape = (self._config.height, self._config.width, 3)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as belt:
            belt.settimeout(self._config.timeout_ms / 1000)
            try:
                belt.connect(self._config.path)
                belt.send(str(triggered_ns).encode())
                belt.settimeout(max(_AGAIN_S, until_s - time.monotonic()))
                found = belt.recv(_LARGEST_BYTES)
            except OSError as e:
                return Fault(f"simulated camera lost: {e}")
        if len(found) != int(np.prod(shape)):
            return Fault(f"simulated camera gave {len(found)} bytes, expected a picture of {shape[1]}x{shape[0]} px")
        return np.frombuffer(found, dtype=np.uint8).reshape(shape)
