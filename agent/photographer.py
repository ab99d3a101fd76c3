"""All cameras of a station at once: each part gets one Shot of each, and what is missing when the time is up is a Fault.

Each camera has a thread, so that one that hangs keeps neither the others nor the loop; its late photograph is thrown away and
never becomes another part's. A part is asked for when it is triggered, whatever the loop does meanwhile: the belt moves, and a
camera that is told to expose once the part before has been judged would see another place, or the next part.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType

from agent.cameras import Camera
from agent.inspection import Fault, Part, Shot
from agent.link import Triggered
from agent.preprocess import Pixels, PixelsWithDepth, to_8_bit
from agent.watch import Usual, what_is_wrong

_LEAVE_WITHIN_S = 2.0
_PROGRESS_EVERY_S = 1.0
_AT_MOST = 8  # photographs that a camera owes, or that wait to be judged


@dataclass(frozen=True, slots=True)
class Standard:
    """What the bundle says of photographs. white_level: of 16-bit ones. usual: how good parts look, where it tells that."""

    white_level: int
    usual: Usual | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Taken:
    """What a camera gave, and the Shot it is by this standard."""

    photograph: Pixels | PixelsWithDepth | Fault
    standard: Standard
    shot: Shot


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
        return "; ".join(thread.named(trouble) for thread in self._threads if (trouble := thread.camera.trouble))

    @property
    def away(self) -> str:
        """Which cameras are not there now, so that each part is a fault; empty where all are."""
        return "; ".join(thread.named(thread.camera.trouble) for thread in self._threads if not thread.camera.is_there)

    def ask(self, trigger: Triggered, standards: Mapping[str, Standard]) -> list[Shot]:
        """Each camera is to photograph the part now. Waits for nothing; from the thread that hears of parts, in their order.

        standards: of each camera, by which its photograph will be judged, unless another model takes over meanwhile.
        Gives the Faults of parts whose photograph, fetched or not, may be this part's: they may not pass, judged or not.
        """
        return [doubt for thread in self._threads if (doubt := thread.ask(trigger, standards[thread.name])) is not None]

    def answer(
        self, trigger: Triggered, standards: Mapping[str, Standard], progress: Callable[[], None] = lambda: None
    ) -> tuple[Shot, ...]:
        """One Shot of each camera, in the order of the configuration; here before the part is at its gate. In the order of `ask`.

        progress: called each second while a camera is waited for. Raises RuntimeError where a camera's thread has stopped.
        """
        return tuple(thread.answer(trigger, standards[thread.name], progress) for thread in self._threads)


class _ViewThread:
    """One camera and the thread that waits for it. Each part that is asked for takes its photograph, if too late for nothing.

    Parts are answered in the order in which they were asked for.
    """

    def __init__(self, name: str, camera: Camera) -> None:
        self.name = name
        self.camera = camera
        self._asked: queue.SimpleQueue[tuple[Triggered, Standard] | None] = queue.SimpleQueue()
        self._awaited: dict[Part, _Taken | None] = {}  # in their order; None until it is taken
        self._newest: deque[Triggered] = deque(maxlen=2 * _AT_MOST)
        self._is_leaving = False
        self._changed = threading.Condition()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"view {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def named(self, trouble: str) -> str:
        """By the camera's name in the line, which no other one has."""
        return f"{self.name}: {trouble}"

    def leave(self) -> None:
        with self._changed:
            self._is_leaving = True
        self._asked.put(None)
        self._thread.join(_LEAVE_WITHIN_S)

    def ask(self, trigger: Triggered, standard: Standard) -> Shot | None:
        """A camera that has too much to do, or that is to be closed, is not asked. Gives what becomes of an earlier part."""
        doubtful_ns = self.camera.expect(trigger.triggered_ns)
        doubtful = next((one for one in self._newest if one.triggered_ns == doubtful_ns), None)
        with self._changed:
            if not self._is_leaving and max(len(self._awaited), self._asked.qsize()) < _AT_MOST:
                self._awaited[trigger.part] = None
                self._asked.put((trigger, standard))
                self._newest.append(trigger)
        if doubtful is None:
            return None
        return self._fault(doubtful, f"camera {self.name}: its photograph may be that of part {trigger.part}, heard of too late")

    def answer(self, trigger: Triggered, standard: Standard, progress: Callable[[], None]) -> Shot:
        """The Shot of a part; a Fault once it is at its gate, or where it was not asked for."""
        with self._changed:
            was_asked = trigger.part in self._awaited
            while was_asked and self._failure is None and self._awaited[trigger.part] is None:
                left_s = (trigger.planned_ns - time.monotonic_ns()) / 1e9
                if left_s <= 0:
                    break
                if not self._changed.wait(min(left_s, _PROGRESS_EVERY_S)):
                    progress()
            if self._failure is not None:
                raise RuntimeError(f"the thread of camera {self.name} stopped") from self._failure
            taken = self._given_out(trigger.part) if was_asked else None
        if not was_asked:
            why = f"{_AT_MOST} photographs were owed or waited to be judged, or a recipe was being changed"
            return self._fault(trigger, f"camera {self.name} was not asked: {why}")
        if taken is None or time.monotonic_ns() > trigger.planned_ns:
            return self._fault(trigger, "not inspected: its moment at the gate had passed before its image was there")
        return taken.shot if taken.standard is standard else self._shot(trigger, taken.photograph, standard)

    def _given_out(self, part: Part) -> _Taken | None:
        """Its photograph, if it is there; nobody awaits it any longer, nor those of parts before it."""
        for other in list(self._awaited):
            taken = self._awaited.pop(other)
            if other == part:
                return taken
        return None

    def _run(self) -> None:
        try:
            while (asked := self._asked.get()) is not None and not self._is_leaving:
                trigger, standard = asked
                photograph = self.camera.shoot(trigger.triggered_ns)
                taken = _Taken(photograph, standard, self._shot(trigger, photograph, standard))
                with self._changed:
                    if trigger.part in self._awaited:
                        self._awaited[trigger.part] = taken
                        self._changed.notify_all()
        except Exception as e:  # noqa: BLE001 - raised in the loop by answer()
            with self._changed:
                self._failure = e
                self._changed.notify_all()

    def _shot(self, trigger: Triggered, photograph: Pixels | PixelsWithDepth | Fault, standard: Standard) -> Shot:
        """The photograph in 8 bit with its depth, if nothing is wrong with it."""
        if isinstance(photograph, Fault):
            return self._fault(trigger, photograph.reason)
        pixels, depth = (photograph.pixels, photograph.depth) if isinstance(photograph, PixelsWithDepth) else (photograph, None)
        image = to_8_bit(pixels, standard.white_level)
        wrong = what_is_wrong(image, standard.usual) if standard.usual is not None else ""
        if wrong:
            return self._fault(trigger, f"camera {self.name}: {wrong}")
        return Shot(trigger.part, self.name, trigger.triggered_ns, image, depth)

    def _fault(self, trigger: Triggered, reason: str) -> Shot:
        return Shot(trigger.part, self.name, trigger.triggered_ns, Fault(reason))
