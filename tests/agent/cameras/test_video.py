"""Videos as a camera: each frame as it was written, in order; a Fault names file and frame where there is none."""

import os
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from agent.cameras import CameraLostError
from agent.cameras.folder import Config
from agent.inspection import Fault
from agent.preprocess import PixelsWithDepth

FRAMES = np.random.default_rng(0).integers(0, 256, (12, 48, 64, 3), dtype=np.uint8)
JPEG_BEGINS = b"\xff\xd8\xff"


def write_video(file: Path, fourcc: str = "FFV1", frames: NDArray[np.uint8] = FRAMES) -> Path:
    """These RGB frames; FFV1 and HFYU keep each pixel."""
    writer = cv2.VideoWriter(str(file), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*fourcc), 25.0, frames.shape[2:0:-1])
    assert writer.isOpened()
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return file


def shots(config: Config, n: int) -> list[int | str]:
    """n shots: which of FRAMES each is, -1 for none of them, or the reason of the fault."""
    with config.open() as camera:
        return [name_of(camera.shoot(0)) for _ in range(n)]


def name_of(shot: NDArray[np.generic] | PixelsWithDepth | Fault) -> int | str:
    if isinstance(shot, Fault):
        return shot.reason
    return next((k for k, frame in enumerate(FRAMES) if np.array_equal(frame, shot)), -1)


@pytest.mark.parametrize(("name", "fourcc"), [("a.avi", "FFV1"), ("a.MKV", "FFV1"), ("a.avi", "HFYU")])
def test_each_frame_is_a_photograph_with_the_pixels_that_were_written(tmp_path: Path, name: str, fourcc: str) -> None:
    write_video(tmp_path / name, fourcc)

    assert shots(Config(str(tmp_path)), 15) == [*range(12), 0, 1, 2]


def test_a_frame_is_read_only_rgb_and_is_kept_by_nobody_but_who_asked_for_it(tmp_path: Path) -> None:
    write_video(tmp_path / "a.avi")

    with Config(str(tmp_path)).open() as camera:
        frame = camera.shoot(0)
        assert isinstance(frame, np.ndarray)
        found = (frame.shape, frame.dtype, frame.flags.writeable)
        first = weakref.ref(frame)
        frame = camera.shoot(0)

    assert found == ((48, 64, 3), np.uint8, False)
    assert first() is None


