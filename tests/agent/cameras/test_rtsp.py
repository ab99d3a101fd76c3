"""A network camera's password: in its file and in the address that only its own process sees."""

import os
import time
from pathlib import Path

import msgspec
import pytest
from fake_cameras import writing
from waiting import wait_until

from agent.cameras import process, v4l2
from agent.cameras.rtsp import Config, _environment
from agent.inspection import Fault

ADDRESS = "rtsp://127.0.0.1:1/line"


@pytest.fixture
def password_file(tmp_path: Path) -> str:
    file = tmp_path / "password"
    file.write_text("s:e/c@ret\n")
    return str(file)


def test_a_password_in_the_address_is_refused_because_the_configuration_is_logged() -> None:
    with pytest.raises(msgspec.ValidationError, match="matching regex"):
        msgspec.convert({"url": "rtsp://user:secret@camera/line", "width": 64, "height": 48}, Config)


def test_user_without_password_is_refused() -> None:
    with pytest.raises(ValueError, match="give both or none"):
        Config(url=ADDRESS, width=64, height=48, user="kensa")


def test_the_password_reaches_the_camera_whatever_is_in_it(password_file: str) -> None:
    config = Config(url=ADDRESS, width=64, height=48, user="kensa", password_file=password_file)

    assert _environment(config)["KENSA_URL"] == "rtsp://kensa:s%3Ae%2Fc%40ret@127.0.0.1:1/line"


def test_a_camera_that_cannot_be_reached_is_told_of_without_its_password(password_file: str) -> None:
    config = Config(url=ADDRESS, width=64, height=48, user="kensa", password_file=password_file)
    with config.open() as camera:
        wait_until(lambda: "cannot be opened" in camera.trouble, timeout_s=20)

        assert "ret@" not in camera.trouble


def test_a_missing_password_file_is_named() -> None:
    config = Config(url=ADDRESS, width=64, height=48, user="kensa", password_file="/nowhere/password")
    with config.open() as camera:
        wait_until(lambda: "/nowhere/password: No such file" in camera.trouble)

        assert "expected the password of kensa" in camera.trouble


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_password_file_that_is_no_text_is_named_and_ends_nothing(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "password").write_bytes("grün".encode(encoding))
    config = Config(url=ADDRESS, width=64, height=48, user="kensa", password_file=str(tmp_path / "password"))
    with config.open() as camera:
        wait_until(lambda: f"{tmp_path / 'password'}: is no text in UTF-8, expected the password of kensa" in camera.trouble)

        assert isinstance(camera.shoot(time.monotonic_ns()), Fault)


def test_a_mark_that_an_editor_puts_before_the_password_is_none_of_it(tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes("grün\r\n".encode("utf-8-sig"))
    config = Config(url=ADDRESS, width=64, height=48, user="kensa", password_file=str(tmp_path / "password"))

    assert _environment(config)["KENSA_URL"] == "rtsp://kensa:gr%C3%BCn@127.0.0.1:1/line"


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ({"command": ["camera", "-n\0"], "width": 4, "height": 4}, process.Config),
        ({"url": "rtsp://camera/\0", "width": 4, "height": 4}, Config),
        ({"path": "/dev/v4l/by-id/\0", "width": 4, "height": 4}, v4l2.Config),
    ],
    ids=["process", "rtsp", "v4l2"],
)
def test_what_no_program_can_be_given_is_refused(section: dict[str, object], kind: type) -> None:
    with pytest.raises(msgspec.ValidationError, match="matching regex"):
        msgspec.convert(section, kind)


def test_what_a_program_says_of_its_address_is_told_without_login() -> None:
    command = writing("b''", "sys.exit('cannot reach rtsp://kensa:secret@camera/line')")
    with process.Config(command=command, width=64, height=48).open() as camera:
        wait_until(lambda: "it said" in camera.trouble)

        assert "it said: cannot reach rtsp://camera/line" in camera.trouble
    assert "KENSA_URL" not in os.environ
