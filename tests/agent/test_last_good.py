"""A mistake in a line's file does not keep a station from starting again, and is told loudly."""

import threading
from pathlib import Path

import pytest
from gate_end import gate_end
from line_file import write_line

from agent.config import load_line
from agent.drivers import ConfigError
from agent.inspection import Cause, Part
from agent.last_good import load_or_last_good, remember
from agent.loop import inspect_forever
from agent.station import Station


@pytest.fixture
def file(state: Path, small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A line that has worked once, under systemd."""
    monkeypatch.setenv("STATE_DIRECTORY", str(state))
    file = write_line(state, small_bundle)
    remember(load_line(file), "inspect")
    return file


@pytest.mark.parametrize(
    "text", ["", "station: [", "station: 2026-31-12\n", "station: press-3\nstation: press-3\n", "statoin: press-3\n"], ids=repr
)
def test_s10_a_broken_file_is_replaced_by_the_last_good_one_and_says_so(file: Path, text: str) -> None:
    good = load_line(file)
    file.write_text(text)

    line = load_or_last_good(file, "inspect")

    assert (line.station, line.state, line.bundle, line.file) == (good.station, good.state, good.bundle, good.file)
    assert str(file) in line.trouble
    assert "last good configuration" in line.trouble


def test_a_good_file_is_used_as_it_is(file: Path) -> None:
    line = load_or_last_good(file, "inspect")

    assert (line, line.trouble) == (load_line(file), "")


def test_s10_a_configuration_that_was_fallen_back_to_is_not_remembered_anew(file: Path) -> None:
    file.write_text("broken")
    line = load_or_last_good(file, "inspect")

    remember(line, "inspect")

    assert load_or_last_good(file, "inspect").trouble


def test_s10_a_file_that_was_broken_since_it_was_loaded_is_not_remembered(file: Path) -> None:
    line = load_or_last_good(file, "inspect")
    file.write_text("broken")

    remember(line, "inspect")

    assert load_or_last_good(file, "inspect").trouble


def test_without_a_last_good_configuration_the_mistake_is_told(file: Path) -> None:
    file.write_text("station: [")

    with pytest.raises(ConfigError, match="not valid YAML"):
        load_or_last_good(file, "eject")


def test_on_a_desk_the_mistake_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY")
    file.write_text("station: [")

    with pytest.raises(ConfigError, match="not valid YAML"):
        load_or_last_good(file, "inspect")


def test_a_folder_that_cannot_be_written_costs_only_the_copy(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/proc/nothing")

    remember(load_line(file), "inspect")

    assert "could not be kept" in caplog.text


def test_s11_a_running_station_goes_on_with_what_it_has_read(file: Path) -> None:
    line = load_or_last_good(file, "inspect")
    with gate_end(line.socket) as gate, Station(line) as station:
        gate.wait_for_attach()
        file.write_text("station: [")

        gate.trigger(Part("boot", 1), until_gate_ms=60_000)
        stop = threading.Event()
        thread = threading.Thread(target=inspect_forever, args=(station, stop))
        thread.start()
        verdict = gate.verdict_on(Part("boot", 1))
        stop.set()
        thread.join(20)
        gate.drop()

    assert verdict.cause is Cause.SCORE
