"""A line whose camera measures depth: pairs from the folder, through the model with two inputs, to the broker."""

from pathlib import Path

import pytest
from broker import Broker
from running_line import running, write_line
from small_methods import recipe

from export.pack import export
from training.fit import fit
from training.progress import Lines
from training.rendered_depth import write_depth_dataset
from training.run import open_run

SETTINGS = {"modality": "rgb+depth", "epochs": 2, "batch": 4, "teacher_width": 8, "student_width": 16}


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with depth and, as `bundle`, a model that was fitted on it."""
    folder = tmp_path_factory.mktemp("deep")
    write_depth_dataset(folder / "data", 0, train_good=12, test_good=4, defects_each=4, width=160, height=120)
    with (folder / "progress.txt").open("w") as stream:
        fit(recipe("ast", folder / "data", folder / "run", settings=SETTINGS), Lines(stream))
    export(open_run(folder / "run"), folder / "bundle", "deep")
    return folder


def test_each_pair_is_inspected(deep: Path, folder: Path, broker: Broker) -> None:
    test = deep / "data" / "test"
    file = write_line(
        folder, broker, deep / "bundle", test / "bulge" / "rgb", count=4, period_ms=200, depth=test / "bulge" / "xyz"
    )

    with running(file, broker) as (line, subscriber):
        subscriber.wait_for(4, timeout_s=40)
        status = line.stop()

    readings = [reading for event in subscriber.by_id.values() for reading in event["data"]["readings"]]
    assert status == 0
    assert len({reading["raw"] for reading in readings}) == 4
    assert all(reading["fault"] is None for reading in readings)


def test_a_camera_without_depth_has_each_part_rejected_with_the_reason(deep: Path, folder: Path, broker: Broker) -> None:
    file = write_line(folder, broker, deep / "bundle", deep / "data/test/good/rgb", count=3, period_ms=200)

    with running(file, broker) as (line, subscriber):
        subscriber.wait_for(3, timeout_s=40)
        line.stop()

    verdicts = [event["data"] for event in subscriber.by_id.values()]
    assert {(data["outcome"], data["cause"]) for data in verdicts} == {("reject", "fault")}
    assert all("does this camera measure it?" in data["readings"][0]["fault"] for data in verdicts)
