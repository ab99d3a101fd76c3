"""The desk between broker and hot path: what it does with a command, what it answers, and what it does not forget."""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_bundle import photograph

from agent.broker.command_desk import CommandDesk
from agent.broker.feed import Feed
from agent.broker.heard import Heard
from agent.broker.remote_command import TABLE, Response, Why
from agent.events.outbox import Outbox
from agent.inspection import Fault, Part

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=timezone.utc)
PART = Part("boot", 7)
IMAGE = photograph(np.random.default_rng(1), defect=True)


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    with Outbox(tmp_path / "outbox.db") as outbox:
        yield Feed(outbox)


class Said:
    """Gives commands to a desk, and has its answers and alerts."""

    def __init__(
        self,
        feed: Feed,
        file: Path,
        wrong: str = "",
        enabled: tuple[str, ...] = tuple(TABLE),
        photographs: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        self.alerts: list[tuple[str, dict[str, Any]]] = []
        self.wishes: list[tuple[str, int]] = []
        self.gate_is_there = True
        self.desk = CommandDesk(
            enabled, file, lambda: wrong, self._tell, photographs.__getitem__, {1: "cap", 2: "lid"}, self._wish
        )
        self._feed = feed

    def _wish(self, id: str, recipe: int) -> bool:
        self.wishes += [(id, recipe)] * self.gate_is_there
        return self.gate_is_there

    def _tell(self, key: str, data: bytes) -> None:
        self.alerts.append((key, json.loads(data)))

    def hear(self, name: str, payload: bytes | None = None, now_s: float = 10.0, **heard: Any) -> list[Response]:
        """The answers at once."""
        message = Heard(f"cmd/{name}", order() if payload is None else payload, **({"retained": False, "heard_s": 10.0} | heard))
        self.desk.hear(message, self._feed, "f00d", NOW, now_s)
        return self.answers(now_s)

    def answers(self, now_s: float = 10.0) -> list[Response]:
        return [answer.response for answer in self.desk.answers(now_s)]


def order(id: str = "a1", within_s: float = 60, **content: Any) -> bytes:
    return json.dumps({"id": id, "expires": (NOW + timedelta(seconds=within_s)).isoformat(), **content}).encode()


@pytest.fixture
def said(feed: Feed, tmp_path: Path) -> Said:
    return Said(feed, tmp_path / "commands.json")


def test_a_pause_holds_until_it_is_ended_and_people_are_told_of_both(said: Said) -> None:
    (paused,) = said.hear("pause", order("a1", reason="change of product"))
    why = said.desk.paused
    (resumed,) = said.hear("resume", order("a2"))

    assert (paused.result, paused.id, paused.command) == ("ok", "a1", "pause")
    assert why == "command a1: change of product"
    assert (resumed.result, said.desk.paused) == ("ok", None)
    assert [(alert["alert"], alert["state"]) for _, alert in said.alerts] == [("paused", "raised"), ("paused", "cleared")]


def test_a_restart_forgets_neither_a_pause_nor_what_was_obeyed(said: Said, feed: Feed, tmp_path: Path) -> None:
    said.hear("pause", order("a1"))

    restarted = Said(feed, tmp_path / "commands.json")
    (again,) = restarted.hear("pause", order("a1"))

    assert restarted.desk.paused == "command a1"
    assert (again.result, again.why) == ("refused", Why.REPEATED)


def test_a_pause_that_nobody_could_end_any_more_ends_with_the_restart(said: Said, feed: Feed, tmp_path: Path) -> None:
    said.hear("pause")

    restarted = Said(feed, tmp_path / "commands.json", enabled=("replay",))

    assert restarted.desk.paused is None
    assert [(alert["alert"], alert["state"]) for _, alert in restarted.alerts] == [("paused", "cleared")]


def test_a_failed_self_test_is_cleared_by_resume_or_by_the_restart_that_tests_anew(
    said: Said, feed: Feed, tmp_path: Path
) -> None:
    said.hear("self-test", order("a1"))
    said.desk.self_tested("raw score 7, 2 at export")
    said.answers()

    restarted = Said(feed, tmp_path / "commands.json")
    said.hear("resume", order("a2"))

    cleared = ("self-test-failed", "cleared")
    assert [(alert["alert"], alert["state"]) for _, alert in restarted.alerts] == [cleared]
    assert [(alert["alert"], alert["state"]) for _, alert in said.alerts] == [("self-test-failed", "raised"), cleared]
    assert (said.desk.paused, restarted.desk.paused) == (None, None)


@pytest.mark.parametrize("content", [b"", b"{", b'{"paused": 7}', b"\xff"], ids=["empty", "cut", "number", "no text"])
def test_a_file_that_cannot_be_read_costs_the_memory_and_not_the_station(feed: Feed, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "commands.json").write_bytes(content)

    desk = Said(feed, tmp_path / "commands.json").desk

    assert desk.paused is None


def test_a_disk_that_takes_nothing_does_not_keep_a_command_from_being_obeyed(feed: Feed, tmp_path: Path) -> None:
    said = Said(feed, tmp_path / "no such folder" / "commands.json")

    (answer,) = said.hear("pause")

    assert (answer.result, said.desk.paused) == ("ok", "command a1")


def test_a_capture_is_answered_with_the_photograph_of_the_next_part(said: Said) -> None:
    at_once = said.hear("capture")

    said.desk.saw(PART, IMAGE)

    said.desk.saw(Part("boot", 8), IMAGE)
    (answer,) = said.answers()
    shown = cv2.imdecode(np.frombuffer(answer.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert at_once == []
    assert (answer.result, answer.part) == ("ok", "boot/7")
    assert shown is not None
    assert np.abs(shown.mean() - IMAGE.mean()) < 3  # of 255; what a JPEG may change


def test_a_capture_of_a_part_without_an_image_says_why(said: Said) -> None:
    said.hear("capture")

    said.desk.saw(PART, Fault("no frame within 80 ms"))

    (answer,) = said.answers()
    assert (answer.result, answer.reason, answer.jpeg) == ("failed", "no frame within 80 ms", b"")


@pytest.mark.parametrize("name", ["capture", "self-test"])
def test_what_could_not_be_done_before_it_expired_is_told(said: Said, name: str) -> None:
    said.hear(name, order(within_s=30))

    in_time, late, later = said.answers(39.9), said.answers(40.1), said.answers(50)
    said.desk.saw(PART, IMAGE)

    assert [answer.result for answer in late] == ["failed"]
    assert in_time == later == said.answers() == []
    assert not said.desk.asks_for_self_test


def test_too_many_captures_at_once_are_refused(said: Said) -> None:
    answers = [answer for n in range(10) for answer in said.hear("capture", order(f"a{n}"))]

    assert [answer.why for answer in answers] == [Why.TOO_MANY, Why.TOO_MANY]


def test_a_self_test_that_goes_well_is_told(said: Said) -> None:
    said.hear("self-test")
    asks = said.desk.asks_for_self_test

    said.desk.self_tested("")

    (answer,) = said.answers()
    assert asks
    assert (answer.result, answer.command, said.desk.paused) == ("ok", "self-test", None)


def test_a_model_that_fails_its_self_test_judges_no_part_any_more(said: Said) -> None:
    said.hear("self-test")

    said.desk.self_tested("raw score 7 here, 2 at export")

    (answer,) = said.answers()
    assert answer.result == "failed"
    assert said.desk.paused == "self-test failed: raw score 7 here, 2 at export"
    assert said.alerts[0][1]["alert"] == "self-test-failed"


def test_a_self_test_that_fails_after_who_asked_was_told_pauses_even_so(said: Said) -> None:
    said.hear("self-test", order(within_s=30))
    (late,) = said.answers(41)

    said.desk.self_tested("raw score 7 here, 2 at export")

    assert (late.result, said.answers(42)) == ("failed", [])
    assert said.desk.paused is not None


def test_a_reload_is_wanted_when_nothing_is_wrong(said: Said) -> None:
    (answer,) = said.hear("reload")

    assert (answer.result, said.desk.wants_restart) == ("ok", True)


@pytest.mark.parametrize("name", ["recipe", "capture", "self-test"])
def test_what_waits_is_answered_before_a_reload_and_what_comes_then_is_refused(said: Said, name: str) -> None:
    content = {"recipe": 2} if name == "recipe" else {}
    said.hear(name, order("a1", **content))

    waited, reloaded = said.hear("reload", order("a2"))
    (later,) = said.hear(name, order("a3", **content))

    assert (waited.id, waited.result, "`birth` says" in waited.reason) == ("a1", "failed", True)
    assert (reloaded.id, reloaded.result) == ("a2", "ok")
    assert (later.id, later.result, later.why) == ("a3", "refused", Why.NOT_POSSIBLE)


def test_a_reload_of_a_wrong_file_is_refused_with_what_is_wrong(feed: Feed, tmp_path: Path) -> None:
    said = Said(feed, tmp_path / "commands.json", wrong="line.yaml:7: gate: unknown key 'travel'")

    (answer,) = said.hear("reload")

    assert (answer.result, answer.reason) == ("refused", "line.yaml:7: gate: unknown key 'travel'")
    assert not said.desk.wants_restart


def test_a_command_that_was_refused_is_obeyed_when_it_is_given_again_and_once(said: Said) -> None:
    said.gate_is_there = False
    refused = said.hear("recipe", order(recipe=2))
    said.gate_is_there = True

    said.hear("recipe", order(recipe=2))
    said.desk.wished("a1", "")
    answers = [*refused, *said.answers(), *said.hear("recipe", order(recipe=2))]

    assert [(one.result, one.why) for one in answers] == [("refused", Why.NOT_POSSIBLE), ("ok", None), ("refused", Why.REPEATED)]
    assert said.wishes == [("a1", 2)]


@pytest.mark.parametrize(
    ("stream", "first", "last", "result"),
    [("f00d", 1, 9, "ok"), ("other", 1, 9, "refused"), ("f00d", 9, 1, "refused")],
    ids=["of this stream", "of another", "backwards"],
)
def test_a_replay_is_of_this_stream(said: Said, stream: str, first: int, last: int, result: str) -> None:
    (answer,) = said.hear("replay", order(**{"stream": stream, "from": first, "to": last}))

    assert answer.result == result


@pytest.mark.parametrize(("event", "result"), [("boot/7", "ok"), ("boot/8", "refused")], ids=["kept", "not kept"])
def test_the_photograph_of_a_kept_part_is_sent_by_the_id_of_its_event(
    feed: Feed, tmp_path: Path, event: str, result: str
) -> None:
    said = Said(feed, tmp_path / "commands.json", photographs={"boot/7": b"a JPEG"})

    (answer,) = said.hear("image", order(event=event))

    assert answer.result == result
    assert (answer.jpeg, answer.part) == {"ok": (b"a JPEG", "boot/7"), "refused": (b"", "")}[result]


def test_a_command_that_waited_longer_than_its_message_expiry_is_late(said: Said) -> None:
    (answer,) = said.hear("pause", now_s=16.0, expiry_s=5)

    assert (answer.result, answer.why) == ("refused", Why.LATE)
    assert said.desk.paused is None


def test_an_answer_wanted_elsewhere_is_refused_because_it_would_lend_the_stations_rights(said: Said) -> None:
    (answer,) = said.hear("pause", answers_elsewhere=True)

    assert (answer.result, answer.why) == ("refused", Why.ELSEWHERE)


def test_a_retained_command_is_counted_and_not_even_answered(said: Said) -> None:
    assert said.hear("pause", retained=True) == []
    assert said.desk.paused is None
    assert said.desk.refused == {"retained": 1}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(TABLE)) | st.text(),
    payload=st.binary(max_size=300) | st.just(order()) | st.text(max_size=300).map(str.encode),
    retained=st.booleans(),
    expiry_s=st.none() | st.integers(0, 2**32 - 1),
    elsewhere=st.booleans(),
    correlation=st.binary(max_size=40),
)
def test_n13_each_message_is_obeyed_or_counted_as_refused_and_never_raises(
    said: Said, name: str, payload: bytes, retained: bool, expiry_s: int | None, elsewhere: bool, correlation: bytes
) -> None:
    before = said.desk.obeyed + said.desk.refused.total()

    said.hear(name, payload, retained=retained, expiry_s=expiry_s, answers_elsewhere=elsewhere, correlation=correlation)

    assert said.desk.obeyed + said.desk.refused.total() == before + 1


@pytest.mark.parametrize(("refusal", "result"), [("", "ok"), ("no space left; recipe 1 stays", "failed")], ids=["runs", "stays"])
def test_a_recipe_is_asked_of_the_gate_and_answered_when_the_gate_has_answered(said: Said, refusal: str, result: str) -> None:
    at_once = said.hear("recipe", order("a1", recipe=2))
    said.desk.wished("another", "")
    still = said.answers()

    said.desk.wished("a1", refusal)
    (answer,) = said.answers()

    assert (at_once, still, said.wishes) == ([], [], [("a1", 2)])
    assert (answer.id, answer.command, answer.result, answer.reason) == ("a1", "recipe", result, refusal)


def test_a_recipe_that_is_not_there_or_cannot_be_asked_for_is_refused(said: Said) -> None:
    (unknown,) = said.hear("recipe", order("a1", recipe=9))
    said.gate_is_there = False
    (unreachable,) = said.hear("recipe", order("a2", recipe=2))

    assert (unknown.why, unreachable.why) == (Why.NOT_POSSIBLE, Why.NOT_POSSIBLE)
    assert "this line has 1 (cap), 2 (lid)" in unknown.reason
    assert "ejector process" in unreachable.reason
    assert (said.wishes, said.answers(now_s=1000.0)) == ([], [])


def test_a_recipe_whose_command_expires_before_the_gate_answers_is_told_where_to_look(said: Said) -> None:
    said.hear("recipe", order("a1", within_s=5, recipe=2))

    (answer,) = said.answers(now_s=20.0)

    assert (answer.result, "`birth` says which recipe runs" in answer.reason) == ("failed", True)
