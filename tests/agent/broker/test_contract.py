"""The published contract is what the station says: generated from its types, true of its messages, read by others' libraries."""

import importlib.util
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from broker import Broker
from cloudevents.core.formats.json import JSONFormat
from commander import Commander, commander, order
from gate_end import GateEnd, gate_end
from inspecting import inspecting
from jsonschema import Draft202012Validator, FormatChecker
from line_file import write_line
from subscriber import Subscriber, subscriber
from waiting import wait_until

from agent.broker.remote_command import TABLE
from agent.config import load_line
from agent.inspection import Closed, Part
from agent.station import Station

FOLDER = Path(__file__).parents[3] / "docs" / "mqtt"
SCHEMAS = {file.stem: json.loads(file.read_text()) for file in (FOLDER / "schemas").glob("*.json")}
PAGE = (FOLDER / "README.md").read_text()
EXAMPLES = re.findall(r"```json (\S+)\n(.*?)```", PAGE, re.DOTALL)


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", FOLDER / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wrong(name: str, content: Any) -> list[str]:
    """What is wrong with a message by its published schema."""
    return [error.message for error in Draft202012Validator(SCHEMAS[name], format_checker=FormatChecker()).iter_errors(content)]


@dataclass
class Plant:
    """A real station with a part that was rejected, and those who listen to it at a real broker."""

    station: Station
    gate: GateEnd
    heard: Subscriber
    client: Commander


@pytest.fixture
def plant(broker: Broker, state: Path, small_bundle: Path) -> Iterator[Plant]:
    file = write_line(state, small_bundle, broker.port)
    file.write_text(file.read_text().replace("topic: plant/press-3}", f"topic: plant/press-3, commands: [{', '.join(TABLE)}]}}"))
    line = load_line(file)
    with (
        subscriber(broker.host, broker.port) as heard,
        commander(broker.host, broker.port) as client,
        gate_end(line.socket) as gate,
        Station(line) as station,
        inspecting(station),
    ):
        gate.wait_for_attach()
        wait_until(lambda: heard.below("state") and heard.below("metrics"))
        yield Plant(station, gate, heard, client)


def judge(plant: Plant, part: Part) -> None:
    """Triggers the part and reports it closed; its event is at the broker when this returns."""
    plant.gate.trigger(part)
    plant.gate.report(Closed(part, plant.gate.verdict_on(part), 1_000, 2_000_000, 2_500_000))
    plant.gate.wait_for_confirmation(part)
    wait_until(lambda: str(part) in {event["id"] for event in plant.heard.events()})


def test_the_published_files_are_those_that_the_types_give() -> None:
    published = {file.relative_to(FOLDER).as_posix(): file.read_text() for file in FOLDER.rglob("*.json")}

    assert published == generator().contract(), "run: python docs/mqtt/generate.py"


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_schema_is_one(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])


def test_the_asyncapi_document_names_each_schema_and_nothing_that_is_not_there() -> None:
    text = (FOLDER / "asyncapi.json").read_text()
    document = json.loads(text)
    inner = {tuple(path.split("/")) for path in re.findall(r'"\$ref": "#/([^"]+)"', text)}

    files = set(re.findall(r'"\$ref": "\./schemas/([^"]+)\.json"', text))

    assert files == set(SCHEMAS)
    assert all(path[-1] in (document[path[0]] if len(path) == 2 else document[path[0]][path[1]]) for path in inner)
    assert set(document["operations"]) == set(document["channels"])


