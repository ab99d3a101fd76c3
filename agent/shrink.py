"""A large photograph shrunk by several cores: every bit as OpenCV shrinks the whole, which it does on one."""

import math
import os
import queue
import threading
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from types import TracebackType

import cv2
import numpy as np

from agent.inspection import Image

Shrink = Callable[[Image, tuple[int, int]], Image]
"""(H, W, 3) to (h, w, 3) by area; the size is (w, h), neither larger than it was."""

_MOST_HELPERS = 3  # beyond them memory is what is waited for
_WORTHWHILE_BYTES = 2 << 20  # of a photograph: about 2 ms, where waking a helper takes 0.1
_LEAVE_WITHIN_S = 2.0


def alone(image: Image, size: tuple[int, int]) -> Image:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def strips(before: int, after: int, most: int) -> list[tuple[slice, slice]]:
    """Rows of the photograph and the rows they become, at most so many pairs, each shrunk alone to what it is in the whole.

    A cut has to fall between rows on both sides, and all places must be numbers that OpenCV's doubles hold: then it computes
    each weight from the same numbers. Otherwise there is one strip.

    >>> strips(1080, 256, 2)
    [(slice(0, 540, None), slice(0, 128, None)), (slice(540, 1080, None), slice(128, 256, None))]
    """
    pieces = math.gcd(before, after) if Fraction(1 / (after / before)) == Fraction(before, after) else 1
    cuts = [round(pieces * k / min(most, pieces)) for k in range(min(most, pieces) + 1)]
    high, low = before // pieces, after // pieces
    return [(slice(high * a, high * b), slice(low * a, low * b)) for a, b in pairwise(cuts)]


class Helpers:
    """Threads that take strips of a photograph off whoever shrinks it; nobody waits for one that has not begun.

    So on a device whose cores are all busy the photograph is shrunk as by `alone`, and takes as long.
    """

    def __init__(self, count: int, worthwhile_bytes: int = _WORTHWHILE_BYTES) -> None:
        """worthwhile_bytes: of a photograph, from which they are asked."""
        self._worthwhile_bytes = worthwhile_bytes
        self._asked: list[queue.SimpleQueue[_Photograph | None]] = [queue.SimpleQueue() for _ in range(count)]
        self._threads = [
            threading.Thread(target=_help, args=(asked,), name=f"shrink {k}", daemon=True) for k, asked in enumerate(self._asked)
        ]

    def __enter__(self) -> "Helpers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for asked in self._asked:
            asked.put(None)
        for thread in self._threads:
            thread.join(_LEAVE_WITHIN_S)

    def __call__(self, image: Image, size: tuple[int, int]) -> Image:
        """As `alone` does it. Raises cv2.error as OpenCV would."""
        parts = strips(image.shape[0], size[1], 1 + len(self._threads)) if self._is_worthwhile(image, size) else []
        if len(parts) < 2:
            return alone(image, size)
        photograph = _Photograph(image, size, parts)
        for asked in self._asked[: len(parts) - 1]:
            asked.put(photograph)
        return photograph.shrunk()

    def _is_worthwhile(self, image: Image, size: tuple[int, int]) -> bool:
        height, width = image.shape[:2]
        quick = width % size[0] == 0 and height % size[1] == 0  # whole pixels are summed, in a third of the time
        return image.nbytes >= self._worthwhile_bytes * (3 if quick else 1)


def helpers_here() -> Helpers:
    """As many as there are further cores, within a limit."""
    return Helpers(min(len(os.sched_getaffinity(0)) - 1, _MOST_HELPERS))


class _Photograph:
    """Strips that several threads take one by one. A thread that has begun is in `_begun` until it has found none left."""

    def __init__(self, image: Image, size: tuple[int, int], parts: list[tuple[slice, slice]]) -> None:
        width, height = size
        self._image, self._result = image, np.empty((height, width, 3), dtype=np.uint8)
        self._left = deque(parts)
        self._changed = threading.Condition()
        self._begun = 0
        self._failure: Exception | None = None

    def help(self) -> None:
        with self._changed:
            self._begun += 1
        try:
            self._work()
        except Exception as e:  # noqa: BLE001 - raised by shrunk(): rows that nobody wrote must not be judged
            self._failure = e
        finally:
            with self._changed:
                self._begun -= 1
                self._changed.notify()

    def shrunk(self) -> Image:
        self._work()
        with self._changed:
            self._changed.wait_for(lambda: self._begun == 0)
        if self._failure is not None:
            raise self._failure
        return self._result

    def _work(self) -> None:
        while self._left:
            try:
                before, after = self._left.popleft()
            except IndexError:  # taken meanwhile
                return
            target = self._result[after]
            cv2.resize(self._image[before], (target.shape[1], target.shape[0]), dst=target, interpolation=cv2.INTER_AREA)


def _help(asked: "queue.SimpleQueue[_Photograph | None]") -> None:
    while (photograph := asked.get()) is not None:
        photograph.help()
