"""C1 to C8, C12 to C15: whatever happens to a camera, its parts are rejected as faults, and images come by themselves again."""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from broker import Broker
from fake_cameras import gige, rtsp_stream, writing
from gate_end import GateEnd, gate_end
from kensa_process import kensa
from proxy import proxy
from running_line import running
from small_bundle import photograph, write_bundle, write_photographs
from waiting import wait_until

from agent.cameras import Camera, CameraConfig, CameraLostError, genicam, process, rtsp, v4l2
from agent.cameras._live import Exposes, Frame, LiveCamera, LiveConfig
from agent.config import load_line
from agent.inspection import Cause, Fault, Part
from agent.link import Triggered
from agent.loop import Station, inspect_forever
from agent.photographer import Photographer, Standard
from agent.preprocess import Pixels
from agent.recipe_setup import Cameras
from agent.watch import look_of, usual_of

SMALL = {"Width": 128, "Height": 128}
NOISE = "os.urandom(64 * 48 * 3)"
numbers = itertools.count()


def shoot(camera: Camera) -> Pixels | Fault:
    taken = camera.shoot(time.monotonic_ns())
    assert isinstance(taken, np.ndarray | Fault)
    return taken


def gives_images(camera: Camera) -> bool:
    return isinstance(shoot(camera), np.ndarray)


def reason_of(taken: Pixels | Fault) -> str:
    return taken.reason if isinstance(taken, Fault) else ""


def wait_for_fault(camera: Camera, says: str) -> None:
    wait_until(lambda: says in reason_of(shoot(camera)), timeout_s=20)


def of_process(command: tuple[str, ...], **settings: object) -> process.Config:
    """64x48 RGB."""
    return msgspec.convert({"command": command, "width": 64, "height": 48, "stall_ms": 1000, **settings}, process.Config)


def gige_config(serial: str, **settings: object) -> genicam.Config:
    return msgspec.convert({"camera": serial, "features": SMALL, **settings}, genicam.Config)


@pytest.fixture
def serial() -> str:
    """Of a camera that no other test has."""
    return f"K{os.getpid()}N{next(numbers)}"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "small"
    write_bundle(folder)
    return folder


@pytest.fixture
def state() -> Iterator[Path]:
    """An empty folder with a short path."""
    folder = Path(tempfile.mkdtemp(prefix="k"))
    yield folder
    shutil.rmtree(folder)


def write_line(folder: Path, bundle: Path, cameras: dict[str, object], broker: Broker | None = None) -> Path:
    file = folder / "line.yaml"
    port = broker.port if broker else 1
    content = {
        "station": "press-3",
        "bundle": str(bundle),
        "state": "state",
        "cameras": cameras,
        "trigger": {"type": "timer", "period_ms": 200},
        "ejector": {"type": "dryrun"},
        "gate": {"travel_ms": 1000},
        "runtime": {"type": "onnxruntime", "threads": 1},
        "mqtt": {"host": "127.0.0.1", "port": port, "topic": "test/line-1"},
    }
    file.write_bytes(msgspec.yaml.encode(content))
    return file


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
    ],
    ids=["value", "feature", "input"],
)
def test_c3_a_setting_that_the_camera_does_not_take_keeps_it_lost_and_is_named(
    serial: str, settings: dict[str, object], says: str
) -> None:
    with gige(serial), gige_config(serial, **settings).open() as camera:
        wait_until(lambda: says in camera.trouble, timeout_s=20)

        assert says in reason_of(shoot(camera))


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
    (shot,) = cameras.photographer.shoot(Triggered(Part("boot", 1), now_ns, now_ns + 10_000_000_000), Standard(255))
    return shot.image.shape if isinstance(shot.image, np.ndarray) else ()


# ---------------------------------------------------------------- images that are none


