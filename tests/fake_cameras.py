"""Real cameras for tests without hardware: Aravis' GigE Vision camera, GStreamer's RTSP server, programs that write frames."""

import ctypes
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.cameras._aravis import LIBRARY

RTSP_SERVER = Path(__file__).with_name("rtsp_server.py")


class GigE:
    """`arv-fake-gv-camera-0.8` on 127.0.0.1; diagonal stripes that move with each frame. lost: packets of a thousand.

    description: its features, as GenICam has them in XML; None is its own.
    """

    def __init__(self, serial: str, lost: float = 0, description: Path | None = None) -> None:
        self._command = ["arv-fake-gv-camera-0.8", "-i", "127.0.0.1", "-s", serial, "-r", f"{lost:g}"]
        self._command += [] if description is None else ["-g", str(description)]
        self._process: subprocess.Popen[bytes] | None = None

    def plug_in(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def pull_out(self) -> None:
        """SIGKILL: it has no last word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def gige(serial: str, lost: float = 0, plugged_in: bool = True, description: Path | None = None) -> Iterator[GigE]:
    """A camera that is gone when the block is left."""
    camera = GigE(serial, lost, description)
    if plugged_in:
        camera.plug_in()
    try:
        yield camera
    finally:
        camera.pull_out()


def with_falling_edge() -> str:
    """The fake camera's own description, whose trigger knows the rising edge only, and the other one."""
    library, size = ctypes.CDLL(LIBRARY), ctypes.c_size_t()
    library.arv_fake_camera_new.restype = library.arv_fake_camera_get_genicam_xml.restype = ctypes.c_void_p
    camera = ctypes.c_void_p(library.arv_fake_camera_new(b"K0"))
    start = library.arv_fake_camera_get_genicam_xml(camera, ctypes.byref(size))
    before, found, behind = ctypes.string_at(start, size.value).decode().partition('<Enumeration Name="TriggerActivation"')
    falling = '<EnumEntry Name="FallingEdge" NameSpace="Standard"><Value>1</Value></EnumEntry>'
    return before + found + behind.replace("</EnumEntry>", f"</EnumEntry>{falling}", 1)


@contextmanager
def rtsp_stream() -> Iterator[int]:
    """The port of a server of rtsp://127.0.0.1:PORT/line, 160x120 px, 20 frames a second, a ball that moves."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    with subprocess.Popen(["/usr/bin/python3", str(RTSP_SERVER), str(port)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "serving\n", "needs gir1.2-gst-rtsp-server-1.0 and gstreamer1.0-plugins-good"
        try:
            yield port
        finally:
            server.kill()


def writing(frame: str, then: str = "") -> tuple[str, ...]:
    """The command of a program that writes the bytes `frame` (Python, of the frame's number n) 50 times a second.

    then: what it does after each, such as `os.abort() if n == 9 else None`.
    """
    lines = ["import os, sys, time", "n = 0", "while True:", f"  sys.stdout.buffer.write({frame})", "  sys.stdout.buffer.flush()"]
    lines += [f"  {then or 'pass'}", "  n += 1", "  time.sleep(0.02)"]
    return (sys.executable, "-c", "\n".join(lines))