def test_a_video_is_read_as_far_as_it_was_asked_for_and_closed_at_the_end(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.avi", "HFYU", np.random.default_rng(1).integers(0, 256, (120, 256, 256, 3), dtype=np.uint8))

    with Config(str(tmp_path)).open() as camera:
        before = bytes_read()
        camera.shoot(0)
        read = bytes_read() - before
        while_open = open_files()

    assert file.stat().st_size > 20_000_000
    assert read < 10_000_000  # FFmpeg looks at no more than 5 MB to know what it is
    assert str(file) in while_open
    assert str(file) not in open_files()


def bytes_read() -> int:
    """By this process, ever."""
    return int(Path("/proc/self/io").read_text().split()[1])


def open_files() -> list[str]:
    return [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]


def test_photographs_and_videos_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    write_video(tmp_path / "b.avi", frames=FRAMES[:2])
    write_video(tmp_path / "d.mkv", frames=FRAMES[2:4])
    cv2.imwrite(str(tmp_path / "a.png"), FRAMES[10][:, :, ::-1])
    cv2.imwrite(str(tmp_path / "c.png"), FRAMES[11][:, :, ::-1])

    assert shots(Config(str(tmp_path)), 8) == [10, 0, 1, 11, 2, 3, 10, 0]


def test_one_file_is_a_camera_too_and_without_repeat_its_end_is_told(tmp_path: Path) -> None:
    write_video(tmp_path / "a.avi", frames=FRAMES[:2])
    file = write_video(tmp_path / "b.avi", frames=FRAMES[2:4])

    assert shots(Config(str(file), repeat=False), 4) == [2, 3, *["no photograph left: all 2 have been shown"] * 2]


@pytest.mark.parametrize("name", ["a.avi", "a.mkv"])
def test_a_video_that_is_cut_off_gives_the_frames_it_has_then_a_fault_and_the_next_file_comes(tmp_path: Path, name: str) -> None:
    file = write_video(tmp_path / name)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    write_video(tmp_path / "b.avi", frames=FRAMES[:1])

    *of_the_first, fault, of_the_next = shots(Config(str(tmp_path), repeat=False), whole(file) + 2)

    assert of_the_first == [*range(whole(file))]
    assert str(fault).startswith(f"{file}: no frame after frame {whole(file)}, expected 12, cut off or damaged")
    assert of_the_next == 0


def whole(file: Path) -> int:
    """Frames that are there, by OpenCV alone."""
    capture = cv2.VideoCapture(str(file), cv2.CAP_FFMPEG)
    came = [capture.read()[0] for _ in FRAMES]
    capture.release()
    return sum(came)


@pytest.mark.parametrize("name", ["a.mov", "a.mjpeg"], ids=["number of frames known", "number of frames unknown"])
def test_a_frame_that_cannot_be_decoded_is_a_fault_with_its_number_and_the_next_one_comes(tmp_path: Path, name: str) -> None:
    levels = np.arange(0, 240, 20, dtype=np.uint8)
    file = write_video(tmp_path / name, "MJPG", np.broadcast_to(levels[:, None, None, None], FRAMES.shape))
    begin, *pictures = file.read_bytes().split(JPEG_BEGINS)
    pictures[4] = pictures[4][:20] + bytes(len(pictures[4]) - 20)
    file.write_bytes(JPEG_BEGINS.join([begin, *pictures]))

    with Config(str(tmp_path)).open() as camera:
        before, fault, after = [camera.shoot(0) for _ in range(4)], camera.shoot(0), [camera.shoot(0) for _ in range(8)]

    assert np.mean([*before, *after], axis=(1, 2, 3)) == pytest.approx([*levels[:4], *levels[5:], 0], abs=4)  # JPEG
    assert fault.reason == f"{file}: frame 5 cannot be decoded, expected a picture: play it, or copy it anew"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty, expected a video"),
        (b"this is text", "no video that FFmpeg can open, or one that is cut off"),
    ],
    ids=["empty", "text"],
)
def test_what_is_no_video_is_a_fault_that_names_it_and_the_next_file_comes(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    write_video(tmp_path / "b.avi")

    fault, first = shots(Config(str(tmp_path)), 2)

    assert str(fault).startswith(f"{tmp_path / 'a.mp4'}: {says}")
    assert first == 0


def test_a_video_whose_index_was_never_written_is_a_fault(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mp4", "mp4v")
    file.write_bytes(file.read_bytes()[:-1000])

    (fault,) = shots(Config(str(tmp_path)), 1)

    assert str(fault).startswith(f"{file}: no video that FFmpeg can open, or one that is cut off")


def test_a_video_that_vanished_is_a_fault(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.avi")

    with Config(str(tmp_path)).open() as camera:
        file.unlink()
        shot = camera.shoot(0)

    assert shot.reason == f"{file}: cannot be read: No such file or directory"


def test_a_video_whose_name_is_no_unicode_is_a_fault_that_can_be_sent(tmp_path: Path) -> None:
    write_video(tmp_path / "a.avi").rename(os.fsdecode(bytes(tmp_path) + b"/gr\xfc\xdfe.avi"))

    (fault,) = shots(Config(str(tmp_path)), 1)

    assert str(fault).encode().endswith(b"its name is not Unicode: rename it")


def test_depth_of_a_video_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "rgb").mkdir()
    (tmp_path / "xyz").mkdir()
    file = write_video(tmp_path / "rgb" / "a.avi")

    with pytest.raises(CameraLostError, match=f"{file} is a video and has no depth: take it out of"):
        shots(Config(str(tmp_path / "rgb"), depth=str(tmp_path / "xyz")), 1)


def test_a_file_that_is_neither_photograph_nor_video_is_a_lost_camera(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a photograph")

    with pytest.raises(CameraLostError, match=r"notes.txt is no image, expected files such as \*.png"):
        shots(Config(str(tmp_path / "notes.txt")), 1)