def test_c4_from_the_second_equal_image_on_a_camera_is_frozen_and_it_ends_by_itself() -> None:
    frozen_for_a_while = "bytes(64 * 48 * 3) if n < 100 else os.urandom(64 * 48 * 3)"
    with of_process(writing(frozen_for_a_while)).open() as camera:
        wait_until(lambda: gives_images(camera))

        frozen = [reason_of(shoot(camera)) for _ in range(3)]

        wait_until(lambda: gives_images(camera))
    assert ["frozen" in reason for reason in frozen] == [True] * 3


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
    with LiveCamera("top", lambda: contextlib.nullcontext(Stuck()), LiveConfig(), Exposes.TOLD) as camera:
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


def test_c6_a_frame_that_its_program_did_not_finish_is_never_an_image() -> None:
    half_then_end = writing(NOISE, "(sys.stdout.buffer.write(bytes(100)), sys.stdout.flush(), sys.exit(7)) if n == 3 else None")
    with of_process(half_then_end).open() as camera:
        wait_until(lambda: gives_images(camera))

        wait_for_fault(camera, "ended with status 7 in the middle of a frame, after 100 bytes of it")


def test_c6_a_program_that_stops_in_the_middle_of_a_frame_is_started_again() -> None:
    stuck = writing(NOISE, "(sys.stdout.buffer.write(bytes(100)), sys.stdout.flush(), time.sleep(60)) if n == 3 else None")
    with of_process(stuck, stall_ms=300).open() as camera:
        wait_for_fault(camera, "no whole frame for 0.3 s, 100 bytes of one")

        wait_until(lambda: gives_images(camera))


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
    folder = msgspec.convert({"path": str(tmp_path / "shown")}, load_driver("folder"))
    with folder.open() as camera, Photographer({"top": camera}) as photographer:
        (good,) = photographer.shoot(part_now(1), Standard(65535, usual))

        (spoiled,) = photographer.shoot(part_now(2), Standard(65535, usual))

    assert isinstance(good.image, np.ndarray)
    assert isinstance(spoiled.image, Fault)
    assert spoiled.image.reason.startswith(f"camera top: {says}")


def test_c8_frames_of_another_size_are_refused_with_what_was_expected() -> None:
    other = writing("b'P6\\n48 64\\n255\\n' + os.urandom(64 * 48 * 3)")
    with of_process(other, layout="pnm").open() as camera:
        wait_for_fault(camera, "expected frames of 64x48 px as P5 or P6, found 'P6 48 64 255'")


def test_c8_a_camera_without_the_pixel_format_is_refused_by_name(serial: str) -> None:
    with gige(serial), gige_config(serial, pixel_format="Mono12").open() as camera:
        wait_for_fault(camera, "Mono12")


# ---------------------------------------------------------------- several cameras, and what is between


def part_now(n: int, until_gate_ms: float = 10_000) -> Triggered:
    now_ns = time.monotonic_ns()
    return Triggered(Part("boot", n), now_ns, now_ns + round(until_gate_ms * 1e6))


def load_driver(name: str) -> type[CameraConfig]:
    from agent.drivers import driver

    config: type[CameraConfig] = driver("agent.cameras", name).Config
    return config


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

    def __init__(self) -> None:
        self.let = threading.Event()
        self._n = 0

    def shoot(self, triggered_ns: int) -> Pixels:
        self._n += 1
        n = self._n
        self.let.wait()
        return np.full((4, 4, 3), n, np.uint8)


def test_c12_a_photograph_that_comes_too_late_is_never_the_next_parts() -> None:
    hangs = Slow()
    with Photographer({"top": hangs}) as photographer:
        (late,) = photographer.shoot(part_now(1, until_gate_ms=100), Standard(65535))
        hangs.let.set()

        (next_one,) = photographer.shoot(part_now(2), Standard(65535))

    assert isinstance(late.image, Fault)
    assert isinstance(next_one.image, np.ndarray)
    assert int(next_one.image[0, 0, 0]) == 2


