"""Which frame belongs to which trigger, and a camera's thread that is loud when it dies."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import pytest
from waiting import wait_until

from agent.cameras import CameraLostError, trouble_of
from agent.cameras._live import LiveCamera
from agent.cameras._live_config import LiveConfig
from agent.cameras._source import Exposes, Frame
from agent.inspection import Fault

MS = 1_000_000


class Scripted:
    """A source that gives what the test puts in; `sent`: what has been taken from it."""

    def __init__(self) -> None:
        self.frames: queue.Queue[Frame | Exception] = queue.Queue()
        self.fired = 0
        self.arrive_now = False
        self.looks_for_s = 0.0
        self.looked_ns = 0  # when it was asked last whether it is there
        self._may_look = threading.Event()
        self._may_look.set()

    def stand_still(self) -> None:
        """Whoever asks for a frame gets no answer until `go_on`."""
        self._may_look.clear()

    def go_on(self) -> None:
        self._may_look.set()

    def fire(self) -> None:
        self.fired += 1

    def look(self) -> None:
        self.looked_ns = time.monotonic_ns()
        threading.Event().wait(self.looks_for_s)

    def next_frame(self, timeout_s: float) -> Frame | None:
        self._may_look.wait()
        try:
            frame = self.frames.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(frame, Exception):
            raise frame
        return replace(frame, arrived_ns=time.monotonic_ns()) if self.arrive_now else frame


def frame(level: int, arrived_ns: int) -> Frame:
    return Frame(np.full((2, 2, 3), level, np.uint8), "rgb8", arrived_ns)


@contextmanager
def cabled(**settings: float) -> Iterator[tuple[LiveCamera, Scripted]]:
    """A camera that is triggered by its own cable, found and waiting."""
    source = Scripted()
    config = LiveConfig(**settings)  # type: ignore[arg-type]
    with LiveCamera("top", lambda: contextlib.nullcontext(source), config, Exposes.CABLED) as camera:
        wait_until(lambda: not camera.trouble)
        yield camera, source


@contextmanager
def exposing_all_the_time(**settings: float) -> Iterator[tuple[LiveCamera, Scripted]]:
    """The same of a camera that is FREE; a first frame, of long ago, has come."""
    source = Scripted()
    source.frames.put(frame(0, 0))
    config = LiveConfig(**settings)  # type: ignore[arg-type]
    with LiveCamera("top", lambda: contextlib.nullcontext(source), config, Exposes.FREE) as camera:
        wait_until(lambda: not camera.trouble)
        yield camera, source


def put(camera: LiveCamera, source: Scripted, *frames: Frame) -> None:
    """The frames have reached the camera."""
    known = camera.counts.frames
    for one in frames:
        source.frames.put(one)
    wait_until(lambda: camera.counts.frames == known + len(frames))


def level(taken: object) -> int | str:
    return taken.reason if isinstance(taken, Fault) else int(taken[0, 0, 0])  # type: ignore[index]


def test_each_trigger_gets_the_first_frame_since_it_and_no_frame_is_given_twice() -> None:
    with cabled(timeout_ms=60_000) as (camera, source):
        now_ns = time.monotonic_ns()
        put(camera, source, *(frame(n, now_ns + n * 10 * MS) for n in (1, 2, 3)))

        taken = [level(camera.shoot(now_ns + at * MS)) for at in (5, 15, 25)]

    assert taken == [1, 2, 3]


def test_a_frame_from_before_the_trigger_is_of_no_part() -> None:
    now_ns = time.monotonic_ns()
    with exposing_all_the_time(timeout_ms=60_000) as (camera, source):
        put(camera, source, frame(1, now_ns), frame(2, now_ns + 20 * MS))

        taken = level(camera.shoot(now_ns + 10 * MS))

    assert (taken, camera.counts.unasked) == (2, 1)


def test_with_a_delay_a_frame_that_left_the_camera_before_the_trigger_is_not_taken() -> None:
    now_ns = time.monotonic_ns()
    with exposing_all_the_time(timeout_ms=60_000, delay_ms=100) as (camera, source):
        put(camera, source, frame(1, now_ns + 99 * MS), frame(2, now_ns + 101 * MS))

        assert level(camera.shoot(now_ns)) == 2


def test_a_frame_that_is_later_than_the_timeout_is_nobodys_and_the_camera_is_opened_anew() -> None:
    """The next part would be judged by it, and the one after that by the next part's."""
    with cabled(timeout_ms=300) as (camera, source):
        began_ns = time.monotonic_ns()
        put(camera, source, frame(1, began_ns + 400 * MS), frame(2, began_ns + 410 * MS))

        first = level(camera.shoot(began_ns))
        second = level(camera.shoot(began_ns + 350 * MS))

    assert first == "camera top: no frame within 300 ms of the trigger"
    assert second == "camera top lost: 1 trigger(s) in a row without a frame"


