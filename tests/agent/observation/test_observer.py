"""The observer sees everything, waits for nobody and gives way when the line needs the processor."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from bright_spots import Brightest, bright_model
from small_bundle import CONTRACT, photograph
from waiting import wait_until

from agent.events.event import alert
from agent.inspection import Cause, Closed, Fault, Measured, Outcome, Part, Prediction, Shot, Verdict
from agent.observation.around import Around
from agent.observation.drift import Drift
from agent.observation.observer import Observer
from agent.observation.seen import Seen
from agent.observation.shown import PAGE_SOCKET, Ended, Frames, Health, Judged, Station, Told
from agent.sections import WatchDrift

IMAGE = photograph(np.random.default_rng(1))
PREDICTION = Prediction(0.5, 2.0, 0.01, np.ones((8, 8), np.float32))
REJECT = Verdict(Outcome.REJECT, Cause.SCORE, "score 2")
PASS = Verdict(Outcome.PASS, Cause.SCORE, "score 0.1")
DUE_NS = 400_000_000


class Reader:
    """The page's process: hears in a thread, says that somebody looks if somebody does."""

    def __init__(self, state: Path, looks: bool) -> None:
        self.heard: list[Told] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(state / PAGE_SOCKET))
        if looks:
            self._socket.sendall(b"+")
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        frames = Frames()
        with contextlib.suppress(ConnectionResetError):  # the other end may leave with something unread
            while received := self._socket.recv(65536):
                self.heard += frames.feed(received)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._socket.close()

    def of(self, kind: type) -> list:
        return [message for message in self.heard if isinstance(message, kind)]


@contextmanager
def reading(state: Path, looks: bool = True) -> Iterator[Reader]:
    reader = Reader(state, looks)
    try:
        wait_until(lambda: reader.of(Station))
        yield reader
    finally:
        reader.close()


@pytest.fixture
def observer(state: Path) -> Iterator[Observer]:
    with Observer(state, DUE_NS, DUE_NS, Around({"station": "press-3"})) as one:
        yield one


def saw(observer: Observer, n: int, latency_ms: float = 20.0, cameras: Sequence[str] = ("top",), deciding: int = 0) -> None:
    """A part that each camera has seen; only the deciding one finds it strange."""
    shots = [Shot(Part("boot", n), camera, 0, IMAGE) for camera in cameras]
    numbers = [Measured(camera, raw=0.5, score=2.0, p_value=0.01, latency_ms=latency_ms) for camera in cameras]
    verdicts = [REJECT if k == deciding else PASS for k in range(len(cameras))]
    observer.saw(Seen(shots, [PREDICTION] * len(cameras), numbers, verdicts, [CONTRACT] * len(cameras), deciding))


def test_a_part_is_told_with_picture_and_heat_map_while_somebody_looks(state: Path, observer: Observer) -> None:
    with reading(state) as page:
        saw(observer, 1)
        wait_until(lambda: page.of(Judged))

        (part,) = page.of(Judged)
        (view,) = part.views
        assert (part.part, view.outcome, view.score) == ("boot/1", "reject", 2.0)
        assert view.jpeg.startswith(b"\xff\xd8")
        assert view.heat.startswith(b"\x89PNG")


def test_a_part_is_told_with_the_picture_of_each_camera_and_which_one_decided(state: Path, observer: Observer) -> None:
    with reading(state) as page:
        saw(observer, 1, cameras=("top", "side", "back"), deciding=1)
        wait_until(lambda: page.of(Judged))

        (part,) = page.of(Judged)
        assert [(view.camera, view.outcome) for view in part.views] == [("top", "pass"), ("side", "reject"), ("back", "pass")]
        assert part.deciding == 1
        assert [view.jpeg[:2] for view in part.views] == [b"\xff\xd8"] * 3


def test_a_camera_without_a_picture_leaves_those_of_the_others(state: Path, observer: Observer) -> None:
    lost, fault = Fault("no frame"), Verdict(Outcome.REJECT, Cause.FAULT, "no frame")
    shots = [Shot(Part("boot", 1), "top", 0, lost), Shot(Part("boot", 1), "side", 0, IMAGE)]
    numbers = [Measured("top", fault="no frame"), Measured("side", score=0.1)]
    with reading(state) as page:
        observer.saw(Seen(shots, [lost, PREDICTION], numbers, [fault, PASS], [CONTRACT] * 2, 0))
        wait_until(lambda: page.of(Judged))

        assert [view.jpeg != b"" for view in page.of(Judged)[0].views] == [False, True]


def test_a_page_is_told_which_model_judges_from_now_on(state: Path, observer: Observer) -> None:
    with reading(state) as page:
        observer.judged_by([bright_model(Brightest())], {"bundle_id": "fresh"}, 2 * DUE_NS)
        wait_until(lambda: len(page.of(Station)) == 2)

        assert [told.birth.get("bundle_id") for told in page.of(Station)] == [None, "fresh"]
        assert page.of(Station)[1].birth["threshold"] == pytest.approx(160, abs=1)  # of tests/bright_spots.py