@pytest.mark.parametrize(("name", "text"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_each_example_of_the_page_is_valid(name: str, text: str) -> None:
    assert wrong(name, json.loads(text)) == []


def test_the_page_has_an_example_of_each_message_and_names_each_command() -> None:
    missing = set(SCHEMAS) - {name for name, _ in EXAMPLES} - {f"cmd-{name}" for name in TABLE}

    assert missing == set()
    assert all(f"`{name}`" in PAGE for name in TABLE)


@pytest.mark.parametrize("name", ["part", "alert", "metrics", "birth", "state"])
def test_the_page_or_the_schema_says_what_each_field_is(name: str) -> None:
    types = SCHEMAS[name]["$defs"].values()
    said = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL) + " ".join(kind.get("description", "") for kind in types)

    unsaid = [key for kind in types for key in kind.get("properties", {}) if not re.search(rf"\b{key}\b", said)]

    assert set(unsaid) <= {"specversion", "datacontenttype"}  # of CloudEvents


def test_what_a_real_station_says_is_valid_and_other_libraries_read_it(plant: Plant) -> None:
    judge(plant, Part("boot", 1))
    plant.client.ask("pause", order(reason="contract"))
    plant.client.ask("replay", b"none")
    wait_until(lambda: plant.heard.below("alert"))

    found = {
        (name, message.payload): wrong(name, json.loads(message.payload))
        for name, topic in [*((name, name) for name in ("state", "birth", "metrics", "alert")), ("part", "result/pass")]
        for message in plant.heard.below(topic)
    }
    event = JSONFormat().read(None, plant.heard.below("result/pass")[0].payload)
    assert [problem for problem in found.values() if problem] == []
    assert {name for name, _ in found} == {"state", "birth", "metrics", "alert", "part"}
    assert [wrong("response", answer) for _, answer in plant.client.answers] == [[], []]
    assert (event.get_id(), event.get_source(), event.get_type()) == ("boot/1", "urn:kensa:press-3", "kensa.part/v1")
    assert event.get_data()["model"]["name"] == "small"
    assert re.fullmatch("[0-9a-f]{64}", event.get_data()["config_sha256"])


def test_a_paused_station_rejects_what_it_would_pass_and_says_so_until_it_is_resumed(plant: Plant) -> None:
    paused = plant.client.ask("pause", order(reason="change of product"))
    wait_until(lambda: json.loads(plant.heard.below("state")[-1].payload)["state"] == "paused")
    judge(plant, Part("boot", 1))
    resumed = plant.client.ask("resume")
    judge(plant, Part("boot", 2))  # of the three photographs the first two are good
    while_paused, afterwards = (plant.gate.told[Part("boot", n)] for n in (1, 2))

    assert (paused["result"], resumed["result"]) == ("ok", "ok")
    assert (while_paused.outcome.value, while_paused.cause.value) == ("reject", "fault")
    assert "change of product" in while_paused.detail
    assert (afterwards.outcome.value, afterwards.cause.value) == ("pass", "score")


def test_a_capture_shows_the_next_part(plant: Plant) -> None:
    correlation = b"photograph"
    plant.client.say("cmd/capture", order(), CorrelationData=correlation)
    wait_until(lambda: plant.station._desk.obeyed)

    judge(plant, Part("boot", 1))

    wait_until(lambda: correlation in dict(plant.client.answers))
    answer = dict(plant.client.answers)[correlation]
    assert (answer["result"], answer["part"]) == ("ok", "boot/1")
    assert answer["jpeg"].startswith("/9j/")  # how a JPEG begins, in base64


def test_a_self_test_runs_while_the_belt_is_empty(plant: Plant) -> None:
    answer = plant.client.ask("self-test")

    assert (answer["result"], answer.get("reason", "")) == ("ok", "")


def test_a_reload_ends_the_inspection_process_in_order(plant: Plant) -> None:
    answer = plant.client.ask("reload")

    assert answer["result"] == "ok"
    wait_until(lambda: plant.station._desk.wants_restart)
    assert list(plant.station.shots(plant.station._publisher._stop)) == []


def test_a_replay_says_events_once_more(plant: Plant) -> None:
    judge(plant, Part("boot", 1))
    stream = json.loads(plant.heard.below("birth")[0].payload)["stream"]

    answer = plant.client.ask("replay", order(**{"stream": stream, "from": 1, "to": 1}))

    assert answer["result"] == "ok"
    wait_until(lambda: len(plant.heard.events()) == 2)
    assert plant.heard.events()[1] == plant.heard.events()[0] | {"historical": True}


def test_a_consumer_of_version_1_0_finds_all_that_it_knows() -> None:
    known = {"part", "outcome", "cause", "detail", "readings", "threshold", "bundle_id", "boot_id", "triggered_ns", "action"}

    assert known <= set(SCHEMAS["part"]["$defs"]["PartData"]["required"])