def test_one_frame_that_is_lost_does_not_give_each_part_from_then_on_the_photograph_of_the_next() -> None:
    """Parts 100 ms apart, each on its way for 20 ms; the camera did not see the second trigger."""
    with cabled(timeout_ms=500) as (camera, source):
        began_ns = time.monotonic_ns()
        put(camera, source, *(frame(n, began_ns + (100 * n + 20) * MS) for n in (1, 3, 4)))

        called_back, taken = zip(*(heard_and_shot(camera, began_ns + 100 * n * MS) for n in (1, 2, 3)), strict=True)

    assert taken[:2] == (1, 3)
    assert called_back == (None, None, began_ns + 200 * MS)
    assert "timeout_ms 500 must be shorter than the time between two parts" in taken[2]


def heard_and_shot(camera: LiveCamera, triggered_ns: int) -> tuple[int | None, int | str]:
    """A part that is heard of once all before it have been photographed: which of them is called back, and what it gets."""
    return camera.expect(triggered_ns), level(camera.shoot(triggered_ns))


def test_a_part_whose_frame_was_lost_is_not_judged_by_the_frame_of_the_next_one_that_is_known_by_then() -> None:
    """Parts 100 ms apart, each on its way for 20 ms; the camera did not see the second trigger, and the third has come."""
    with cabled(timeout_ms=500) as (camera, source):
        began_ns = time.monotonic_ns()
        put(camera, source, *(frame(n, began_ns + (100 * n + 20) * MS) for n in (1, 3)))
        [camera.expect(began_ns + 100 * n * MS) for n in (1, 2, 3)]

        first, second = (level(camera.shoot(began_ns + 100 * n * MS)) for n in (1, 2))

    assert first == 1
    assert "timeout_ms 500 must be shorter than the time between two parts" in str(second)


def test_a_cabled_cameras_frame_from_before_its_part_is_no_reason_to_wait_for_the_next_parts() -> None:
    """Kensa hears of parts 60 ms later than the camera; a frame is on its way for 20 ms, and parts are 300 ms apart."""
    with cabled(timeout_ms=500) as (camera, source):
        began_ns = time.monotonic_ns()
        put(camera, source, *(frame(n, began_ns + (300 * n + 20) * MS) for n in (0, 1)))

        taken = level(camera.shoot(began_ns + 60 * MS))

    assert "a frame came 40 ms too early to be that of the part behind it" in str(taken)
    assert "delay_ms must be lower" in str(taken)


def test_parts_that_are_heard_of_later_than_by_the_camera_have_their_own_frames_with_a_delay_below_zero() -> None:
    with cabled(timeout_ms=150, delay_ms=-100) as (camera, source):
        began_ns = time.monotonic_ns() + 100 * MS
        put(camera, source, *(frame(n, began_ns + (300 * n + 20) * MS) for n in range(4)))

        taken = [heard_and_shot(camera, began_ns + (300 * n + late) * MS) for n, late in enumerate((60, 0, 90, 15))]

    assert taken == [(None, n) for n in range(4)]


def test_a_part_that_came_before_a_cabled_camera_was_opened_has_no_frame() -> None:
    """The first one that comes is the next part's."""
    before_ns = time.monotonic_ns()
    with cabled(timeout_ms=60_000) as (camera, source):
        put(camera, source, frame(2, time.monotonic_ns()))

        assert level(camera.shoot(before_ns)) == "camera top: the part came before the camera was opened"


def test_a_frame_that_a_cabled_camera_has_counted_and_nobody_has_got_is_a_lost_camera_until_it_is_opened_anew() -> None:
    """The third part would be judged by the fourth's. A count of 16 bits begins anew at 1."""
    with cabled(timeout_ms=60_000) as (camera, source):
        began_ns = time.monotonic_ns()
        for n, count in ((1, 65535), (2, 1), (4, 3)):
            source.frames.put(replace(frame(n, began_ns + (100 * n + 20) * MS), stamps=(count, 0)))

        taken = [level(camera.shoot(began_ns + 100 * n * MS)) for n in (1, 2, 3)]

    assert taken == [1, 2, "camera top lost: 1 frame(s) were lost before the one that it counts as 3"]


