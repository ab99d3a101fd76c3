"""C1 to C3, C5, C6, C8: whatever happens to a camera, its parts are rejected as faults, and images come by themselves again.

All tests with a GigE Vision camera are here, one after the other: a fake one takes the protocol's own port.
"""

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest
from broker import Broker
from fake_cameras import gige, with_falling_edge
from gate_end import GateEnd, gate_end
from kensa_process import kensa
from photographed import photographed
from running_line import running
from small_camera import gives_images, reason_of, shoot, wait_for_fault, write_line
from waiting import wait_until

from agent.cameras import CameraLostError, genicam
from agent.cameras._aravis import aravis
from agent.cameras._live import LiveCamera
from agent.cameras._live_config import LiveConfig
from agent.cameras._source import Exposes, Frame
from agent.config import load_line
from agent.inspection import Cause, Fault, Part
from agent.link import Triggered
from agent.loop import inspect_forever
from agent.preprocess import Pixels
from agent.recipe_setup import Cameras
from agent.station import Station

SMALL = {"Width": 128, "Height": 128}
numbers = itertools.count()


def gige_config(serial: str, **settings: object) -> genicam.Config:
    """Patient, for the machine that tests run on may be busy."""
    patient = {"fire_within_ms": 10_000}
    return msgspec.convert({"camera": serial, "features": SMALL, **patient, **settings}, genicam.Config)


@pytest.fixture
def serial() -> str:
    """Of a camera that no other test has."""
    return f"K{os.getpid()}N{next(numbers)}"


@contextmanager
def inspecting(file: Path) -> Iterator[GateEnd]:
    """A station with these cameras, and the gate's end held by the test."""
    line, stop = load_line(file), threading.Event()
    line.state.mkdir(exist_ok=True)
    with gate_end(line.socket) as gate, Station(line) as station:
        thread = threading.Thread(target=inspect_forever, args=(station, stop))
        thread.start()
        try:
            gate.wait_for_attach()
            yield gate
        finally:
            gate.drop()
            stop.set()
            thread.join(timeout=20)


def cause_of_next(gate: GateEnd, parts: Iterator[int]) -> Cause:
    """Of a part that is triggered now."""
    part = Part("boot", next(parts))
    gate.trigger(part, until_gate_ms=3000)
    return gate.verdict_on(part).cause


# ---------------------------------------------------------------- it vanishes and comes back


def test_c1_a_camera_absent_at_boot_makes_faults_until_it_comes(serial: str, state: Path, bundle: Path) -> None:
    file = write_line(state, bundle, {"top": {"type": "genicam", "camera": serial, "features": SMALL}})
    parts = itertools.count(1)
    with gige(serial, plugged_in=False) as camera, inspecting(file) as gate:
        first = cause_of_next(gate, parts)

        camera.plug_in()

        wait_until(lambda: cause_of_next(gate, parts) is Cause.SCORE, timeout_s=20)
    assert first is Cause.FAULT


def test_c1_a_camera_that_is_not_there_is_the_stations_trouble_and_says_which_ones_are(serial: str) -> None:
    with gige("another"), gige_config(serial).open() as camera:
        wait_until(lambda: "another" in camera.trouble, timeout_s=20)

        assert camera.trouble.startswith(f"camera {serial} lost: no camera with serial number or id {serial}, there are:")


def test_c2_a_camera_killed_mid_run_rejects_its_parts_and_resumes_within_five_seconds_and_nothing_restarts(
    serial: str, state: Path, bundle: Path, broker: Broker
) -> None:
    file = write_line(state, bundle, {"top": {"type": "genicam", "camera": serial, "features": SMALL}}, broker)
    with gige(serial) as camera, running(file, broker) as (line, subscriber):

        def told(cause: str, since_ns: int) -> list[int]:
            """Instants of the parts triggered since then that ended so."""
            ended = [event["data"] for event in subscriber.results]
            return sorted(e["triggered_ns"] for e in ended if e["cause"] == cause and e["triggered_ns"] > since_ns)

        wait_until(lambda: told("score", 0), timeout_s=30)
        camera.pull_out()
        killed_ns = time.monotonic_ns()
        wait_until(lambda: len(told("fault", killed_ns)) > 3, timeout_s=20)
        camera.plug_in()
        back_ns = time.monotonic_ns()
        wait_until(lambda: told("score", back_ns), timeout_s=20)
        meanwhile = [event["data"] for event in subscriber.results if killed_ns < event["data"]["triggered_ns"] < back_ns]

    assert told("score", back_ns)[0] - back_ns <= 5e9  # what the requirements ask for; 2 s is usual
    assert {event["outcome"] for event in meanwhile} == {"reject"}
    assert sum(entry.get("message") == "inspection ready" for entry in line.log) == 1
    assert len({event["data"]["part"]["boot"] for event in subscriber.results}) == 1


