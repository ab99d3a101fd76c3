"""The hot path: whatever happens to an image or a model, a reading comes out and its part gets a verdict."""

import dataclasses
import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from gate_end import GateEnd, gate_end
from line_file import write_line
from small_bundle import CONTRACT, photograph, raw_score, write_photographs
from waiting import wait_until

from agent.bundle import BundleError
from agent.calibration import Calibration
from agent.cameras import CameraLostError
from agent.config import Line, load_line
from agent.events.outbox import Outbox
from agent.gate_link import GateLink
from agent.inspection import AnomalyMap, Cause, Closed, Fault, Image, Measured, Outcome, Part, Prediction, Shot, Verdict
from agent.loop import Station, inspect_forever, measured, read
from agent.model import Model
from agent.only_one import AlreadyRunningError
from agent.runtimes import InferenceError

PART = Part("boot", 1)
TABLE = Calibration((0.1, 0.2, 0.3), threshold=0.4, false_reject_rate=0.5, wished_rate=0.5, confidence=0.95)
GOOD = photograph(np.random.default_rng(1))
DEFECT = photograph(np.random.default_rng(1), defect=True)


@dataclasses.dataclass
class Gives:
    """A runtime that gives this raw score, and this map or one of zeros."""

    raw: float
    executed_precision: str = "f32"
    anomaly_map: AnomalyMap | None = None

    def infer(self, image: Image) -> tuple[float, AnomalyMap]:
        return self.raw, np.zeros((8, 8), dtype=np.float32) if self.anomaly_map is None else self.anomaly_map


@dataclasses.dataclass
class Fails:
    """A runtime whose accelerator has gone."""

    executed_precision: str = "f32"

    def infer(self, image: Image) -> tuple[float, AnomalyMap]:
        raise InferenceError("model.xml: device lost")


def shot_of(image: Image | Fault) -> Shot:
    return Shot(PART, "top", triggered_ns=0, image=image)


@pytest.fixture
def line(state: Path, small_bundle: Path) -> Line:
    return load_line(write_line(state, small_bundle))


@contextmanager
def inspecting(station: Station) -> Iterator[None]:
    """`inspect_forever` in a thread that has ended when the block is left."""
    stop = threading.Event()
    thread = threading.Thread(target=inspect_forever, args=(station, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=20)


@pytest.fixture
def gate(line: Line) -> Iterator[GateEnd]:
    with gate_end(line.socket) as end:
        yield end


# ---------------------------------------------------------------- one reading


def test_an_image_becomes_a_prediction() -> None:
    reading = read(Model(CONTRACT, Gives(0.35), TABLE), shot_of(GOOD))

    assert isinstance(reading, Prediction)
    assert (reading.raw, reading.score, reading.p_value) == pytest.approx((0.35, 0.75, 0.25))


def test_a_cameras_fault_stays_what_it_is() -> None:
    reading = read(Model(CONTRACT, Gives(0.35), TABLE), shot_of(Fault("no frame within 80 ms")))

    assert reading == Fault("no frame within 80 ms")


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros((20, 64, 3), np.uint8), "image is 64x20 px"),
        (np.zeros((64, 64), np.uint8), "expected (H, W, 3) uint8 RGB"),
        (np.zeros((64, 64, 3), np.float32), "expected (H, W, 3) uint8 RGB"),
        (np.zeros((0, 0, 3), np.uint8), "image is 0x0 px"),
    ],
    ids=["too flat", "one channel", "floats", "no pixels"],
)
def test_an_image_the_model_was_not_made_for_is_a_fault(image: Image, says: str) -> None:
    reading = read(Model(CONTRACT, Gives(0.35), TABLE), shot_of(image))

    assert isinstance(reading, Fault)
    assert says in reading.reason


def test_a_runtime_that_fails_is_a_fault() -> None:
    reading = read(Model(CONTRACT, Fails(), TABLE), shot_of(GOOD))

    assert reading == Fault("model.xml: device lost")


@pytest.mark.parametrize("raw", [math.nan, math.inf, -math.inf], ids=str)
def test_a_raw_score_that_is_no_number_is_a_fault(raw: float) -> None:
    reading = read(Model(CONTRACT, Gives(raw), TABLE), shot_of(GOOD))

    assert isinstance(reading, Fault)
    assert "not finite" in reading.reason


