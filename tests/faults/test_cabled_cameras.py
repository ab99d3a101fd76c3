"""C9: a camera with a cable of its own that loses a frame, while Kensa hears of the part behind it late."""

import dataclasses
import json
import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from gate_line import state_of
from kensa_process import kensa
from small_bundle import photograph
from small_camera import write_line
from waiting import wait_until

from agent.cameras._live import LiveCamera
from agent.cameras._live_config import LiveConfig
from agent.cameras._source import Exposes, Frame
from agent.config import Line, load_line
from agent.ejector_process import eject_forever
from agent.loop import inspect_forever
from agent.station import Station

MS = 1_000_000


class Cabled:
    """A camera's section, its camera and its source: its frames are those that a test puts in."""

    def __init__(self) -> None:
        self.frames: queue.Queue[Frame] = queue.Queue()

    @contextmanager
    def open(self) -> Iterator[LiveCamera]:
        config = LiveConfig(timeout_ms=30_000)
        with LiveCamera("top", lambda: nullcontext(self), config, Exposes.CABLED) as camera:
            yield camera

    def exposes(self, random: np.random.Generator) -> int:
        """A good part, in a frame that is there at once; when it was exposed."""
        exposed_ns = time.monotonic_ns()
        self.frames.put(Frame(photograph(random), "rgb8", exposed_ns + 1))
        return exposed_ns

    def fire(self) -> None:
        raise AssertionError("it has a cable")

    def look(self) -> None:
        pass

    def next_frame(self, timeout_s: float) -> Frame | None:
        try:
            return self.frames.get(timeout=timeout_s)
        except queue.Empty:
            return None


@contextmanager
def running(line: Line) -> Iterator[Station]:
    """Both processes as threads, attached, the camera there."""
    with ExitStack() as stack:
        for target, arguments in ((eject_forever, (line,)), (inspect_forever, (stack.enter_context(Station(line)),))):
            stop = threading.Event()
            thread = threading.Thread(target=target, args=(*arguments, stop))
            thread.start()
            stack.callback(thread.join, 20)
            stack.callback(stop.set)
        wait_until(lambda: arguments[0].gate.is_attached and not arguments[0]._trouble())
        wait_until(lambda: (gate := state_of(line.file.parent)) is not None and gate.attached)  # the other end of the link
        yield arguments[0]


def hear_of(line: Line, triggered_ns: int) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(str(triggered_ns).encode(), str(line.state / "trigger"))


def told(station: Station) -> list[dict[str, Any]]:
    """Events of parts and alerts so far, as their `data`."""
    return [json.loads(row.data) for row in station._outbox.waiting(0, 100)]


def test_c9_a_part_that_passed_by_the_next_parts_frame_is_rejected_though_that_part_is_heard_of_after_its_verdict(
    state: Path, bundle: Path
) -> None:
    """The second part's frame is lost; it is judged by the third's, which is good, before anybody has heard of the third."""
    content = {
        "station": "press-3",
        "bundle": str(bundle),
        "state": "state",
        "cameras": {"top": {"type": "folder", "path": "nothing"}},
        "trigger": {"type": "software", "path": "state/trigger"},
        "ejector": {"type": "dryrun"},
        "gate": {"travel_ms": 8000},
        "runtime": {"type": "onnxruntime", "threads": 1},
        "mqtt": {"host": "127.0.0.1", "port": 1, "topic": "test/line-1"},
    }
    (state / "line.yaml").write_bytes(msgspec.yaml.encode(content))
    camera, random = Cabled(), np.random.default_rng(0)
    line = dataclasses.replace(load_line(state / "line.yaml"), cameras={"top": camera})
    with running(line) as station:
        hear_of(line, camera.exposes(random))
        wait_until(lambda: len(station.readings) == 1)
        hear_of(line, second_ns := time.monotonic_ns())
        wait_until(lambda: time.monotonic_ns() > second_ns + 20 * MS)  # closer ones would be a bounce
        third_ns = camera.exposes(random)
        wait_until(lambda: len(station.readings) == 2)

        hear_of(line, third_ns)

        wait_until(lambda: sum("outcome" in data for data in told(station)) == 3, timeout_s=30)
        events = [data for data in told(station) if "outcome" in data]
        alerts = [data["detail"] for data in told(station) if data.get("alert") == "photograph-in-doubt"]
    assert [(data["part"]["n"], data["outcome"], data["cause"]) for data in events] == [
        (1, "pass", "score"),
        (2, "reject", "fault"),
        (3, "reject", "fault"),
    ]
    assert events[1]["readings"][0]["score"] < 1  # by the third's photograph it would have passed
    assert "its photograph may be that of part" in events[1]["detail"]
    assert len(alerts) == 1


def test_c9_kensa_check_says_how_far_apart_the_parts_of_a_cabled_camera_must_be(state: Path, bundle: Path) -> None:
    cabled = {"type": "genicam", "camera": "K0", "trigger": "Line1", "timeout_ms": 300, "delay_ms": 20}
    file = write_line(state, bundle, {"top": cabled})

    finished = kensa("check", str(file))

    assert finished.returncode == 0, finished.stderr
    where = "cameras.top: where parts are closer than 280 ms (timeout_ms less delay_ms) and a frame is lost"
    assert f"{where}, Kensa has to hear of the next one within 700 ms" in finished.stdout