def test_c3_a_camera_that_comes_back_with_other_settings_is_set_again_before_it_is_used(serial: str) -> None:
    """The fake camera forgets all when it is killed: its own images are 512x512 px of 8 bit."""
    with gige(serial) as device, gige_config(serial, pixel_format="Mono16", exposure_us=5000.0).open() as camera:
        wait_until(lambda: gives_images(camera), timeout_s=20)
        device.pull_out()
        wait_for_fault(camera, "lost")

        device.plug_in()

        taken: list[Pixels | Fault] = []
        wait_until(lambda: taken.append(shoot(camera)) or isinstance(taken[-1], np.ndarray), timeout_s=20)
    image = taken[-1]
    assert isinstance(image, np.ndarray)
    assert (image.shape, image.dtype) == ((128, 128, 3), np.uint16)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"features": {"AcquisitionMode": "Sometimes"}}, "Sometimes"),
        ({"features": {"NoSuch": "On"}}, "NoSuch"),
        ({"trigger": "Line77"}, "Line77"),
        ({"features": {"GainAuto": "Continuous"}, "gain": 1.0}, "GainAuto is Off after it was set to Continuous: another"),
    ],
    ids=["value", "feature", "input", "overruled"],
)
def test_c3_a_setting_that_the_camera_does_not_take_keeps_it_lost_and_is_named(
    serial: str, settings: dict[str, object], says: str
) -> None:
    with gige(serial), gige_config(serial, **settings).open() as camera:
        wait_until(lambda: says in camera.trouble, timeout_s=20)

        assert says in reason_of(shoot(camera))


@contextmanager
def two_edged(serial: str, folder: Path, **settings: object) -> Iterator[genicam.GenicamSource]:
    """A camera whose triggers know both edges, opened with these settings."""
    (folder / "camera.xml").write_text(with_falling_edge())
    config = gige_config(serial, **settings)
    with gige(serial, description=folder / "camera.xml"):
        wait_until(lambda: is_found(serial), timeout_s=20)
        with genicam._opened(config) as source:
            yield source


def is_found(serial: str) -> bool:
    with contextlib.suppress(CameraLostError):
        return bool(genicam._id_of(aravis(), serial))
    return False


def settings_of(source: genicam.GenicamSource, *names: str) -> list[str]:
    return [aravis().camera_get_string(source._camera, name.encode()).decode() for name in names]


@pytest.mark.parametrize("trigger", ["software", "Line0", "free"])
def test_c3_the_edge_of_the_trigger_is_the_one_that_was_asked_for(serial: str, tmp_path: Path, trigger: str) -> None:
    with two_edged(serial, tmp_path, trigger=trigger, features={"TriggerActivation": "FallingEdge"}) as source:
        assert settings_of(source, "TriggerActivation") == ["FallingEdge"]


def test_c3_features_behind_a_selector_are_of_what_it_selects_and_the_trigger_stays_the_one_of_kensa(
    serial: str, tmp_path: Path
) -> None:
    features = {"TriggerActivation": "FallingEdge", "TriggerSelector": "AcquisitionStart", "TriggerSource": "Line0"}
    names = ("TriggerSelector", "TriggerActivation", "TriggerSource", "TriggerMode")
    with two_edged(serial, tmp_path, features=features) as source:
        own = settings_of(source, *names)
        aravis().camera_set_string(source._camera, b"TriggerSelector", b"AcquisitionStart")
        other = settings_of(source, *names)

    assert own == ["FrameStart", "FallingEdge", "Software", "On"]
    assert other == ["AcquisitionStart", "RisingEdge", "Line0", "Off"]


def test_c3_a_whole_number_is_a_number_for_a_feature_with_decimals_too(serial: str) -> None:
    with gige(serial), gige_config(serial, features={**SMALL, "AcquisitionFrameRate": 10}).open() as camera:
        wait_until(lambda: gives_images(camera), timeout_s=20)


