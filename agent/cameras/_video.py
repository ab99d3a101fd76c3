"""A video file as one image after the other: nothing but the frame that was asked for last is kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2

from agent.cameras._pixels import to_rgb
from agent.inspection import Fault
from agent.preprocess import Pixels

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})
_LOOK = "play it, or copy it anew"
_LOOKS_FURTHER = 16  # frames, behind one that was not decoded: OpenCV says the same of such a frame and of the end


def frames(file: Path) -> Iterator[Pixels | Fault]:
    """Each frame as (H, W, 3) RGB, 8 bit, read-only, or the Fault in its place; at least one of them.

    Fewer frames than the file's header promises are one Fault at the end. What a decoder mends by itself is not known here.
    """
    if wrong := _what_is_wrong(file):
        yield Fault(f"{file}: {wrong}")
        return
    with _opened(file) as capture:
        if not capture.isOpened():
            yield Fault(f"{file}: no video that FFmpeg can open, or one that is cut off: {_LOOK}")
            return
        promised = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))  # not above 0 where nobody knows
        n = failed = 0
        while failed < _LOOKS_FURTHER:
            came, frame = capture.read()
            if not came:
                failed += 1
                continue
            for k in range(n + 1, n + failed + 1):
                yield Fault(f"{file}: frame {k} cannot be decoded, expected a picture: {_LOOK}")
            n, failed = n + failed + 1, 0
            yield to_rgb(frame, "bgr8")
        if n < max(promised, 1):
            yield Fault(f"{file}: no frame after frame {n}, expected {max(promised, 1)}, cut off or damaged: {_LOOK}")


def _what_is_wrong(file: Path) -> str:
    """As far as it can be seen without a decoder; empty where nothing is."""
    try:
        str(file).encode()
        with file.open("rb") as content:
            return "" if content.read(1) else "the file is empty, expected a video"
    except UnicodeEncodeError:  # OpenCV 5.0 crashes over it
        return "its name is not Unicode: rename it"
    except OSError as e:
        return f"cannot be read: {e.strerror}"


@contextmanager
def _opened(file: Path) -> Iterator[cv2.VideoCapture]:
    """One thread decodes: the cores belong to the model."""
    capture = cv2.VideoCapture(str(file.absolute()), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    try:
        yield capture
    finally:
        capture.release()
