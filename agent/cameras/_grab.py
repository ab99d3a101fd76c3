"""A process of its own that reads a network stream or a V4L2 device by OpenCV and writes PPM images to its standard output.

Decoders and drivers hang and crash; here they may. Pictures that have queued up, since the decoder, the network or who reads
them is too slow, are left out: they would be taken for later parts'. So are those that a decoder has made up for lost ones.
"""

import os
import sys
import time
from typing import NoReturn

import cv2

from agent.cameras._arrival import Lateness
from agent.cameras._intact import Intact

_LATE_MS = 250.0
_OPEN_MS, _READ_MS = 5000, 2000
_HARMLESS = (b"APP fields",)  # of a JPEG: not in its pixels


class _StandardError:
    """What decoders write there, passed on to who started this process, and whether there was any of it."""

    def __init__(self) -> None:
        self._people = os.dup(2)
        self._told, decoder = os.pipe()
        for end in (self._told, decoder):
            os.set_blocking(end, False)
        os.dup2(decoder, 2)

    def complained(self) -> bool:
        """Since it was asked last."""
        try:
            said = os.read(self._told, 1 << 16)
        except BlockingIOError:
            return False
        os.write(self._people, said)
        return any(line.strip() and not any(word in line for word in _HARMLESS) for line in said.splitlines())

    def tell(self, people: str) -> None:
        os.write(self._people, f"{people}\n".encode())


def main() -> NoReturn:
    """Arguments: `rtsp URL`, or `v4l2 DEVICE WIDTH HEIGHT FOURCC`; an empty FOURCC leaves the device's. The URL's secrets come
    by the environment, where other users cannot read them."""
    kind, what, *wanted = sys.argv[1:]
    cv2.setNumThreads(1)
    if kind == "rtsp":
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _READ_MS]
        limits += [cv2.CAP_PROP_N_THREADS, 1]  # several would complain of a picture before those ahead of it are out
        capture = cv2.VideoCapture(os.environ.get("KENSA_URL", what), cv2.CAP_FFMPEG, limits)
    else:
        capture = cv2.VideoCapture(what, cv2.CAP_V4L2)
        width, height, fourcc = wanted
        if fourcc:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*fourcc))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, int(width))
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, int(height))
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    if not capture.isOpened():
        sys.exit(f"{what} cannot be opened")
    _write_pictures(capture, what, _StandardError())


def _write_pictures(capture: cv2.VideoCapture, what: str, standard_error: _StandardError) -> NoReturn:
    lateness, intact, left_out = Lateness(), Intact(), ""
    while True:
        came, frame = capture.read()
        complained = standard_error.complained()
        if not came or frame is None:
            standard_error.tell(f"{what} gives no more pictures")
            sys.exit(3)
        if frame.ndim != 3 or frame.shape[2] != 3:
            standard_error.tell(f"expected frames of three channels, found {frame.shape}")
            sys.exit(1)
        stamped_ms = capture.get(cv2.CAP_PROP_POS_MSEC)
        is_late = lateness.of(stamped_ms, time.monotonic() * 1e3) > _LATE_MS
        is_whole = intact.of(stamped_ms, chr(max(0, int(capture.get(cv2.CAP_PROP_FRAME_TYPE)))), complained)
        before, left_out = left_out, _why_left_out(is_late, is_whole)
        if left_out:
            if left_out != before:
                standard_error.tell(left_out)
            continue
        height_px, width_px = frame.shape[:2]
        sys.stdout.buffer.write(b"P6\n%d %d\n255\n" % (width_px, height_px))
        sys.stdout.buffer.write(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).data)
        sys.stdout.buffer.flush()


def _why_left_out(is_late: bool, is_whole: bool) -> str:
    if not is_whole:
        return "pictures are left out, one before them was lost or damaged: a slow network, or does the camera drop some?"
    return f"pictures are left out that came over {_LATE_MS:g} ms late: too much for network or machine?" if is_late else ""


if __name__ == "__main__":
    main()
