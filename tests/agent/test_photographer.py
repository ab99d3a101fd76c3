"""Photographs are asked for when parts are triggered, answered in their order, and judged by whoever reads them."""

import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
import pytest
from photographed import PLAIN, all_by, photographed
from waiting import wait_until

from agent.cameras import process
from agent.cameras._live import LiveCamera
from agent.cameras._live_config import LiveConfig
from agent.cameras._source import Exposes, Frame
from agent.inspection import Fault, Part, Shot
from agent.link import Triggered
from agent.photographer import Photographer, Standard
from agent.preprocess import Pixels
from agent.watch import look_of, usual_of

MINUTE_NS = 60_000_000_000


class Counting:
    """A camera whose n-th photograph has the level n; gives none before it is `let`."""

    trouble = ""
    is_there = True

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.let = threading.Event()
        self.let.set()

    def expect(self, triggered_ns: int) -> None:
        pass

    def shoot(self, triggered_ns: int) -> Pixels:
        self.asked.append(triggered_ns)
        n = len(self.asked)
        self.let.wait()
        return np.full((4, 4, 3), n, np.uint8)


class Told:
    """A source that exposes when it is told to; `exposed`: how often it has been."""

    def __init__(self) -> None:
        self.exposed = 0

    def fire(self) -> None:
        self.exposed += 1

    def look(self) -> None:
        pass

    def next_frame(self, timeout_s: float) -> Frame | None:
        return Frame(np.full((2, 2, 3), self.exposed, np.uint8), "rgb8", time.monotonic_ns())


@pytest.fixture
def camera() -> Counting:
    return Counting()


@pytest.fixture
def photographer(camera: Counting) -> Iterator[Photographer]:
    with Photographer({"top": camera}) as photographer:
        yield photographer
        camera.let.set()


def part(n: int) -> Triggered:
    now_ns = time.monotonic_ns()
    return Triggered(Part("boot", n), now_ns, now_ns + MINUTE_NS)


def ask_for(photographer: Photographer, *triggers: Triggered) -> None:
    for trigger in triggers:
        photographer.ask(trigger, PLAIN)


def seen(shots: tuple[Shot, ...]) -> int | str:
    """The level of the only photograph, or what is wrong with it."""
    (shot,) = shots
    return shot.image.reason if isinstance(shot.image, Fault) else int(shot.image[0, 0, 0])


def test_a_camera_that_is_told_to_expose_does_so_while_the_parts_before_are_still_to_be_judged() -> None:
    """The belt moves on: exposed once they are judged, it would be of another place or of the next part."""
    source, live = Told(), LiveConfig(timeout_ms=60_000, same_in_a_row=None)
    with LiveCamera("top", lambda: nullcontext(source), live, Exposes.TOLD, fire_within_ms=60_000) as camera:
        wait_until(lambda: not camera.trouble)
        with Photographer({"top": camera}) as photographer:
            ask_for(photographer, first := part(1))
            wait_until(lambda: camera.counts.frames == 1)
            ask_for(photographer, second := part(2))
            wait_until(lambda: source.exposed == 2)  # and nobody has fetched the first part's photograph yet

            assert [seen(photographer.answer(trigger, PLAIN)) for trigger in (first, second)] == [1, 2]


def test_what_is_wrong_is_told_by_the_name_that_a_camera_has_in_the_line() -> None:
    """Two of one program have no other names."""
    config = process.Config(command=("false",), width=4, height=4)
    with config.open() as left, config.open() as right, Photographer({"left": left, "right": right}) as photographer:
        wait_until(lambda: photographer.trouble.count("ended with status 1") == 2)

        assert photographer.trouble.startswith("left: camera false lost: ")
        assert "; right: camera false lost: " in photographer.trouble
        assert photographer.away.count("ended with status 1") == 2


def test_each_part_has_its_own_photograph_in_the_order_of_the_triggers(photographer: Photographer, camera: Counting) -> None:
    parts = [part(n) for n in range(1, 6)]

    ask_for(photographer, *parts)

    assert [seen(photographer.answer(trigger, PLAIN)) for trigger in parts] == [1, 2, 3, 4, 5]
    assert camera.asked == [trigger.triggered_ns for trigger in parts]


