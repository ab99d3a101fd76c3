"""A camera that sees another side of the part is judged by a bundle of its own, and every record says by which."""

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from broker import Broker
from gate_end import GateEnd, gate_end
from inspecting import inspecting
from kensa_process import kensa
from line_file import write_line
from small_bundle import edit_manifest, write_photographs
from subscriber import subscriber
from waiting import wait_until

from agent.bundle import open_bundle
from agent.config import Line, load_line
from agent.drivers import ConfigError
from agent.events.outbox import Outbox
from agent.inspection import Closed, Outcome, Part
from agent.record.gallery import Gallery
from agent.record.record import FOLDER
from agent.reload import why_no_reload
from agent.serving.models import Models
from agent.station import Station

PARTS = [Part("boot", n) for n in (1, 2, 3)]
PASS, REJECT = Outcome.PASS, Outcome.REJECT
TOLERANT = 0.95  # threshold: what the bright squares do not reach


def write_two_cameras(state: Path, bundle: Path, port: int = 1, side: str = ", bundle: tolerant") -> Path:
    """The camera `top` sees a bright square on the third part, the camera `side` on the first."""
    shutil.copytree(bundle, state / "tolerant")
    edit_manifest(state / "tolerant", lambda manifest: manifest.update(name="tolerant"))
    edit_manifest(state / "tolerant", lambda manifest: manifest["artifacts"][0]["calibration"].update(threshold=TOLERANT))
    write_photographs(state / "side", 3, defects=frozenset({0}))
    file = write_line(state, bundle, port=port)
    camera = f"  side: {{type: folder, path: side{side}}}\n"
    file.write_text(file.read_text().replace("trigger:", f"{camera}trigger:", 1) + "record: {leave_free_mb: 0}\n")
    return file


@pytest.fixture
def line(state: Path, small_bundle: Path) -> Line:
    return load_line(write_two_cameras(state, small_bundle))


@pytest.fixture
def gate(line: Line) -> Iterator[GateEnd]:
    with gate_end(line.socket) as end:
        yield end


@pytest.mark.parametrize(
    ("side", "outcomes"),
    [(", bundle: tolerant", [PASS, PASS, REJECT]), ("", [REJECT, PASS, REJECT])],
    ids=["a bundle of its own", "the line's own"],
)
def test_each_camera_is_judged_by_its_own_bundle(state: Path, small_bundle: Path, side: str, outcomes: list[Outcome]) -> None:
    line = load_line(write_two_cameras(state, small_bundle, side=side))
    with gate_end(line.socket) as gate, Station(line) as station, inspecting(station):
        gate.wait_for_attach()
        [gate.trigger(part) for part in PARTS]

        assert [gate.verdict_on(part).outcome for part in PARTS] == outcomes


def test_events_and_kept_images_say_by_which_bundle_each_camera_was_judged(line: Line, gate: GateEnd) -> None:
    bundles = [open_bundle(line.bundle_of(camera)).manifest for camera in ("top", "side")]
    with Station(line) as station, inspecting(station):
        gate.wait_for_attach()
        [gate.trigger(part) for part in PARTS]
        verdicts = [gate.verdict_on(part) for part in PARTS]
        gate.report(*(Closed(part, verdict, 1, 2, None) for part, verdict in zip(PARTS, verdicts, strict=True)))
        gate.wait_for_confirmation(PARTS[2])
    with Outbox(line.state / "outbox.db") as outbox:
        data = json.loads(outbox.waiting(0, 10)[2].data)
    with Gallery(line.state / FOLDER) as gallery:
        ((deciding, *_),) = gallery.search(None, "", "", None, 10)[1]  # the bright square on the third part's top
        ((beside, _),) = gallery.beside(deciding.id)

    assert [reading["bundle_id"] for reading in data["readings"]] == [bundle.bundle_id for bundle in bundles]
    assert [reading["threshold"] for reading in data["readings"]] == [bundles[0].artifacts[0].calibration.threshold, TOLERANT]
    assert data["model"] == {"name": "small", "bundle_id": bundles[0].bundle_id}
    kept = [(row.camera, row.bundle_id) for row in (deciding, beside)]
    assert kept == [("top", bundles[0].bundle_id), ("side", bundles[1].bundle_id)]


