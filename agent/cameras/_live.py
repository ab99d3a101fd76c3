"""A camera kept open by a thread of its own: it may hang, vanish and come back, and the loop never waits longer than stated."""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from agent.cameras import NOT_YET, CameraLostError
from agent.cameras._arrival import Arrival, OnceAPart, Stream
from agent.cameras._live_config import Counts, LiveConfig
from agent.cameras._matching import Doubt, Matching
from agent.cameras._pixels import to_rgb
from agent.cameras._source import Exposes, Frame, Source, fresh, missing
from agent.inspection import Fault
from agent.preprocess import Pixels
from agent.watch import Repeats

log = logging.getLogger(__name__)

_KEPT = 8  # triggers that wait to be passed on
_LISTEN_S = 0.1
_LOOK_EVERY_S = 0.5  # at a camera that has nothing to do: is it still there?
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 2.0  # a camera that is back is looked for soon enough to give images within 5 s
_MISSED_IN_A_ROW = 2  # triggers without a frame, and a camera that exposes all the time counts as lost
_SHARE_OVER = 100  # frames over which the share of torn ones is told
_TORN_TOLD = 0.01
_LEAVE_WITHIN_S = 6.0  # a dead GigE camera holds each call for 2.5 s


class LiveCamera:
    """Opens its source for ever, with growing pauses and jitter, and gives each trigger the frame that belongs to it.

    name: for messages. open_source: a fresh one for each attempt; raises CameraLostError. A camera that is FREE counts as there
    once its first frame has come. fire_within_ms: later after the trigger a camera that is TOLD would expose another place.
    """

    def __init__(
        self,
        name: str,
        open_source: Callable[[], AbstractContextManager[Source]],
        config: LiveConfig,
        exposes: Exposes = Exposes.FREE,
        fire_within_ms: float = 100.0,
    ) -> None:
        self._name = name
        self._open_source = open_source
        self._config = config
        self._exposes = exposes
        self._fire_within_ms = min(fire_within_ms, config.timeout_ms)
        self._matching = Matching(exposes, config.delay_ms, config.timeout_ms)
        look_ms = 1e3 * _LISTEN_S + (config.timeout_ms if exposes is Exposes.TOLD else 0)
        self._arrival: Arrival = Stream() if exposes is Exposes.FREE else OnceAPart(round(look_ms * 1e6))
        self._to_fire: deque[int] = deque(maxlen=_KEPT)
        self._not_fired_ns = 0  # the newest trigger that came to the camera too late
        self._repeats = Repeats()
        self._recent: deque[bool] = deque(maxlen=_SHARE_OVER)
        self._missed_in_a_row = 0
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._lost: str | None = NOT_YET
        self._counts = Counts()
        self._thread = threading.Thread(target=self._run, name=f"camera {name}", daemon=True)

    def __enter__(self) -> "LiveCamera":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(_LEAVE_WITHIN_S)
        log.info("camera %s closed: %s", self._name, self.counts)

    @property
    def counts(self) -> Counts:
        return replace(self._counts, unasked=self._matching.unasked)

    @property
    def trouble(self) -> str:
        """What is wrong with it now, empty when nothing is."""
        if self._failure is not None:
            return f"the thread of camera {self._name} stopped: {self._failure!r}"
        if self._lost is not None:
            return f"camera {self._name} lost: {self._lost}"
        torn = sum(self._recent)
        if torn > _TORN_TOLD * _SHARE_OVER:
            return f"camera {self._name}: {torn} of the last {len(self._recent)} frames came torn: look at its cable and network"
        return ""

    @property
    def is_there(self) -> bool:
        return self._lost is None and self._failure is None

    def expect(self, triggered_ns: int) -> int | None:
        with self._changed:
            doubtful_ns = self._matching.heard(triggered_ns)
            if doubtful_ns is not None:
                self._lose_order(self._matching.two_parts)
            return doubtful_ns

    def shoot(self, triggered_ns: int) -> Pixels | Fault:
        """The first frame, not given to another trigger, that arrived since the trigger; waits until timeout_ms after it."""
        with self._changed:
            if (refusal := self._refusal(triggered_ns)) is not None:
                return refusal
            if self._exposes is Exposes.TOLD:
                self._to_fire.append(triggered_ns)
                self._changed.notify_all()
            while (frame := self._matching.take(triggered_ns)) is None:
                if self._failure is not None:
                    raise RuntimeError(f"the thread of camera {self._name} stopped") from self._failure
                if self._lost is not None:
                    return Fault(f"camera {self._name} lost: {self._lost}")
                if triggered_ns == self._not_fired_ns:
                    return self._too_late()
                if (left_ns := self._matching.until_ns(triggered_ns) - time.monotonic_ns()) <= 0:
                    self._miss()
                    return Fault(f"camera {self._name}: no frame within {self._config.timeout_ms:g} ms of the trigger")
                self._changed.wait(left_ns / 1e9)
            if isinstance(frame, Doubt):
                self._lose_order(frame.why)
                return Fault(f"camera {self._name} lost: {frame.why}")
            self._missed_in_a_row = 0
        return self._image_of(frame)

    def _refusal(self, triggered_ns: int) -> Fault | None:
        """Why no frame can be the trigger's, or would show what is elsewhere by now."""
        if self._exposes is Exposes.TOLD:
            if self._is_too_late(triggered_ns):
                return self._too_late()
            if self._matching.is_still_taking(triggered_ns):
                return Fault(f"camera {self._name}: the part came before the photograph of the one before it was taken")
        if self._lost is None and self._matching.came_before_opening(triggered_ns):
            return Fault(f"camera {self._name}: the part came before the camera was opened")
        return None

    def _is_too_late(self, triggered_ns: int) -> bool:
        return time.monotonic_ns() > triggered_ns + round(self._fire_within_ms * 1e6)

    def _too_late(self) -> Fault:
        within = f"{self._fire_within_ms:g} ms after the trigger (fire_within_ms)"
        return Fault(f"camera {self._name}: it could not be told to expose within {within}, the part is elsewhere by now")

    def _miss(self) -> None:
        """A camera that was to expose and gave nothing may still do so; then its frames would be taken for later parts'."""
        self._counts.missed += 1
        self._missed_in_a_row += 1
        if self._exposes is not Exposes.FREE or self._missed_in_a_row >= _MISSED_IN_A_ROW:
            self._lose_order(f"{self._missed_in_a_row} trigger(s) in a row without a frame")

    def _lose_order(self, why: str) -> None:
        """What has come and what comes before it is opened anew is of nobody."""
        self._matching.clear()
        self._lose(why)

    def _image_of(self, frame: Frame) -> Pixels | Fault:
        if isinstance(frame.image, Fault):
            return frame.image
        self._repeats = self._repeats.after(frame.image)
        if self._config.same_in_a_row is not None and self._repeats.times >= self._config.same_in_a_row:
            return Fault(f"camera {self._name} {_why_the_same(frame.image)}: the same image {self._repeats.times} times in a row")
        return to_rgb(frame.image, frame.layout)

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        try:
            while not self._stop.is_set():
                began_ns = time.monotonic_ns()
                try:
                    with self._open_source() as source:
                        if self._exposes is Exposes.FREE:
                            self._wait_for_first(source)
                        self._found()
                        self._attend(source)
                except CameraLostError as e:
                    self._lose(str(e))
                if time.monotonic_ns() - began_ns > 10e9:  # it was there
                    pause_s = _FIRST_PAUSE_S
                self._stop.wait(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        except Exception as e:  # noqa: BLE001 - raised in the loop by shoot()
            with self._changed:
                self._failure = e
                self._changed.notify_all()

    def _wait_for_first(self, source: Source) -> None:
        """Its pipe says so when none comes; a camera on a bus that is silent is asked whether it is there."""
        while not self._stop.is_set() and source.next_frame(_LOOK_EVERY_S) is None:
            source.look()

    def _found(self) -> None:
        log.info("camera %s opened", self._name)
        self._arrival.opened()
        with self._changed:
            self._matching.opened(time.monotonic_ns())
            self._to_fire.clear()
            self._missed_in_a_row = 0
            self._lost = None

    def _lose(self, reason: str) -> None:
        with self._changed:
            if self._lost is None:
                self._counts.times_lost += 1
            if self._lost != reason:
                log.error("camera %s lost: %s", self._name, reason)
            self._lost = reason
            self._changed.notify_all()

    def _attend(self, source: Source) -> None:
        stamps: tuple[int, ...] = ()
        looked_ns = time.monotonic_ns()
        while not self._stop.is_set():
            if self._lost is not None:
                raise CameraLostError(self._lost)
            asked_ns = time.monotonic_ns()
            if self._exposes is not Exposes.TOLD:
                frame = source.next_frame(_LISTEN_S)
            else:
                frame = source.next_frame(self._config.timeout_ms / 1e3) if self._fired(source) else None
            self._arrival.looked(asked_ns, time.monotonic_ns())
            if frame is not None:
                if self._exposes is Exposes.CABLED and (lost := missing(frame, stamps)):
                    raise CameraLostError(f"{lost} frame(s) were lost before the one that it counts as {frame.stamps[0]}")
                self._put(replace(fresh(frame, stamps), earliest_ns=self._arrival.earliest_ns(frame.arrived_ns)))
                stamps = frame.stamps
            if time.monotonic_ns() - looked_ns > _LOOK_EVERY_S * 1e9:
                source.look()
                looked_ns = time.monotonic_ns()

    def _fired(self, source: Source) -> bool:
        """Waits a little for a trigger, and passes it on to a camera that is not lost."""
        with self._changed:
            if not self._to_fire:
                self._changed.wait(_LISTEN_S)
            if not self._to_fire or self._lost is not None:
                return False
            triggered_ns = self._to_fire.popleft()
            if self._is_too_late(triggered_ns):
                self._not_fired_ns = triggered_ns
                self._changed.notify_all()
                return False
        source.fire()
        if self._is_too_late(triggered_ns):
            raise CameraLostError(f"it was told to expose within {self._fire_within_ms:g} ms and has not answered by then")
        return True

    def _put(self, frame: Frame) -> None:
        with self._changed:
            if self._lost is not None:
                return  # of before, and it is opened anew
            self._counts.frames += 1
            self._counts.torn += isinstance(frame.image, Fault)
            self._recent.append(isinstance(frame.image, Fault))
            self._matching.came(frame)
            self._changed.notify_all()


def _why_the_same(image: NDArray[Any]) -> str:
    """What a camera does whose images repeat. No noise is left in pixels that are black or white.

    >>> import numpy as np
    >>> _why_the_same(np.zeros((2, 2), np.uint8)), _why_the_same(np.eye(2))
    ('sees nothing, all pixels are 0 (light, lens, exposure?)', 'is frozen')
    """
    level = image.flat[0]
    return f"sees nothing, all pixels are {level} (light, lens, exposure?)" if (image == level).all() else "is frozen"
