"""All cameras of a station at once: each part gets one Shot of each, and what is missing when the time is up is a Fault.

Each camera has a thread, so that one that hangs keeps neither the others nor the loop; its late photograph is thrown away and
never becomes another part's.
"""

import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

from agent.cameras import Camera
from agent.inspection import Fault, Shot
from agent.link import Triggered
from agent.preprocess import PixelsWithDepth, to_8_bit
from agent.watch import Usual, what_is_wrong

_LEAVE_WITHIN_S = 2.0
_OWED_AT_MOST = 64


@dataclass(frozen=True, slots=True)
class Standard:
    """What the bundle says of photographs. white_level: of 16-bit ones. usual: how good parts look, where it tells that."""

    white_level: int
    usual: Usual | None = None


class Photographer:
    """A thread for each of these opened cameras; they end with the block."""

    def __init__(self, cameras: Mapping[str, Camera]) -> None:
        self._threads = [_ViewThread(name, camera) for name, camera in cameras.items()]

    def __enter__(self) -> "Photographer":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for thread in self._threads:
            thread.leave()

    @property
    def trouble(self) -> str:
        """What is wrong with the cameras now, empty when nothing is."""
        return "; ".join(filter(None, (thread.camera.trouble for thread in self._threads)))

    def shoot(self, trigger: Triggered, standard: Standard) -> tuple[Shot, ...]:
        """One Shot of each camera, in the order of the configuration; here before the part is at its gate.

        Raises RuntimeError where a camera's thread has stopped.
        """
        for thread in self._threads:
            thread.ask(trigger, standard)
        return tuple(thread.answer(trigger) for thread in self._threads)


class _ViewThread:
    """One camera and the thread that waits for it. Each part that is asked for takes its photograph, if too late for nothing."""

    def __init__(self, name: str, camera: Camera) -> None:
        self.name = name
        self.camera = camera
        self._asked: queue.SimpleQueue[tuple[Triggered, Standard] | None] = queue.SimpleQueue()
        self._owed = 0
        self._taken: Shot | None = None
        self._changed = threading.Condition()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"view {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def leave(self) -> None:
        self._asked.put(None)
        self._thread.join(_LEAVE_WITHIN_S)

    def ask(self, trigger: Triggered, standard: Standard) -> None:
        """In order; a camera that owes too many is not asked."""
        with self._changed:
            if self._owed < _OWED_AT_MOST:
                self._owed += 1
                self._asked.put((trigger, standard))

    def answer(self, trigger: Triggered) -> Shot:
        """The Shot of a part that was asked for; a Fault once it is at its gate."""
        with self._changed:
            while self._failure is None and not self._has(trigger):
                left_s = (trigger.planned_ns - time.monotonic_ns()) / 1e9
                if left_s <= 0 or not self._changed.wait(left_s):
                    break
            if self._failure is not None:
                raise RuntimeError(f"the thread of camera {self.name} stopped") from self._failure
            taken, owed = self._taken, self._owed
        if time.monotonic_ns() > trigger.planned_ns:
            return self._shot(trigger, Fault("not inspected: its moment at the gate had passed before its image was there"))
        if taken is None or taken.part != trigger.part:
            return self._shot(trigger, Fault(f"camera {self.name} was not asked: it still owes {owed} photographs"))
        return taken

    def _has(self, trigger: Triggered) -> bool:
        return self._taken is not None and self._taken.part == trigger.part

    def _run(self) -> None:
        try:
            while (asked := self._asked.get()) is not None:
                shot = self._take(*asked)
                with self._changed:
                    self._owed, self._taken = self._owed - 1, shot
                    self._changed.notify_all()
        except Exception as e:  # noqa: BLE001 - raised in the loop by answer()
            with self._changed:
                self._failure = e
                self._changed.notify_all()

    def _take(self, trigger: Triggered, standard: Standard) -> Shot:
        """The photograph in 8 bit with its depth, if nothing is wrong with it."""
        taken = self.camera.shoot(trigger.triggered_ns)
        if isinstance(taken, Fault):
            return self._shot(trigger, taken)
        pixels, depth = (taken.pixels, taken.depth) if isinstance(taken, PixelsWithDepth) else (taken, None)
        image = to_8_bit(pixels, standard.white_level)
        wrong = what_is_wrong(image, standard.usual) if standard.usual is not None else ""
        if wrong:
            return self._shot(trigger, Fault(f"camera {self.name}: {wrong}"))
        return Shot(trigger.part, self.name, trigger.triggered_ns, image, depth)

    def _shot(self, trigger: Triggered, fault: Fault) -> Shot:
        return Shot(trigger.part, self.name, trigger.triggered_ns, fault)