def test_a_map_with_a_hole_in_it_is_a_fault_whatever_its_score() -> None:
    """Not every runtime's maximum lets a NaN through."""
    model = Model(CONTRACT, Gives(0.1, anomaly_map=np.full((8, 8), np.nan, np.float32)), TABLE)

    reading = read(model, shot_of(GOOD))

    assert isinstance(reading, Fault)
    assert "not finite" in reading.reason


def test_what_was_measured_is_numbers_or_a_reason_never_both() -> None:
    prediction = Prediction(0.5, 2.0, 0.25, np.zeros((8, 8), dtype=np.float32))

    of_prediction, of_fault = measured(shot_of(GOOD), prediction), measured(shot_of(GOOD), Fault("no frame"))

    assert of_prediction.latency_ms is not None
    assert dataclasses.replace(of_prediction, latency_ms=None) == Measured("top", raw=0.5, score=2.0, p_value=0.25)
    assert dataclasses.replace(of_fault, latency_ms=None) == Measured("top", fault="no frame")


# ---------------------------------------------------------------- the station


def test_the_gate_is_told_to_pass_good_parts_and_to_reject_defects(line: Line, gate: GateEnd) -> None:
    with Station(line) as station, inspecting(station):
        gate.wait_for_attach()
        gate.trigger(Part("boot", 1))
        gate.trigger(Part("boot", 2))
        gate.trigger(Part("boot", 3))  # the third photograph has a defect

        verdicts = [gate.verdict_on(Part("boot", n)) for n in (1, 2, 3)]
        gate.report(*(Closed(Part("boot", n), verdict, 1, 2, None) for n, verdict in enumerate(verdicts, start=1)))
        gate.wait_for_confirmation(Part("boot", 3))

    assert [verdict.outcome for verdict in verdicts] == [Outcome.PASS, Outcome.PASS, Outcome.REJECT]


def test_a_part_that_one_of_two_cameras_sees_a_defect_on_is_rejected(line: Line, gate: GateEnd, tmp_path: Path) -> None:
    """The third photograph of the one camera has a defect, the first of the other."""
    write_photographs(tmp_path / "side", 3, defects=frozenset({0}))
    two = {"top": line.cameras["top"], "side": type(line.cameras["top"])(path=str(tmp_path / "side"))}  # type: ignore[call-arg]
    with Station(dataclasses.replace(line, cameras=two)) as station, inspecting(station):
        gate.wait_for_attach()
        gate.trigger(Part("boot", 1))
        gate.trigger(Part("boot", 2))
        gate.trigger(Part("boot", 3))

        verdicts = [gate.verdict_on(Part("boot", n)) for n in (1, 2, 3)]
        gate.report(*(Closed(Part("boot", n), verdict, 1, 2, None) for n, verdict in enumerate(verdicts, start=1)))
        gate.wait_for_confirmation(Part("boot", 3))

    assert [verdict.outcome for verdict in verdicts] == [Outcome.REJECT, Outcome.PASS, Outcome.REJECT]
    assert {verdict.cause for verdict in verdicts} == {Cause.SCORE}


def test_a_closed_part_is_confirmed_once_its_event_with_its_reading_is_in_the_outbox(line: Line, gate: GateEnd) -> None:
    with Station(line) as station, inspecting(station):
        gate.wait_for_attach()
        gate.trigger(PART)
        verdict = gate.verdict_on(PART)

        gate.report(Closed(PART, verdict, 1, 2, None))

        gate.wait_for_confirmation(PART)
    with Outbox(line.state / "outbox.db") as outbox:
        (row,) = outbox.waiting(0, 10)
    data = json.loads(row.data)
    assert (row.topic, data["part"], data["outcome"]) == ("result/pass", {"boot": "boot", "n": 1}, "pass")
    assert data["readings"][0]["raw"] == pytest.approx(raw_score_of_first_photograph(line), abs=1e-5)


