"""C4, C6, C8, C13 to C15: cameras behind a program that writes their frames, behind a network, behind a device's name."""

import os
import signal
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from fake_cameras import rtsp_stream, writing
from kensa_process import is_at_work, running
from proxy import proxy
from small_camera import NOISE, gives_images, of_process, reason_of, shoot, wait_for_fault
from waiting import wait_until

from agent.cameras import CameraLostError, rtsp, v4l2
from agent.cameras._pipe import Pipe, Program, open_pipe
from agent.cameras._video import frames


def test_c4_from_the_second_equal_image_on_a_camera_is_frozen_and_it_ends_by_itself() -> None:
    frozen_for_a_while = "bytes(range(256)) * 36 if n < 100 else os.urandom(64 * 48 * 3)"
    with of_process(writing(frozen_for_a_while)).open() as camera:
        wait_until(lambda: gives_images(camera))

        frozen = [reason_of(shoot(camera)) for _ in range(3)]

        wait_until(lambda: gives_images(camera))
    assert ["frozen" in reason for reason in frozen] == [True] * 3


@pytest.mark.parametrize("level", [0, 255], ids=["black", "white"])
def test_c4_c7_a_camera_that_sees_nothing_is_not_told_of_as_frozen(level: int) -> None:
    with of_process(writing(f"bytes([{level}]) * (64 * 48 * 3)")).open() as camera:
        wait_for_fault(camera, f"sees nothing, all pixels are {level} (light, lens, exposure?)")


PRINTS = """
import os, sys, time
print("creating the output stream ...", flush=True)
n, row = 0, bytes([255]) + bytes(63)
while True:
    frame = row * 47 + n.to_bytes(64, "big")
    while frame:
        frame = frame[os.write(int(sys.argv[1]), frame) :]
    n += 1
    print("a word between two frames", flush=True) if n % 5 == 0 else None
    time.sleep(0.02)
"""


def test_c6_what_a_program_prints_shifts_no_frame_that_comes_by_a_descriptor_of_its_own(tmp_path: Path) -> None:
    """As the example for a Jetson has it: the first column is white."""
    (tmp_path / "prints.py").write_text(PRINTS)
    command = ("sh", "-c", f"exec {sys.executable} {tmp_path / 'prints.py'} 3 3>&1 1>&2")
    with of_process(command, layout="mono8").open() as camera:
        wait_until(lambda: gives_images(camera))

        taken = [shoot(camera) for _ in range(20)]

    images = [image[:-1, :, 0] for image in taken if isinstance(image, np.ndarray)]
    assert len(images) == 20
    assert [(set(image[:, 0]), set(image[:, 1:].flatten())) for image in images] == [({255}, {0})] * 20


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


def test_c8_frames_of_another_size_are_refused_with_what_was_expected() -> None:
    other = writing("b'P6\\n48 64\\n255\\n' + os.urandom(64 * 48 * 3)")
    with of_process(other, layout="pnm").open() as camera:
        wait_for_fault(camera, "expected frames of 64x48 px as P5 or P6, found 'P6 48 64 255'")


@pytest.mark.parametrize("level", [9, 13, 32])
def test_c8_a_dark_picture_whose_pixels_are_white_space_is_a_picture(level: int) -> None:
    dark = writing(f"b'P6\\n64 48\\n255\\n' + bytes([{level}]) * (64 * 48 * 3 - 4) + n.to_bytes(4)")
    with of_process(dark, layout="pnm").open() as camera:
        wait_until(lambda: gives_images(camera))

        image = shoot(camera)

    assert isinstance(image, np.ndarray)
    assert set(image[:-1].flatten()) == {level}


