"""A process of its own that reads a network stream or a V4L2 device by OpenCV and writes PPM images to its standard output.

Decoders and drivers hang and crash; here they may. Newest frames only: what nobody has read yet is not waited for.
"""

import os
import sys
from typing import NoReturn

import cv2

_OPEN_MS, _READ_MS = 5000, 2000
_NO_PICTURE = 3


def main() -> NoReturn:
    """Arguments: `rtsp URL`, or `v4l2 DEVICE WIDTH HEIGHT FOURCC`; an empty FOURCC leaves the device's. The URL's secrets come
    by the environment, where other users cannot read them."""
    kind, what, *wanted = sys.argv[1:]
    cv2.setNumThreads(1)
    if kind == "rtsp":
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _READ_MS]
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
    while True:
        came, frame = capture.read()
        if not came or frame is None:
            sys.stderr.write(f"{what} gives no more pictures\n")
            sys.exit(_NO_PICTURE)
        if frame.ndim != 3 or frame.shape[2] != 3:
            sys.exit(f"expected frames of three channels, found {frame.shape}")
        height_px, width_px = frame.shape[:2]
        sys.stdout.buffer.write(b"P6\n%d %d\n255\n" % (width_px, height_px))
        sys.stdout.buffer.write(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).data)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