def test_photographs_that_wait_are_bounded_and_the_parts_beyond_are_faults_that_say_so(
    photographer: Photographer, camera: Counting
) -> None:
    parts = [part(n) for n in range(1, 12)]
    ask_for(photographer, *parts)

    taken = [seen(photographer.answer(trigger, PLAIN)) for trigger in parts]
    next_one = seen(photographed(photographer, part(12)))

    assert taken[:8] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [str(reason).partition(" were owed")[0] for reason in taken[8:]] == ["camera top was not asked: 8 photographs"] * 3
    assert next_one == 9


def test_a_camera_that_hangs_holds_up_nobody_who_asks_and_owes_a_bounded_number(
    photographer: Photographer, camera: Counting
) -> None:
    camera.let.clear()
    gone = [Triggered(Part("boot", n), 0, time.monotonic_ns()) for n in range(1, 31)]  # at their gates already

    reasons = [seen(photographed(photographer, gone[0]))]
    wait_until(lambda: camera.asked)
    reasons += [seen(photographed(photographer, trigger)) for trigger in gone[1:]]
    camera.let.set()
    wait_until(lambda: photographer._threads[0]._asked.empty())
    after = seen(photographed(photographer, part(31)))

    assert {str(reason).partition(":")[0] for reason in reasons[:8]} == {"not inspected"}
    assert {str(reason).partition(":")[0] for reason in reasons[9:]} == {"camera top was not asked"}
    assert after == len(camera.asked)
    assert len(camera.asked) <= 1 + 8 + 1  # the one that hung, those owed, and the last


def test_a_photograph_that_nobody_fetched_is_never_a_later_parts_and_makes_room(
    photographer: Photographer, camera: Counting
) -> None:
    forgotten, wanted = [part(n) for n in range(1, 8)], part(8)
    ask_for(photographer, *forgotten, wanted)

    fetched = seen(photographer.answer(wanted, PLAIN))
    later = [part(n) for n in range(9, 17)]
    ask_for(photographer, *later)

    assert fetched == 8
    assert [seen(photographer.answer(trigger, PLAIN)) for trigger in later] == list(range(9, 17))


def test_a_photograph_is_judged_by_the_bundle_that_reads_it_though_another_was_there_when_it_was_taken(
    photographer: Photographer, camera: Counting
) -> None:
    dark = usual_of([look_of(np.full((4, 4, 3), level, np.uint8)) for level in (1, 1, 2, 2, 3, 3)])
    bright = usual_of([look_of(np.full((4, 4, 3), level, np.uint8)) for level in (200, 200, 201, 201, 202, 202)])
    of_this_model, of_the_next = all_by(Standard(65535, dark)), all_by(Standard(65535, bright))
    first, second = part(1), part(2)
    photographer.ask(first, of_this_model)
    photographer.ask(second, of_this_model)

    by_this = seen(photographer.answer(first, of_this_model))
    by_the_next = seen(photographer.answer(second, of_the_next))

    assert by_this == 1
    assert str(by_the_next).startswith("camera top: too dark")


def test_cameras_that_are_closed_for_another_recipe_are_asked_for_nothing(camera: Counting) -> None:
    with Photographer({"top": camera}) as before:
        pass
    trigger = part(1)

    before.ask(trigger, PLAIN)
    with Photographer({"top": camera}) as after:
        taken = seen(after.answer(trigger, PLAIN))

    assert "a recipe was being changed" in str(taken)
    assert camera.asked == []


def test_a_cameras_mistake_is_loud() -> None:
    class Breaks(Counting):
        def expect(self, triggered_ns: int) -> None:
            pass

        def shoot(self, triggered_ns: int) -> Pixels:
            raise KeyError("a mistake of ours")

    with Photographer({"top": Breaks()}) as photographer, pytest.raises(RuntimeError, match="the thread of camera top stopped"):
        photographed(photographer, part(1))


def test_while_a_camera_is_waited_for_progress_is_told_each_second(photographer: Photographer, camera: Counting) -> None:
    camera.let.clear()
    told_s: list[float] = []
    trigger = part(1)
    photographer.ask(trigger, PLAIN)
    threading.Timer(2.5, camera.let.set).start()

    (shot,) = photographer.answer(trigger, PLAIN, progress=lambda: told_s.append(time.monotonic()))

    assert not isinstance(shot.image, Fault)
    assert len(told_s) == 2