def test_parts_closer_than_their_frames_are_on_their_way_have_their_own_with_a_delay() -> None:
    with cabled(timeout_ms=500, delay_ms=140) as (camera, source):
        began_ns = time.monotonic_ns()
        put(camera, source, *(frame(n, began_ns + (100 * n + 150) * MS) for n in (1, 2, 3)))
        [camera.expect(began_ns + 100 * n * MS) for n in (1, 2, 3)]

        taken = [level(camera.shoot(began_ns + 100 * n * MS)) for n in (1, 2, 3)]

    assert taken == [1, 2, 3]


def test_a_trigger_heard_too_late_to_expose_for_it_is_a_fault_and_the_camera_is_not_lost() -> None:
    source, live = Scripted(), LiveConfig(timeout_ms=60_000)
    with LiveCamera("top", lambda: contextlib.nullcontext(source), live, Exposes.TOLD, fire_within_ms=150) as camera:
        wait_until(lambda: not camera.trouble)

        taken = level(camera.shoot(time.monotonic_ns() - 200 * MS))

        assert camera.trouble == ""
    assert "could not be told to expose within 150 ms after the trigger" in str(taken)
    assert source.fired == 0


def test_a_camera_that_is_busy_when_it_should_expose_does_not_do_so_once_the_part_is_elsewhere() -> None:
    source, live = Scripted(), LiveConfig(timeout_ms=60_000)
    with LiveCamera("top", lambda: contextlib.nullcontext(source), live, Exposes.TOLD, fire_within_ms=1000) as camera:
        wait_until(lambda: not camera.trouble)
        source.looks_for_s = 1.5
        wait_until(lambda: source.looked_ns > 0)

        first = level(camera.shoot(source.looked_ns))
        fired, source.looks_for_s = source.fired, 0.0
        source.frames.put(frame(1, time.monotonic_ns() + 1000 * MS))
        second = level(camera.shoot(time.monotonic_ns()))

    assert "could not be told to expose within 1000 ms after the trigger" in str(first)
    assert (fired, second) == (0, 1)


def test_a_part_that_comes_while_a_camera_still_takes_the_photograph_before_is_a_fault_and_exposes_nothing() -> None:
    """The belt moves on: exposed afterwards, its photograph would show another place."""
    source, live, began_ns = Scripted(), LiveConfig(timeout_ms=60_000), time.monotonic_ns()
    with LiveCamera("top", lambda: contextlib.nullcontext(source), live, Exposes.TOLD, fire_within_ms=60_000) as camera:
        wait_until(lambda: not camera.trouble)
        source.frames.put(frame(1, began_ns + 80 * MS))
        taken = [level(camera.shoot(began_ns + at * MS)) for at in (0, 79)]
        source.frames.put(frame(2, began_ns + 160 * MS))
        taken += [level(camera.shoot(began_ns + 81 * MS))]

    assert taken == [1, "camera top: the part came before the photograph of the one before it was taken", 2]
    assert source.fired == 2


def test_a_picture_that_was_held_up_on_its_way_is_not_that_of_a_part_that_came_meanwhile() -> None:
    began_ns = time.monotonic_ns()
    with exposing_all_the_time(timeout_ms=60_000) as (camera, source):
        put(camera, source, *(frame(n, began_ns + n * 50 * MS) for n in range(1, 9)))  # twenty a second ...
        put(camera, source, *(frame(n, began_ns + 1400 * MS + n * 2 * MS) for n in range(9, 12)))  # ... and a second of nothing

        held_up = level(camera.shoot(began_ns + 1000 * MS))
        put(camera, source, frame(12, began_ns + 1500 * MS))
        at_its_pace = level(camera.shoot(began_ns + 1450 * MS))

    assert held_up == "its frame came after a pause, and may be from before the trigger"
    assert at_its_pace == 12


def test_frames_that_waited_while_the_cameras_thread_stood_still_are_no_later_parts() -> None:
    with cabled(timeout_ms=1000) as (camera, source):
        source.stand_still()
        before_ns = time.monotonic_ns()
        for n in (1, 2):
            source.frames.put(frame(n, before_ns))  # of a part that nobody has heard of, and of ours
        wait_until(lambda: time.monotonic_ns() > before_ns + 1200 * MS)
        triggered_ns = time.monotonic_ns()
        source.arrive_now = True
        source.go_on()
        wait_until(lambda: camera.counts.frames == 2)

        taken = level(camera.shoot(triggered_ns))

    assert taken == "its frame came after a pause, and may be from before the trigger"