def test_no_picture_is_made_while_nobody_looks(state: Path, observer: Observer) -> None:
    with reading(state, looks=False) as page:
        saw(observer, 1)
        wait_until(lambda: page.of(Judged))

        assert not page.of(Judged)[0].is_shown


def test_the_page_hears_why_the_broker_takes_no_events_and_for_how_long(state: Path) -> None:
    around = Around(broker=lambda: ("cannot connect: refused", 90.0))
    with Observer(state, DUE_NS, DUE_NS, around), reading(state) as page:
        wait_until(lambda: page.of(Health))

    told = page.of(Health)[-1]
    assert (told.broker, told.broker_away_s, told.trouble) == ("cannot connect: refused", 90.0, "")


def test_m11_when_verdicts_get_slow_pictures_go_first_parts_never_and_an_alarm_is_raised_and_cleared(state: Path) -> None:
    told: list[tuple[str, str]] = []
    around = Around(alert=lambda name, what, detail: told.append((name, what)))
    with Observer(state, DUE_NS, DUE_NS, around) as observer, reading(state) as page:
        [saw(observer, n, latency_ms=390.0) for n in range(1, 60)]
        wait_until(lambda: ("slow", "raised") in told)
        saw(observer, 60, latency_ms=390.0)
        wait_until(lambda: len(page.of(Judged)) == 60)
        is_shown = page.of(Judged)[-1].is_shown
        [saw(observer, n, latency_ms=5.0) for n in range(61, 200)]
        wait_until(lambda: ("slow", "cleared") in told)

    assert not is_shown
    assert told == [("slow", "raised"), ("slow", "cleared")]


def test_verdicts_are_slow_or_not_by_the_way_to_the_gate_of_the_recipe_that_runs(state: Path) -> None:
    told: list[tuple[str, str]] = []
    around = Around(alert=lambda name, what, detail: told.append((name, what)))
    with Observer(state, 10 * DUE_NS, 10 * DUE_NS, around) as observer:
        observer.judged_by([bright_model(Brightest())], {}, DUE_NS)
        [saw(observer, n, latency_ms=0.9 * DUE_NS / 1e6) for n in range(40)]
        wait_until(lambda: told)

    assert told == [("slow", "raised")]


def test_m14_an_alarm_of_drift_is_raised_once_and_cleared_once(state: Path) -> None:
    told: list[tuple[str, str]] = []
    around = Around(alert=lambda name, what, detail: told.append((name, what)))
    drift = Drift(WatchDrift(parts=50, reject_share=1), 300)
    verdicts = [REJECT] * 30 + [Verdict(Outcome.PASS, Cause.SCORE, "")] * 60
    with Observer(state, DUE_NS, DUE_NS, around, drift=drift) as observer:
        [observer.ended(Closed(Part("boot", n), verdicts[n], 0, 0, None)) for n in range(30)]
        wait_until(lambda: told)
        [observer.ended(Closed(Part("boot", n), verdicts[n], 0, 0, None)) for n in range(30, 90)]
        wait_until(lambda: len(told) == 2)

    assert told == [("reject-run", "raised"), ("reject-run", "cleared")]


def test_an_alert_says_whether_it_begins_or_ends() -> None:
    assert [json.loads(alert("slow", "...", state))["state"] for state in ("raised", "cleared")] == ["raised", "cleared"]


def test_an_end_told_twice_is_counted_and_told_once(state: Path, observer: Observer) -> None:
    closed = Closed(Part("boot", 1), REJECT, 0, 1_000_000, 1_200_000)
    with reading(state) as page:
        observer.ended(closed)
        observer.ended(closed)
        wait_until(lambda: page.of(Health) and page.of(Health)[-1].counts)

        assert page.of(Health)[-1].counts == {"reject": 1, "reject/score": 1}
        assert page.of(Ended)[0].late_ms == 0.2
        assert len(page.of(Ended)) == 1


def test_facts_beyond_what_memory_holds_are_dropped_and_counted(state: Path) -> None:
    observer = Observer(state, DUE_NS, DUE_NS, Around())
    with observer:
        pass  # its thread has left: nobody takes what comes

    [saw(observer, n) for n in range(5000)]

    assert observer.dropped == 5000 - 4096


def test_a_page_that_comes_later_is_told_of_the_last_parts(state: Path, observer: Observer) -> None:
    saw(observer, 1)
    with reading(state) as first:
        wait_until(lambda: first.of(Judged))

    with reading(state) as second:
        wait_until(lambda: second.of(Judged))

        assert second.of(Judged)[0].part == "boot/1"
        assert not second.of(Judged)[0].is_shown  # its picture was for those who looked then


def test_a_page_that_does_not_read_is_hung_up_on_and_the_hot_path_never_waits(state: Path, observer: Observer) -> None:
    deaf = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    deaf.connect(str(state / PAGE_SOCKET))

    [saw(observer, n) for n in range(4000)]
    wait_until(lambda: not observer._page.is_open and not observer._facts, timeout_s=20)
    deaf.close()

    observer.check()
    with reading(state):
        pass  # it may call again


def test_a_stream_that_is_none_of_ours_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a message of at most"):
        list(Frames().feed(b"HTTP/1.1 200 OK"))
