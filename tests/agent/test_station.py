"""A whole inspection process against the gate's end: each part has its verdict and its event, and what dies is loud."""

import dataclasses
import json
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from broker import Broker
from certificates import Authority
from gate_end import GateEnd, gate_end
from inspecting import inspecting
from line_file import write_line
from small_bundle import edit_manifest, raw_score, write_photographs
from subscriber import Subscriber, subscriber
from waiting import wait_until

from agent.bundle import BundleError, open_bundle
from agent.cameras import CameraLostError
from agent.clock import utc
from agent.config import Line, load_line
from agent.events.outbox import Outbox
from agent.gate_link import GateLink
from agent.inspection import Cause, Closed, Fault, Outcome, Part, Shot, Verdict
from agent.link import Alarm, Attach, Held, Leaving, Unable
from agent.loop import inspect_forever
from agent.only_one import AlreadyRunningError
from agent.station import Station

PART = Part("boot", 1)


@pytest.fixture
def line(state: Path, small_bundle: Path) -> Line:
    return load_line(write_line(state, small_bundle))


@pytest.fixture
def gate(line: Line) -> Iterator[GateEnd]:
    with gate_end(line.socket) as end:
        yield end


def outbox_of(line: Line) -> Outbox:
    """As the station opens it: under another name it would be taken over."""
    return Outbox(line.state / "outbox.db", told_as=f"{line.station} at {line.mqtt.topic}")


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


def test_a_part_is_told_with_the_model_that_judged_it_by_whoever_comes_after_it(
    line: Line, gate: GateEnd, own_bundle: Path
) -> None:
    edit_manifest(own_bundle, lambda manifest: manifest.update(name="cap of June"))
    with Station(line) as station, inspecting(station):
        gate.wait_for_attach()
        gate.trigger(PART)
        verdict = gate.verdict_on(PART)  # and it dies before the part is reported

    with Station(dataclasses.replace(line, bundle=own_bundle)) as successor, inspecting(successor):
        gate.wait_for_attach()
        gate.report(Closed(PART, verdict, 1, 2, None))
        gate.report(Closed(Part("boot", 2), Verdict(Outcome.REJECT, Cause.MISSED, "nobody was there"), 1, 2, 2))
        gate.wait_for_confirmation(Part("boot", 2))

    before, now = open_bundle(line.bundle).manifest, open_bundle(own_bundle).manifest
    with outbox_of(line) as outbox:
        judged, missed = (json.loads(row.data) for row in outbox.waiting(0, 10) if row.topic.startswith("result/"))
    assert before.bundle_id != now.bundle_id
    assert (judged["readings"], judged["bundle_id"], judged["model"]["name"]) == ([], before.bundle_id, before.name)
    assert (missed["bundle_id"], missed["model"]["name"]) == (now.bundle_id, "cap of June")


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
    with outbox_of(line) as outbox:
        (row,) = outbox.waiting(0, 10)
    data = json.loads(row.data)
    assert (row.topic, data["part"], data["outcome"]) == ("result/pass", {"boot": "boot", "n": 1}, "pass")
    assert data["readings"][0]["raw"] == pytest.approx(raw_score_of_first_photograph(line), abs=1e-5)


def test_the_gate_hears_that_its_alarm_is_safe_once_it_is_in_the_outbox(line: Line, gate: GateEnd) -> None:
    with Station(line) as station, inspecting(station):
        gate.wait_for_attach()

        gate.say(Alarm("boot/alarm/1", "part-went-by", "part boot/1"))

        gate.wait_for_heed("boot/alarm/1")
    with outbox_of(line) as outbox:
        (row,) = outbox.waiting(0, 10)
    assert (row.key, json.loads(row.data)["alert"]) == ("boot/alarm/1", "part-went-by")


def test_n8_a_certificate_that_will_soon_end_is_an_alert(state: Path, small_bundle: Path, tmp_path: Path, broker: Broker) -> None:
    until = utc() + timedelta(days=5)
    own = Authority(tmp_path / "ca").sign("page", valid=("20200101000000Z", f"{until:%Y%m%d%H%M%SZ}"))
    file = write_line(state, small_bundle, port=broker.port)
    file.write_text(f"{file.read_text()}web: {{tls: {{certificate: {own.file}, key: {own.key}}}}}\n")
    line = load_line(file)

    with subscriber(broker.host, broker.port) as heard, gate_end(line.socket), Station(line):
        wait_until(lambda: heard.below("alert"))

    told = json.loads(heard.below("alert")[0].payload)["data"]
    assert (told["alert"], told["state"]) == ("certificate-page", "raised")
    assert f"holds until {until:%Y-%m-%d %H:%M} UTC, 4 days more: put a renewed one" in told["detail"]


def test_while_the_gate_is_held_the_published_state_says_why(state: Path, small_bundle: Path, broker: Broker) -> None:
    line = load_line(write_line(state, small_bundle, port=broker.port))
    with (
        subscriber(broker.host, broker.port) as heard,
        gate_end(line.socket) as gate,
        Station(line) as station,
        inspecting(station),
    ):
        gate.wait_for_attach()

        gate.say(Held("maintenance, encoder-lost (silent)"))
        wait_until(lambda: last_state(heard)["state"] == "degraded")
        held = last_state(heard)["reason"]
        gate.say(Held(""))
        wait_until(lambda: last_state(heard)["state"] == "online")

    assert held == "the gate is held: maintenance, encoder-lost (silent)"