def test_frames_that_nobody_asks_for_are_bounded_and_the_oldest_go() -> None:
    with cabled(timeout_ms=60_000) as (camera, source):
        now_ns = time.monotonic_ns()
        put(camera, source, *(frame(n, now_ns + n * MS) for n in range(20)))

        assert level(camera.shoot(now_ns)) == 12
    assert camera.counts.unasked == 12


def test_two_triggers_in_a_row_without_a_frame_are_a_lost_camera_which_is_opened_anew() -> None:
    opened = []

    @contextmanager
    def opens() -> Iterator[Scripted]:
        opened.append(Scripted())
        opened[-1].frames.put(frame(0, 0))
        yield opened[-1]

    with LiveCamera("top", opens, LiveConfig(timeout_ms=20), Exposes.FREE) as camera:
        wait_until(lambda: not camera.trouble)

        taken = [level(camera.shoot(time.monotonic_ns())) for _ in range(2)]

        assert camera.trouble or len(opened) > 1
        wait_until(lambda: len(opened) > 1)
    assert taken == ["camera top: no frame within 20 ms of the trigger"] * 2


def test_a_camera_that_was_told_to_expose_and_gave_nothing_is_opened_anew_before_it_is_told_again() -> None:
    """Its late frame would be taken for the next part's."""
    source, opened = Scripted(), []

    def opening() -> contextlib.AbstractContextManager[Scripted]:
        opened.append(source)
        return contextlib.nullcontext(source)

    with LiveCamera("top", opening, LiveConfig(timeout_ms=20), Exposes.TOLD) as camera:
        wait_until(lambda: not camera.trouble)
        camera.shoot(time.monotonic_ns())

        again = level(camera.shoot(time.monotonic_ns()))

    assert str(again).startswith("camera top lost: 1 trigger(s) in a row without a frame")
    assert 1 <= source.fired <= len(opened)


def test_a_lost_camera_is_a_fault_at_once_and_not_after_the_timeout() -> None:
    def gone() -> contextlib.AbstractContextManager[Scripted]:
        raise CameraLostError("the cable is out")

    with LiveCamera("top", gone, LiveConfig(timeout_ms=60_000)) as camera:
        wait_until(lambda: "the cable is out" in camera.trouble)

        assert level(camera.shoot(time.monotonic_ns())) == "camera top lost: the cable is out"


def test_a_camera_lost_while_its_frame_is_waited_for_is_a_fault_at_once() -> None:
    with cabled(timeout_ms=60_000) as (camera, source):
        source.frames.put(CameraLostError("the cable is out"))

        assert level(camera.shoot(time.monotonic_ns())) == "camera top lost: the cable is out"


def test_a_thread_that_dies_of_a_mistake_is_loud() -> None:
    with cabled(timeout_ms=60_000) as (camera, source):
        source.frames.put(KeyError("a mistake of ours"))

        with pytest.raises(RuntimeError, match="the thread of camera top stopped"):
            camera.shoot(time.monotonic_ns())

        assert camera.trouble == "the thread of camera top stopped: KeyError('a mistake of ours')"
        assert not camera.is_there


@dataclass(frozen=True)
class Opening:
    """A camera's section; what is done at each attempt to open it."""

    attempt: Callable[[], contextlib.AbstractContextManager[Scripted]]

    def open(self) -> LiveCamera:
        return LiveCamera("top", self.attempt, LiveConfig(), Exposes.TOLD)


def test_who_asks_what_is_wrong_with_a_camera_waits_until_that_is_known() -> None:
    def answers_late() -> contextlib.AbstractContextManager[Scripted]:
        threading.Event().wait(0.5)
        raise CameraLostError("it does not answer")

    assert trouble_of(Opening(answers_late), within_s=0.1) == "camera top lost: it does not answer"


def test_of_a_camera_that_does_not_even_say_why_it_does_not_answer_that_is_told_in_the_end() -> None:
    def hangs() -> contextlib.AbstractContextManager[Scripted]:
        threading.Event().wait(2.0)
        raise CameraLostError("known too late")

    found = trouble_of(Opening(hangs), within_s=0.1, known_within_s=0.3)

    assert found == "camera top lost: it has not answered yet, or sends nothing"


def test_a_delay_beyond_the_timeout_is_refused() -> None:
    with pytest.raises(ValueError, match=r"delay_ms 600\.0 must be smaller than timeout_ms 500\.0"):
        LiveConfig(delay_ms=600.0)
