"""Frames from another program's standard output, whole or not at all."""

import contextlib
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, NoReturn

from numpy.typing import NDArray

from agent.cameras import CameraLostError
from agent.cameras._pixels import array_of, bytes_of
from agent.cameras._source import Frame
from agent.end_with_parent import ending_with_me

_CHUNK = 1 << 20
_LAST_WORDS = 1000  # bytes of its standard error, for the message
_LONGEST_HEADER = 64
_HEADER = re.compile(rb"(P\d)\s+(\d+)\s+(\d+)\s+(\d+)\s")  # one white space, then pixels, which may look like more of it
_END_WITHIN_S = 1.0
_LOGIN = re.compile(r"://[^/\s]+@")  # programs quote the address they were given, with the password


@dataclass(frozen=True, slots=True)
class Program:
    """name: for messages. command: with its arguments. size: of its frames, (width, height) in px.

    stall_s: longest time without a frame; opens_within_s: the same before the first. layout: `pnm`, or one of
    agent/cameras/_pixels.py. environment: None is that of this process.
    """

    name: str
    command: Sequence[str]
    size: tuple[int, int]
    stall_s: float
    opens_within_s: float = 10.0
    layout: str = "pnm"
    environment: Mapping[str, str] | None = None


class Pipe:
    """The frames of a program that runs."""

    def __init__(self, process: "subprocess.Popen[bytes]", program: Program) -> None:
        self._process = process
        self._program = program
        self._patience_s = program.opens_within_s
        self._content = bytearray()
        self._last_words = b""
        self._came_ns = time.monotonic_ns()
        self._selector = selectors.DefaultSelector()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ)

    def close(self) -> None:
        self._selector.close()

    def fire(self) -> None:
        """It exposes of its own accord."""

    def look(self) -> None:
        """Its frames are its sign of life: see next_frame."""

    def next_frame(self, timeout_s: float) -> Frame | None:
        """The next whole one. Raises CameraLostError when it ends, stalls, or sends what was not agreed."""
        until_ns = time.monotonic_ns() + round(timeout_s * 1e9)
        while (frame := self._cut()) is None:
            left_s = (until_ns - time.monotonic_ns()) / 1e9
            if left_s <= 0:
                return None
            for key, _ in self._selector.select(left_s):
                self._read(key.fileobj)  # type: ignore[arg-type]
            if time.monotonic_ns() - self._came_ns > self._patience_s * 1e9:
                part = f", {len(self._content)} bytes of one" if self._content else ""
                raise CameraLostError(f"{self._program.name}: no whole frame for {self._patience_s:g} s{part}{self._said}")
        self._came_ns = time.monotonic_ns()
        self._patience_s = self._program.stall_s
        return Frame(frame[0], frame[1], self._came_ns)

    def _read(self, stream: IO[bytes]) -> None:
        content = os.read(stream.fileno(), _CHUNK)
        if stream is self._process.stderr:
            if content:
                self._last_words = (self._last_words + content)[-_LAST_WORDS:]
            else:
                self._selector.unregister(stream)
        elif content:
            self._content += content
        else:
            self._ended()

    def _ended(self) -> NoReturn:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_WITHIN_S)
        code = self._process.returncode
        how = "closed its output" if code is None else f"ended with status {code}" if code >= 0 else signal.Signals(-code).name
        torn = f" in the middle of a frame, after {len(self._content)} bytes of it" if self._content else ""
        raise CameraLostError(f"{self._program.name}: {how}{torn}{self._said}")

    @property
    def _said(self) -> str:
        words = _LOGIN.sub("://", " ".join(self._last_words.decode(errors="replace").split()))
        return f"; it said: {words[-200:]}" if words else ""

    def _cut(self) -> tuple[NDArray[Any], str] | None:
        """The first whole frame of what has come."""
        if self._program.layout == "pnm":
            return self._cut_pnm()
        return self._taken(0, self._program.layout)

    def _cut_pnm(self) -> tuple[NDArray[Any], str] | None:
        """PGM (P5) or PPM (P6), 8 bit, or PGM of 16 bit (big-endian). Raises CameraLostError for another size or format."""
        if not self._content:
            return None
        header = _HEADER.match(bytes(self._content[:_LONGEST_HEADER]))
        if header is None:
            if len(self._content) >= _LONGEST_HEADER:
                raise CameraLostError(f"{self._program.name}: expected PGM or PPM images, found {bytes(self._content[:16])!r}")
            return None
        kind, width, height, white = header.groups()
        layouts = {(b"P5", b"255"): "mono8", (b"P6", b"255"): "rgb8", (b"P5", b"65535"): "mono16"}
        layout = layouts.get((kind, white))
        wanted = "x".join(map(str, self._program.size))
        if layout is None or b"%bx%b" % (width, height) != wanted.encode():
            found = b" ".join(header.groups()).decode(errors="replace")
            raise CameraLostError(
                f"{self._program.name}: expected frames of {wanted} px as P5 or P6, found {found!r}: "
                "was the camera set to another size or format?"
            )
        frame = self._taken(header.end(), layout)
        return (frame[0].byteswap(), layout) if frame is not None and layout == "mono16" else frame

    def _taken(self, start: int, layout: str) -> tuple[NDArray[Any], str] | None:
        end = start + bytes_of(layout, *self._program.size)
        if len(self._content) < end:
            return None
        with memoryview(self._content) as content:
            image = array_of(bytes(content[start:end]), layout, *self._program.size)
        del self._content[:end]
        return image, layout


@contextmanager
def open_pipe(program: Program) -> Iterator[Pipe]:
    """Starts the program; it has ended, with its children, when the block is left. Raises CameraLostError.

    It ends with this process too, so that whoever comes next finds its device free; its children then as they notice.
    """
    out = subprocess.PIPE
    try:
        process = subprocess.Popen(
            ending_with_me(program.command, signal.SIGKILL),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            env=program.environment,
        )
    except OSError as e:
        raise CameraLostError(f"{program.command[0]} cannot be started: {e.strerror or e}") from e
    with process:
        pipe = Pipe(process, program)
        try:
            yield pipe
        finally:
            pipe.close()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