def test_what_is_wrong_at_the_gate_and_holds_no_line_is_said_in_the_published_state(
    state: Path, small_bundle: Path, broker: Broker
) -> None:
    line = load_line(write_line(state, small_bundle, port=broker.port))
    with subscriber(broker.host, broker.port) as heard, gate_end(line.socket) as gate, Station(line):
        gate.wait_for_attach()

        gate.say(Held("", "plc: the PLC does not ask any more"))
        wait_until(lambda: last_state(heard)["state"] == "degraded")

    degraded = [told for message in heard.below("state") if (told := json.loads(message.payload))["state"] == "degraded"]
    assert degraded[0]["reason"] == "plc: the PLC does not ask any more"


def test_without_an_ejector_process_a_station_is_not_online(state: Path, small_bundle: Path, broker: Broker) -> None:
    line = load_line(write_line(state, small_bundle, port=broker.port))
    with subscriber(broker.host, broker.port) as heard, Station(line) as station:
        with gate_end(line.socket) as gate:
            gate.wait_for_attach()
            wait_until(lambda: heard.below("state"))
            started_as = last_state(heard)["state"]

        wait_until(lambda: last_state(heard)["state"] == "degraded")
        alone = last_state(heard)["reason"], station.gate.trouble

    assert started_as == "online"  # before the two had met, too
    assert alone == ("the ejector process is not there: no part is counted or rejected",) * 2


def last_state(heard: Subscriber) -> dict[str, str]:
    return json.loads(heard.below("state")[-1].payload) if heard.below("state") else {"state": ""}


def test_a_part_that_another_process_judged_is_an_event_without_readings(line: Line, gate: GateEnd) -> None:
    missed = Verdict(Outcome.REJECT, Cause.MISSED, "inspection was lost")
    with Station(line) as station, inspecting(station):
        gate.wait_for_attach()

        gate.report(Closed(PART, missed, 1, 2, 3))

        gate.wait_for_confirmation(PART)
    with outbox_of(line) as outbox:
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


@pytest.mark.parametrize("dies_of", [None, RuntimeError("a dead thread")])
def test_the_gate_hears_whether_a_process_that_ends_was_told_to(line: Line, gate: GateEnd, dies_of: Exception | None) -> None:
    with suppress(RuntimeError), Station(line):
        gate.wait_for_attach()
        if dies_of is not None:
            raise dies_of

    wait_until(gate.is_left_alone)
    assert any(isinstance(message, Leaving) for message in gate.heard) is (dies_of is None)


@dataclasses.dataclass(frozen=True)
class Noting:
    """A camera's section, and the camera: notes the triggers that it is asked for."""

    asked: list[int]
    trouble: str = ""
    is_there: bool = True

    def open(self) -> AbstractContextManager["Noting"]:
        return nullcontext(self)

    def expect(self, triggered_ns: int) -> None:
        pass

    def shoot(self, triggered_ns: int) -> Fault:
        self.asked.append(triggered_ns)
        return Fault("nothing but notes")


def test_the_gate_hears_while_attaching_that_a_camera_is_not_there_and_at_once_when_it_is(line: Line, gate: GateEnd) -> None:
    camera = Vanishing()
    with Station(dataclasses.replace(line, cameras={"top": camera})):
        gate.wait_for_attach()
        camera.is_there = True
        gate.wait_for_able()
        camera.is_there = False
        gate.wait_for_unable("top: camera top lost: no cable")

    (attach,) = (message for message in gate.heard if isinstance(message, Attach))
    assert attach.unable == "top: camera top lost: no cable"


def test_the_gate_hears_of_a_pause_and_of_a_leaving_process_before_its_last_parts_are_through(line: Line, gate: GateEnd) -> None:
    with Station(line) as station, inspecting(station):
        gate.wait_for_attach()
        station._desk._paused = "command a1: change of product"
        gate.wait_for_unable("paused by command a1: change of product")
        station._desk._paused = None
        gate.wait_for_able()
        station.readings.keep(PART, ())  # has not reached the gate: it is waited for
    gate.wait_for_unable("the inspection process ends, or is started anew")

    assert [message.why for message in gate.heard if isinstance(message, Unable)][1] == ""


class Vanishing:
    """A camera's section, and the camera: comes and goes."""

    is_there = False

    @property
    def trouble(self) -> str:
        return "" if self.is_there else "camera top lost: no cable"

    def open(self) -> AbstractContextManager["Vanishing"]:
        return nullcontext(self)


def test_a_camera_is_asked_when_a_part_is_triggered_though_no_part_before_has_been_judged(line: Line, gate: GateEnd) -> None:
    """On a belt that moves on, a photograph exposed once they are judged would show another place, or the next part."""
    camera = Noting([])
    with Station(dataclasses.replace(line, cameras={"top": camera})) as station:
        gate.wait_for_attach()
        triggered_ns = [gate.trigger(Part("boot", n)) for n in (1, 2, 3)]

        wait_until(lambda: len(camera.asked) == 3)

        assert camera.asked == triggered_ns
        assert station.gate.waiting == 3
        gate.drop()


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
        station.gate._ears = None  # type: ignore[assignment] - the shortest way to a broken thread
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
        assert list(station.judging) == ["top"]


def raw_score_of_first_photograph(line: Line) -> float:
    with line.cameras["top"].open() as camera:
        image = camera.shoot(0)
    assert isinstance(image, np.ndarray)
    return raw_score(image)
