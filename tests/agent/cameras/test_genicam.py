"""The section of an industrial camera."""

import pytest

from agent.cameras._source import Exposes
from agent.cameras.genicam import Config


@pytest.mark.parametrize(
    ("trigger", "exposes"), [("software", Exposes.TOLD), ("free", Exposes.FREE), ("Line1", Exposes.CABLED)], ids=str
)
def test_its_trigger_says_when_it_exposes(trigger: str, exposes: Exposes) -> None:
    assert Config(camera="K1", trigger=trigger).exposes is exposes


def test_a_camera_that_is_told_by_software_has_no_frame_from_before_its_trigger() -> None:
    with pytest.raises(ValueError, match="delay_ms -50 is for a camera with a cable"):
        Config(camera="K1", delay_ms=-50)