def test_the_birth_says_by_which_bundle_each_camera_is_judged(state: Path, small_bundle: Path, broker: Broker) -> None:
    line = load_line(write_two_cameras(state, small_bundle, broker.port))
    with subscriber(broker.host, broker.port) as heard, gate_end(line.socket), Station(line):
        wait_until(lambda: heard.below("birth"))
        birth = json.loads(heard.below("birth")[-1].payload)

    own, of_side = (open_bundle(line.bundle_of(camera)).manifest.bundle_id for camera in ("top", "side"))
    assert (birth["bundle_id"], birth["bundles"]) == (own, {"top": own, "side": of_side})


def test_another_recipe_may_judge_a_camera_by_another_bundle(state: Path, small_bundle: Path) -> None:
    file = write_two_cameras(state, small_bundle, side="")
    recipes = "{1: {name: cap}, 2: {name: lid, cameras: {side: {bundle: tolerant}}}}"
    file.write_text(f"{file.read_text()}recipes: {recipes}\n")

    line = load_line(file)

    assert [one.bundle_of("side").name for one in line.each] == [small_bundle.name, "tolerant"]
    assert [one.bundle_of("top") for one in line.each] == [small_bundle] * 2


@pytest.mark.parametrize(
    ("top", "side", "says"),
    [
        ("", "[tolerant]", r"cameras\.side\.bundle: expected the folder of a bundle, found \['tolerant'\]"),
        (
            ", bundle: tolerant",
            "tolerant",
            r"cameras: every camera has a bundle of its own: expected one that the line's `bundle`",
        ),
    ],
    ids=["no folder", "nobody left"],
)
def test_a_mistake_in_the_bundles_of_cameras_is_named(state: Path, small_bundle: Path, top: str, side: str, says: str) -> None:
    file = write_two_cameras(state, small_bundle, side=f", bundle: {side}")
    file.write_text(file.read_text().replace("path: photographs}", f"path: photographs{top}}}"))

    with pytest.raises(ConfigError, match=says):
        load_line(file)


def test_check_opens_every_bundle_and_names_the_camera_of_a_missing_one(state: Path, small_bundle: Path) -> None:
    file = write_two_cameras(state, small_bundle)
    right = kensa("check", str(file))
    shutil.rmtree(state / "tolerant")
    wrong = kensa("check", str(file))

    assert (right.returncode, wrong.returncode) == (0, 2)
    assert "camera side: bundle" in right.stdout
    assert "camera side: " in wrong.stderr
    assert "tolerant" in wrong.stderr


def test_a_reload_is_refused_while_the_bundle_of_a_camera_is_not_there(line: Line) -> None:
    before = why_no_reload(line)
    shutil.rmtree(line.bundles["side"])

    assert before == ""
    assert "tolerant" in why_no_reload(line)


def test_a_model_that_failed_is_opened_anew_and_the_others_judge_on(line: Line) -> None:
    with closing(Models(line)) as models:
        before = models.of_cameras
        before["side"].model.lost.append("the accelerator is gone")
        is_renewed, again = models.renew(0.0), models.renew(0.0)
        after = models.of_cameras

        assert (is_renewed, again) == (True, False)
        assert after["top"] is before["top"]
        assert after["side"] is not before["side"]
        assert [name for name, _ in models.news()] == ["runtime"]


def test_cameras_with_one_bundle_share_its_model(state: Path, small_bundle: Path) -> None:
    with closing(Models(load_line(write_two_cameras(state, small_bundle, side="")))) as models:
        assert models.of_cameras["side"] is models.of_cameras["top"] is models.own
        assert models.each == [models.own]
