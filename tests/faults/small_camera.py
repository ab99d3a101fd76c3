"""Cameras of the fault tests: what they give, and a line around them."""

import time
from pathlib import Path

import msgspec
import numpy as np
from broker import Broker
from waiting import wait_until

from agent.cameras import Camera, process
from agent.inspection import Fault, Part
from agent.link import Triggered
from agent.preprocess import Pixels

NOISE = "os.urandom(64 * 48 * 3)"  # a frame's bytes, as `writing` has them


def shoot(camera: Camera) -> Pixels | Fault:
    taken = camera.shoot(time.monotonic_ns())
    assert isinstance(taken, np.ndarray | Fault)
    return taken


def gives_images(camera: Camera) -> bool:
    return isinstance(shoot(camera), np.ndarray)


def reason_of(taken: Pixels | Fault) -> str:
    return taken.reason if isinstance(taken, Fault) else ""


def wait_for_fault(camera: Camera, says: str) -> None:
    wait_until(lambda: says in reason_of(shoot(camera)), timeout_s=20)


def of_process(command: tuple[str, ...], **settings: object) -> process.Config:
    """64x48 RGB."""
    return msgspec.convert({"command": command, "width": 64, "height": 48, "stall_ms": 1000, **settings}, process.Config)


def part_now(n: int, until_gate_ms: float = 10_000) -> Triggered:
    now_ns = time.monotonic_ns()
    return Triggered(Part("boot", n), now_ns, now_ns + round(until_gate_ms * 1e6))


def write_line(folder: Path, bundle: Path, cameras: dict[str, object], broker: Broker | None = None) -> Path:
    file = folder / "line.yaml"
    port = broker.port if broker else 1
    content = {
        "station": "press-3",
        "bundle": str(bundle),
        "state": "state",
        "cameras": cameras,
        "trigger": {"type": "timer", "period_ms": 200},
        "ejector": {"type": "dryrun"},
        "gate": {"travel_ms": 1000},
        "runtime": {"type": "onnxruntime", "threads": 1},
        "mqtt": {"host": "127.0.0.1", "port": port, "topic": "test/line-1"},
    }
    file.write_bytes(msgspec.yaml.encode(content))
    return file
