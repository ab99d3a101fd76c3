"""A kept photograph is found by its part, or the reason why it is not."""

import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_bundle import CONTRACT, photograph
from waiting import wait_until

from agent.inspection import Cause, Fault, Measured, Outcome, Part, Shot, Verdict
from agent.observation.seen import Seen
from agent.record.image import photograph_of
from agent.record.record import Record
from agent.sections import KeepImages

PART = Part("boot", 7)


def test_a_kept_photograph_is_found_by_its_part(tmp_path: Path) -> None:
    image = photograph(np.random.default_rng(1), defect=True)
    with Record(tmp_path, KeepImages(leave_free_mb=0)) as record:
        fault = Fault("the model gave a raw score of nan")
        shot = Shot(PART, "top", time.monotonic_ns(), image)
        record.offer(Seen([shot], [fault], [Measured("top")], [Verdict(Outcome.REJECT, Cause.FAULT, "")], [CONTRACT], 0))
        wait_until(lambda: record.gauges["record_images"] == 1)

        jpeg = photograph_of(tmp_path, "boot/7")

    found = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    assert np.abs(found.mean() - image.mean()) < 3  # of 255; what a JPEG may change
    with pytest.raises(LookupError, match="no image of boot/8 is kept"):
        photograph_of(tmp_path, "boot/8")


def test_a_station_that_keeps_no_images_says_so(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="keeps no images"):
        photograph_of(tmp_path, "boot/7")
