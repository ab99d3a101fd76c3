"""C7, C12: photographs that show nothing of a part, come too late, or not from each camera."""

import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from broker import Broker
from photographed import all_by, photographed
from running_line import running
from small_bundle import photograph, write_photographs
from small_camera import part_now, reason_of, write_line

from agent.cameras import folder
from agent.inspection import Fault
from agent.photographer import Photographer, Standard
from agent.preprocess import Pixels
from agent.watch import look_of, usual_of


@pytest.mark.parametrize(
    ("spoil", "says"),
    [(np.zeros_like, "too dark"), (lambda image: np.full_like(image, 255), "too bright"),
     (lambda image: cv2.GaussianBlur(image, (0, 0), 4), "nothing to be seen")],
    ids=["light off", "saturated", "out of focus until nothing is left"],
)  # fmt: skip
def test_c7_a_photograph_unlike_those_of_good_parts_is_a_fault_and_not_judged(
    tmp_path: Path, spoil: Callable[[np.ndarray], np.ndarray], says: str
) -> None:
    random = np.random.default_rng(3)
    usual = usual_of([look_of(photograph(random)) for _ in range(20)])
    write_photographs(tmp_path / "shown", 2)
    second = tmp_path / "shown" / "0001.png"
    cv2.imwrite(str(second), spoil(cv2.imread(str(second))))
    shown = msgspec.convert({"path": str(tmp_path / "shown")}, folder.Config)
    with shown.open() as camera, Photographer({"top": camera}) as photographer:
        (good,) = photographed(photographer, part_now(1), all_by(Standard(65535, usual)))

        (spoiled,) = photographed(photographer, part_now(2), all_by(Standard(65535, usual)))

    assert isinstance(good.image, np.ndarray)
    assert isinstance(spoiled.image, Fault)
    assert spoiled.image.reason.startswith(f"camera top: {says}")


def test_c12_a_part_that_one_of_two_cameras_did_not_see_is_rejected_as_a_fault_with_both_readings(
    state: Path, bundle: Path, broker: Broker
) -> None:
    write_photographs(state / "photographs", 1)
    cameras = {
        "top": {"type": "folder", "path": "photographs"},
        "side": {"type": "process", "command": ["false"], "width": 64, "height": 48},
    }
    with running(write_line(state, bundle, cameras, broker), broker) as (_, subscriber):
        subscriber.wait_for(2, timeout_s=30)

    ends = [event["data"] for event in subscriber.results]
    judged = [e for e in ends if e["readings"]]
    assert {(e["outcome"], e["cause"]) for e in judged} == {("reject", "fault")}
    assert [[reading["camera"] for reading in e["readings"]] for e in judged] == [["top", "side"]] * len(judged)
    assert {(e["readings"][0]["fault"], "false: ended with status 1" in e["readings"][1]["fault"]) for e in judged} == {
        (None, True)
    }


class Slow:
    """A camera that gives the number of the trigger it was asked for, only when it is let."""

    trouble = ""
    is_there = True

    def __init__(self) -> None:
        self.let = threading.Event()
        self._n = 0

    def expect(self, triggered_ns: int) -> None:
        pass

    def shoot(self, triggered_ns: int) -> Pixels:
        self._n += 1
        n = self._n
        self.let.wait()
        return np.full((4, 4, 3), n, np.uint8)


def test_c12_a_photograph_that_comes_too_late_is_never_the_next_parts() -> None:
    hangs = Slow()
    with Photographer({"top": hangs}) as photographer:
        (late,) = photographed(photographer, part_now(1, until_gate_ms=100))
        hangs.let.set()

        (next_one,) = photographed(photographer, part_now(2))

    assert isinstance(late.image, Fault)
    assert isinstance(next_one.image, np.ndarray)
    assert int(next_one.image[0, 0, 0]) == 2


def test_c12_a_camera_that_hangs_keeps_the_other_from_nothing() -> None:
    hangs, works = Slow(), Slow()
    works.let.set()
    with Photographer({"top": hangs, "side": works}) as photographer:
        shots = photographed(photographer, part_now(1, until_gate_ms=300))
        hangs.let.set()

    assert [shot.camera for shot in shots] == ["top", "side"]
    assert "had passed" in reason_of(shots[0].image)