def test_a_part_that_another_process_judged_is_an_event_without_readings(line: Line, gate: GateEnd) -> None:
    missed = Verdict(Outcome.REJECT, Cause.MISSED, "inspection was lost")
    with Station(line) as station, inspecting(station):
        gate.wait_for_attach()

        gate.report(Closed(PART, missed, 1, 2, 3))

        gate.wait_for_confirmation(PART)
    with Outbox(line.state / "outbox.db") as outbox:
        (row,) = outbox.waiting(0, 10)
    assert json.loads(row.data)["readings"] == []


def test_a_trigger_whose_moment_at_the_gate_has_passed_is_a_fault_and_takes_its_photograph_with_it(
    line: Line, gate: GateEnd
) -> None:
    stop = threading.Event()
    with Station(line) as station:
        gate.wait_for_attach()
        gate.trigger(Part("boot", 1), until_gate_ms=-1)
        gate.trigger(Part("boot", 2), until_gate_ms=60_000)
        shots = station.shots(stop)

        (stale,), (fresh,) = next(shots), next(shots)
        gate.drop()

    assert isinstance(stale, Shot)
    assert isinstance(stale.image, Fault)
    assert "its moment at the gate had passed" in stale.image.reason
    assert isinstance(fresh, Shot)
    assert isinstance(fresh.image, np.ndarray)
    assert (fresh.part, fresh.camera) == (Part("boot", 2), "top")


def test_a_16_bit_photograph_is_windowed_by_the_white_level_of_the_bundle(line: Line, gate: GateEnd) -> None:
    """The small bundle's contract has the default white level, 65535: a value of 25 700 is 100."""
    photographs = Path(line.cameras["top"].path)
    cv2.imwrite(str(photographs / "0000.png"), np.full((64, 64), 25_700, dtype=np.uint16))

    with Station(line) as station:
        gate.wait_for_attach()
        gate.trigger(Part("boot", 1), until_gate_ms=60_000)
        (shot,) = next(station.shots(threading.Event()))
        gate.drop()

    assert isinstance(shot, Shot)
    assert isinstance(shot.image, np.ndarray)
    assert (shot.image.dtype, shot.image[0, 0].tolist()) == (np.uint8, [100, 100, 100])


def test_an_empty_belt_yields_none_so_that_the_watchdog_is_fed(line: Line, gate: GateEnd) -> None:
    with Station(line) as station:
        assert next(station.shots(threading.Event())) == ()


def test_a_dead_thread_ends_the_loop(line: Line, gate: GateEnd) -> None:
    with Station(line) as station:
        gate.wait_for_attach()
        station.gate._on_closed = None  # type: ignore[assignment] - the shortest way to a broken thread
        gate.report(Closed(PART, Verdict(Outcome.PASS, Cause.SCORE, ""), 1, 2, None))
        wait_until(lambda: not station.gate._thread.is_alive())

        with pytest.raises(Exception, match="thread stopped"):
            inspect_forever(station, threading.Event())


def test_a_second_station_with_the_same_state_is_refused(line: Line, gate: GateEnd) -> None:
    with Station(line), pytest.raises(AlreadyRunningError, match="kensa inspect"):
        Station(line)


@pytest.mark.parametrize("missing", ["bundle", "photographs"])
def test_a_station_that_cannot_open_leaves_nothing_open(line: Line, missing: str, tmp_path: Path) -> None:
    expected = {"bundle": BundleError, "photographs": CameraLostError}[missing]
    broken = {
        "bundle": dataclasses.replace(line, bundle=tmp_path / "nothing"),
        "photographs": dataclasses.replace(line, cameras={"top": type(line.cameras["top"])(path=str(tmp_path))}),  # type: ignore[call-arg]
    }[missing]
    threads = threading.active_count()

    with pytest.raises(expected):
        Station(broken)

    assert threading.active_count() == threads
    with Station(line):
        pass


def test_the_link_is_the_last_thing_that_is_opened(line: Line, gate: GateEnd) -> None:
    with Station(line) as station:
        gate.wait_for_attach()

        assert isinstance(station.gate, GateLink)
        assert station.policy.threshold == station.model.calibration.threshold


def raw_score_of_first_photograph(line: Line) -> float:
    with line.cameras["top"].open() as camera:
        image = camera.shoot(0)
    assert isinstance(image, np.ndarray)
    return raw_score(image)