def test_c12_a_camera_that_hangs_keeps_the_other_from_nothing() -> None:
    hangs, works = Slow(), Slow()
    works.let.set()
    with Photographer({"top": hangs, "side": works}) as photographer:
        shots = photographer.shoot(part_now(1, until_gate_ms=300), Standard(65535))
        hangs.let.set()

    assert [shot.camera for shot in shots] == ["top", "side"]
    assert "had passed" in reason_of(shots[0].image)


def test_c13_a_program_that_crashes_in_native_code_is_started_again_and_the_other_camera_goes_on(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    told = writing(NOISE, f"open({str(pid_file)!r}, 'w').write(str(os.getpid())) if n == 0 else None")
    with of_process(told).open() as crashes, of_process(writing(NOISE)).open() as other:
        wait_until(lambda: gives_images(crashes) and gives_images(other))

        os.kill(int(pid_file.read_text()), signal.SIGSEGV)

        wait_for_fault(crashes, "SIGSEGV")
        wait_until(lambda: gives_images(crashes) and gives_images(other))
    assert (crashes.counts.times_lost, other.counts.times_lost) == (1, 0)


def test_a_program_is_gone_with_all_its_children_when_the_camera_is_closed() -> None:
    with of_process(("sh", "-c", "sleep 3600 & exec cat /dev/urandom")).open() as camera:
        wait_until(lambda: gives_images(camera))
        before = subprocess.run(["pgrep", "-f", "sleep 3600", "-P", "1"], capture_output=True, text=True).stdout

    assert subprocess.run(["pgrep", "-f", "sleep 3600", "-P", "1"], capture_output=True, text=True).stdout == before


def test_a_stream_gives_pictures_of_the_moment_in_its_colors() -> None:
    """The ball is white on black; it moves, so no two pictures in a row are equal."""
    with rtsp_stream() as port, rtsp.Config(url=f"rtsp://127.0.0.1:{port}/line", width=160, height=120).open() as camera:
        wait_until(lambda: gives_images(camera), timeout_s=30)

        image = shoot(camera)

    assert isinstance(image, np.ndarray)
    assert (image.shape, image.max() > 200, image.min() < 50) == ((120, 160, 3), True, True)


def test_c14_a_stream_that_stalls_with_its_connection_open_is_lost_and_comes_back() -> None:
    with rtsp_stream() as port, proxy(port) as network:
        config = rtsp.Config(url=f"rtsp://127.0.0.1:{network.port}/line", width=160, height=120, stall_ms=700)
        with config.open() as camera:
            wait_until(lambda: gives_images(camera), timeout_s=30)

            network.freeze()
            wait_for_fault(camera, "no whole frame for 0.7 s")

            network.thaw()
            wait_until(lambda: gives_images(camera), timeout_s=30)


def test_c8_a_stream_of_another_size_is_refused_with_what_was_expected() -> None:
    with rtsp_stream() as port, rtsp.Config(url=f"rtsp://127.0.0.1:{port}/line", width=640, height=480).open() as camera:
        wait_until(lambda: "expected frames of 640x480 px" in camera.trouble, timeout_s=30)

        assert "160 120" in camera.trouble


def test_c15_a_video_device_is_named_by_its_link_and_not_by_its_number() -> None:
    with pytest.raises(ValueError, match="may be another camera after the next start"):
        v4l2.Config(path="/dev/video0", width=640, height=480)


def test_c15_a_link_is_followed_anew_at_each_attempt(tmp_path: Path) -> None:
    """No video device here: that OpenCV refuses each of the two files by its own name shows that the link was followed."""
    link = tmp_path / "usb-Acme_Camera_0042-video-index0"
    with v4l2.Config(path=str(link), width=64, height=48).open() as camera:
        wait_until(lambda: "is not there: is it plugged in?" in camera.trouble)
        (tmp_path / "video-two").touch()

        link.symlink_to(tmp_path / "video-two")

        wait_until(lambda: f"{tmp_path / 'video-two'} cannot be opened" in camera.trouble, timeout_s=20)


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