def test_c13_a_program_that_crashes_in_native_code_is_started_again_and_the_other_camera_goes_on(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    told = writing(NOISE, f"open({str(pid_file)!r}, 'w').write(str(os.getpid())) if n == 0 else None")
    with of_process(told).open() as crashes, of_process(writing(NOISE)).open() as other:
        wait_until(lambda: gives_images(crashes) and gives_images(other))

        os.kill(int(pid_file.read_text()), signal.SIGSEGV)

        wait_for_fault(crashes, "SIGSEGV")
        wait_until(lambda: gives_images(crashes) and gives_images(other))
    assert (crashes.counts.times_lost, other.counts.times_lost) == (1, 0)


def test_a_program_is_gone_with_all_its_children_when_the_camera_is_closed(tmp_path: Path) -> None:
    says_its_child = f"sleep 3600 & echo $! > {tmp_path / 'child'}; exec cat /dev/urandom"
    with of_process(("sh", "-c", says_its_child)).open() as camera:
        wait_until(lambda: gives_images(camera))
        child = int((tmp_path / "child").read_text())
        worked = is_at_work(child)

    wait_until(lambda: not is_at_work(child))
    assert worked


STARTS_A_CAMERA = """
import sys, threading
import msgspec
from agent.cameras import process
settings = {"command": sys.argv[1:], "width": 64, "height": 48}
with msgspec.convert(settings, process.Config).open():
    threading.Event().wait()
"""


def test_a_program_is_gone_with_the_process_that_needs_its_frames_even_where_it_writes_none(tmp_path: Path) -> None:
    """One that writes would notice that nobody reads; one whose camera hangs would keep it from the next start."""
    hangs = f"import os, signal; open({str(tmp_path / 'pid')!r}, 'w').write(f'{{os.getpid()}}.'); signal.pause()"
    with running("-c", STARTS_A_CAMERA, sys.executable, "-c", hangs, log_file=tmp_path / "log") as station:
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("."), 20)
        program = int((tmp_path / "pid").read_text().rstrip("."))

        station.kill()

        wait_until(lambda: not is_at_work(program), 20)


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


def test_c14_pictures_that_have_queued_up_before_a_reader_that_is_too_slow_are_left_out() -> None:
    """Twenty a second; for three seconds nobody reads."""
    with rtsp_stream() as port:
        config = rtsp.Config(url=f"rtsp://127.0.0.1:{port}/line", width=160, height=120, stall_ms=30_000)
        with open_pipe(config.program()) as pipe:
            wait_until(lambda: pipe.next_frame(1.0), timeout_s=30)
            stopped_ns = time.monotonic_ns()
            wait_until(lambda: time.monotonic_ns() > stopped_ns + 3_000_000_000)

            came = came_within(pipe, time.monotonic_ns() + 1_000_000_000)

    assert 0 < came <= 40  # the second's own, and what lay in the pipe; sixty had queued up


def test_c6_what_a_decoder_has_made_up_for_a_damaged_picture_is_never_an_image(tmp_path: Path) -> None:
    """Sixty pictures, most of them told as differences; in the middle forty bytes are damaged."""
    whole, damaged = tmp_path / "whole.avi", tmp_path / "damaged.avi"
    write_video(whole)
    content = bytearray(whole.read_bytes())
    middle = slice(len(content) // 2, len(content) // 2 + 40)
    content[middle] = bytes(byte ^ 0x5A for byte in content[middle])
    damaged.write_bytes(content)

    command = (sys.executable, "-m", "agent.cameras._grab", "rtsp", str(damaged))
    with open_pipe(Program("grab", command, (160, 120), stall_s=20)) as pipe:
        given, last_words = all_of(pipe)

    pictures = [image for image in frames(whole) if isinstance(image, np.ndarray)]
    made_up = [image for image in given if not any(np.array_equal(image, picture) for picture in pictures)]
    assert (len(pictures), 20 <= len(given) < 60, len(made_up)) == (60, True, 0)
    assert "one before them was lost or damaged" in last_words


def all_of(pipe: Pipe) -> tuple[list[np.ndarray], str]:
    """The images until it ends, and what it said of that."""
    given: list[np.ndarray] = []
    try:
        while True:
            given += [frame.image for frame in [pipe.next_frame(20.0)] if frame is not None]
    except CameraLostError as e:
        return given, str(e)


def write_video(file: Path) -> None:
    """A white disk on its way over a grey ground."""
    ground = cv2.GaussianBlur(np.random.default_rng(0).integers(60, 120, (120, 160, 3), dtype=np.uint8), (0, 0), 2)
    video = cv2.VideoWriter(str(file), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"XVID"), 20, (160, 120))
    for n in range(60):
        video.write(cv2.circle(ground.copy(), (20 + 2 * n, 60), 15, (255, 255, 255), -1))
    video.release()


def came_within(pipe: Pipe, until_ns: int) -> int:
    """Frames, until then."""
    came = 0
    while time.monotonic_ns() < until_ns:
        came += pipe.next_frame(0.1) is not None
    return came


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
