"""The section of an industrial camera."""

from pathlib import Path

import pytest

from agent.cameras._source import Exposes
from agent.cameras.genicam import Config
from agent.config import load_line
from agent.drivers import ConfigError

LINE = """\
station: press-3
bundle: b
state: s
cameras:
  top: {type: genicam, camera: K1, CAMERA}
trigger: {type: timer, period_ms: 500}
ejector: {type: dryrun}
gate: {travel_ms: 600}
runtime: {type: openvino}
mqtt: {host: 127.0.0.1, topic: plant/press-3}
"""


@pytest.mark.parametrize(
    ("trigger", "exposes"), [("software", Exposes.TOLD), ("free", Exposes.FREE), ("Line1", Exposes.CABLED)], ids=str
)
def test_its_trigger_says_when_it_exposes(trigger: str, exposes: Exposes) -> None:
    assert Config(camera="K1", trigger=trigger).exposes is exposes


@pytest.mark.parametrize(("written", "meant"), [("Software", "software"), ("FREE", "free")])
def test_a_misspelt_trigger_is_no_cable(written: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"input of the camera that a cable is on: write {meant}"):
        Config(camera="K1", trigger=written)


def test_a_camera_that_is_told_by_software_has_no_frame_from_before_its_trigger() -> None:
    with pytest.raises(ValueError, match="delay_ms -50 is for a camera with a cable"):
        Config(camera="K1", delay_ms=-50)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("features: {TriggerMode: Off}", "TriggerMode 'Off' contradicts `trigger`, which makes it 'On': change `trigger`"),
        ("features: {TriggerSource: Line0}", "TriggerSource 'Line0' contradicts `trigger`, which makes it 'Software'"),
        ("trigger: Line1, features: {TriggerSelector: FrameStart, TriggerSource: Line0}", "which makes it 'Line1'"),
        ("trigger: free, features: {TriggerMode: On}", "TriggerMode 'On' contradicts `trigger`, which makes it 'Off'"),
        ("features: {PixelFormat: Mono16}", "PixelFormat 'Mono16' contradicts `pixel_format`, which makes it 'Mono8'"),
    ],
    ids=["mode", "source", "selected", "free", "format"],
)
def test_a_feature_that_a_key_of_its_own_decides_otherwise_is_refused(tmp_path: Path, settings: str, says: str) -> None:
    (tmp_path / "line.yaml").write_text(LINE.replace("CAMERA", settings))

    with pytest.raises(ConfigError) as refused:
        load_line(tmp_path / "line.yaml")

    assert "line.yaml:5: cameras.top: features: " in str(refused.value)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    "settings",
    ["features: {TriggerMode: On, TriggerSource: Software}", "features: {TriggerSelector: LineStart, TriggerSource: Line2}"],
    ids=["says the same", "of another trigger"],
)
def test_features_of_the_trigger_that_contradict_nothing_are_taken(tmp_path: Path, settings: str) -> None:
    (tmp_path / "line.yaml").write_text(LINE.replace("CAMERA", settings))

    assert load_line(tmp_path / "line.yaml").cameras
