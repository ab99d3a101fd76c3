"""A network camera's password: in its file and in the address that only its own process sees."""

import os
from pathlib import Path

import msgspec
import pytest
from fake_cameras import writing
from waiting import wait_until

from agent.cameras import process
from agent.cameras.rtsp import Config, _environment

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


def test_what_a_program_says_of_its_address_is_told_without_login() -> None:
    command = writing("b''", "sys.exit('cannot reach rtsp://kensa:secret@camera/line')")
    with process.Config(command=command, width=64, height=48).open() as camera:
        wait_until(lambda: "it said" in camera.trouble)

        assert "it said: cannot reach rtsp://camera/line" in camera.trouble
    assert "KENSA_URL" not in os.environ