def test_c8_a_frame_in_another_format_is_a_lost_camera_and_no_torn_frame(serial: str, tmp_path: Path) -> None:
    with two_edged(serial, tmp_path, pixel_format="Mono16") as source:
        eight_bit = genicam.GenicamSource(aravis(), source._camera, source._stream, gige_config(serial))
        eight_bit.fire()

        with pytest.raises(CameraLostError, match=r"a frame in pixel format 0x01100007, expected Mono8 \(0x01080001\): does"):
            eight_bit.next_frame(10.0)


def test_c3_a_camera_has_the_other_recipes_settings_after_a_change_over(serial: str) -> None:
    wide, narrow = (gige_config(serial, features={"Width": width, "Height": 64}) for width in (128, 64))
    with gige(serial), closing(Cameras({"top": wide}, within_s=20)) as cameras:
        wait_until(lambda: not cameras.photographer.trouble, timeout_s=20)
        before = shape_of_next(cameras)
        cameras.change({"top": narrow}, lambda: None)

        assert (before, shape_of_next(cameras)) == ((64, 128, 3), (64, 64, 3))


def shape_of_next(cameras: Cameras) -> tuple[int, ...]:
    """Of the image of a part that is triggered now."""
    now_ns = time.monotonic_ns()
    (shot,) = photographed(cameras.photographer, Triggered(Part("boot", 1), now_ns, now_ns + 10_000_000_000))
    return shot.image.shape if isinstance(shot.image, np.ndarray) else ()


# ---------------------------------------------------------------- images that are none


class Stuck:
    """A source with new pixels in each frame, whose count and time stand still from the third frame on."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self._n = 0

    def fire(self) -> None:
        self._n += 1

    def look(self) -> None:
        pass

    def next_frame(self, timeout_s: float) -> Frame | None:
        count = min(self._n, 3)
        image = self._random.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        return Frame(image, "rgb8", time.monotonic_ns(), (count, 1000 * count))


def test_c5_a_frame_whose_count_and_time_stand_still_is_stale_however_much_its_pixels_change() -> None:
    with LiveCamera(
        "top", lambda: contextlib.nullcontext(Stuck()), LiveConfig(timeout_ms=60_000), Exposes.TOLD, fire_within_ms=60_000
    ) as camera:
        wait_until(lambda: not camera.trouble)

        taken = [shoot(camera) for _ in range(5)]

    assert ["stale" in reason_of(shot) for shot in taken] == [False, False, False, True, True]


def test_c6_lost_packets_give_faults_and_never_torn_images(serial: str) -> None:
    """A fake camera's image has equal diagonals; what lacks a packet has not."""
    with gige(serial, lost=20), genicam.Config(camera=serial).open() as camera:
        wait_until(lambda: not camera.trouble or "torn" in camera.trouble, timeout_s=20)

        taken = [shoot(camera) for _ in range(25)]

    whole = [shot for shot in taken if isinstance(shot, np.ndarray)]
    assert any("torn frame" in reason_of(shot) for shot in taken)
    assert [np.array_equal(image[1:, :-1], image[:-1, 1:]) for image in whole] == [True] * len(whole)


def test_c6_a_link_that_tears_many_frames_is_the_stations_trouble(serial: str) -> None:
    with gige(serial, lost=50), genicam.Config(camera=serial).open() as camera:
        wait_until(lambda: [shoot(camera)] and "came torn: look at its cable" in camera.trouble, timeout_s=20)


def test_c8_a_camera_without_the_pixel_format_is_refused_by_name(serial: str) -> None:
    with gige(serial), gige_config(serial, pixel_format="Mono12").open() as camera:
        wait_for_fault(camera, "Mono12")


def test_a_camera_library_that_is_not_installed_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    from agent.cameras import _aravis

    monkeypatch.setattr(_aravis, "LIBRARY", "libaravis-9.9.so.0")

    with pytest.raises(CameraLostError, match=r"Debian: libaravis-0\.8-0"):
        _aravis.Aravis()


def test_c1_kensa_check_says_that_a_camera_is_not_there(serial: str, state: Path, bundle: Path) -> None:
    file = write_line(state, bundle, {"top": {"type": "genicam", "camera": serial}})

    finished = kensa("check", str(file))

    assert finished.returncode == 0, finished.stderr
    assert f"note: cameras.top: camera {serial} lost: no camera with serial number or id {serial}" in finished.stdout
