"""Changes of product on a running belt: whatever is killed, broken or asked wrongly, one recipe runs and no part has two."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from broker import Broker, free_port
from commander import commander, order
from gate_line import GateLine, gate_line
from libmodbus import Master, Plc, plc
from recipe_line import events, judged_otherwise, missing, twice, two_processes, write_products
from subscriber import subscriber
from waiting import wait_until

from agent.gate.handshake import ErrorCode
from agent.inspection import Cause, Outcome, Part, Verdict
from agent.link import Changed, ChangeTo, Tell

PASS = Verdict(Outcome.PASS, Cause.SCORE, "good")
DRAINS, PREPARES = "on their way", "prepares"


def number_in(folder: Path) -> int:
    return int(json.loads((folder / "state" / "recipe.json").read_text())["recipe"])


# ---------------------------------------------------------------- two real processes


def test_m13_parts_of_two_products_on_a_belt_that_never_stops_are_each_judged_by_one_recipe_and_told_once(state: Path) -> None:
    file = write_products(state)
    with two_processes(file) as line:
        said = [(line.command(recipe), line.wait_until_judging(recipe))[0] for recipe in (2, 1, 2)]
        account = line.leave()

    found = events(file)
    assert said == [(0, "recipe 2 runs\n"), (0, "recipe 1 runs\n"), (0, "recipe 2 runs\n")]
    assert (judged_otherwise(found), twice(found), missing(found)) == ([], [], [])
    assert account["triggers"] == account["pass"] + account["reject"] == len(found)
    assert {one["outcome"] for one in found if one["recipe"] is None} == {"reject"}
    assert {(one["recipe"] or {}).get("name") for one in found if one["cause"] == "score"} == {"cap", "lid"}


@pytest.mark.parametrize(
    ("killed", "when", "runs"),
    [
        (["inspect"], DRAINS, 2),
        (["inspect"], PREPARES, 1),
        (["eject"], DRAINS, 1),
        (["eject"], PREPARES, 1),
        (["inspect", "eject"], PREPARES, 1),
        (["inspect", "eject"], "", 2),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else str(value) or "done",
)
def test_a3_a5_processes_killed_in_the_midst_of_a_change_over_end_in_one_recipe(
    state: Path, killed: list[str], when: str, runs: int
) -> None:
    file = write_products(state)
    with two_processes(file) as line:
        [line.freeze("inspect") for _ in [when] if when]  # so that it does not go on before it is killed
        line.ask(2)
        wait_until(lambda: (found := line.state()) and when in found.recipe.unsettled and (when or found.recipe.number == 2))

        [line.kill(role) for role in killed]
        line.thaw("inspect")
        [line.start(role) for role in killed]

        found_running = line.wait_until_ready(runs)
        line.leave()

    found = events(file)
    assert (found_running, number_in(state)) == (runs, runs)
    assert (judged_otherwise(found), twice(found), missing(found)) == ([], [], [])


def test_m4_a_recipe_that_does_not_open_is_refused_with_the_reason_and_the_one_before_goes_on(state: Path) -> None:
    file = write_products(state)
    with two_processes(file) as line:
        broken, unknown = line.command(3), line.command(9)
        line.wait_until_judging(1)
        line.leave()

    found = events(file)
    assert broken[0] == unknown[0] == 1
    assert "at export" in broken[1]
    assert "recipe 1 stays" in broken[1]
    assert unknown[1] == "kensa gate: there is no recipe 9, this line has 1 (cap), 2 (lid), 3 (broken)\n"
    assert (judged_otherwise(found), twice(found), missing(found)) == ([], [], [])
    assert found[-1]["recipe"] == {"number": 1, "name": "cap"}


def test_m4_a_running_recipe_that_broke_over_a_restart_judges_no_part_until_a_person_chooses_another(state: Path) -> None:
    file = write_products(state)
    (state / "state").mkdir()
    (state / "state" / "recipe.json").write_text('{"recipe": 3}')
    with two_processes(file, is_ready=False) as line:
        wait_until(lambda: (found := line.state()) and "at export" in found.recipe.unsettled)
        said = line.command(1)
        line.wait_until_ready(1)
        line.leave()

    found = events(file)
    assert said == (0, "recipe 1 runs\n")
    assert {one["outcome"] for one in found if one["recipe"] == {"number": 3, "name": "broken"}} == {"reject"}
    assert judged_otherwise(found) == []


def test_a_recipe_that_is_gone_from_the_file_holds_the_line_until_a_person_has_chosen(state: Path) -> None:
    file = write_products(state)
    (state / "state").mkdir()
    (state / "state" / "recipe.json").write_text('{"recipe": 7}')
    with two_processes(file, is_ready=False) as line:
        wait_until(lambda: (found := line.state()) and found.attached)
        held = line.state().held
        said = line.command(2)
        kept = line.state().held

    assert list(held) == list(kept) == ["recipe-gone"]
    assert "recipe 7 ran and is not in" in held["recipe-gone"]
    assert said == (0, "recipe 2 runs\n")


def test_an_inspection_process_started_alone_with_another_file_judges_no_part(state: Path) -> None:
    file = write_products(state)
    before = file.read_text()
    with two_processes(file) as line:
        line.wait_until_judging(1)
        file.write_text(
            before.replace("1: {name: cap}", "1: {name: lid, bundle: lid}").replace("2: {name: lid, bun", "2: {name: cap, bun")
        )
        line.kill("inspect")
        line.start("inspect")
        wait_until(lambda: (found := line.state()) and "another file than the gate: restart both" in found.recipe.unsettled, 30)
        ready, said = line.state().ready, line.command(2)
        file.write_text(before)
        line.kill("inspect")
        line.start("inspect")
        line.wait_until_judging(1)
        line.leave()

    found = events(file)
    by_a_process_that_lived = [one for one in found if one["readings"]]
    assert (ready, said[0], "another file" in said[1]) == (False, 1, True)
    assert any("another file than the gate" in json.dumps(one) for one in found if one["outcome"] == "reject")
    assert (judged_otherwise(by_a_process_that_lived), twice(found), missing(found)) == ([], [], [])


def test_a_recipe_is_changed_by_mqtt_acknowledged_and_told_in_birth_and_state(state: Path, broker: Broker) -> None:
    file = write_products(state, broker.port)
    with (
        two_processes(file) as line,
        subscriber(broker.host, broker.port) as heard,
        commander(broker.host, broker.port) as client,
    ):
        changed = client.ask("recipe", order(recipe=2))
        broken, unknown = client.ask("recipe", order(recipe=3)), client.ask("recipe", order(recipe=9))
        said = [lambda: json.loads(heard.below("birth")[-1].payload), lambda: json.loads(heard.below("state")[-1].payload)]
        wait_until(lambda: (said[0]()["recipe"], said[1]()["recipe"]) == (2, 2))
        alerts = [json.loads(message.payload)["data"] for message in heard.below("alert")]
        line.wait_until_ready(2)

    assert (changed["result"], broken["result"], unknown["result"]) == ("ok", "failed", "refused")
    assert "recipe 2 stays" in broken["reason"]
    assert "this line has 1 (cap), 2 (lid), 3 (broken)" in unknown["reason"]
    assert said[0]()["product"] == "lid"
    assert any(alert["alert"] == "recipe-changed" and "asked for by command" in alert["detail"] for alert in alerts)


# ---------------------------------------------------------------- a PLC, and inspection's end held by the test

RECIPES = """recipes:
  1: {name: cap}
  2: {name: lid, gate: {travel_ms: 120}}
plc: {type: modbus_server, host: 127.0.0.1, port: PORT}
"""


@pytest.fixture
def ejector() -> Iterator[Plc]:
    with plc() as running:
        yield running


@contextmanager
def line_with_plc(folder: Path, ejector: Plc) -> Iterator[tuple[GateLine, Master]]:
    """Recipe 1 runs; inspection's end is the test's, and so is the PLC."""
    port = free_port()
    with gate_line(folder, ejector, more=RECIPES.replace("PORT", str(port))) as line, closing(Master(port)) as master:
        answer(line, 1)
        wait_until(lambda: is_ready(master))
        yield line, master


def answer(line: GateLine, recipe: int, why: str = "") -> None:
    """Inspection has been told to change to this recipe, and has; or says why it has not, and judges by 1."""
    line.inspector.listen_until(lambda: ordered(line) and ordered(line)[-1] == recipe)
    line.inspector.send(Changed(recipe, 1 if why else recipe, why))


def ordered(line: GateLine) -> list[int]:
    return [message.recipe for message in line.inspector.heard if isinstance(message, ChangeTo)]


def is_ready(master: Master) -> bool:
    return bool(master.inputs(0, 1)[0] & 1)


def wish(master: Master, recipe: int) -> None:
    master.write_registers(1, [recipe])


def test_a_plc_wishes_a_recipe_and_sees_it_run_and_no_part_is_ready_for_meanwhile(state: Path, ejector: Plc) -> None:
    with line_with_plc(state, ejector) as (line, master):
        (of_cap,) = line.trigger()
        wish(master, 2)
        wait_until(lambda: not is_ready(master))
        before = master.inputs(9, 1)
        line.inspector.send(Tell(of_cap, PASS, recipe=1))
        (closed,) = line.closed([of_cap])
        answer(line, 2)
        wait_until(lambda: is_ready(master))
        after = master.inputs(9, 1)
        (of_lid,) = line.trigger()
        line.inspector.send(Tell(of_lid, PASS, recipe=2))
        (closed_lid,) = line.closed([of_lid])

    told = next(message for message in line.inspector.heard if isinstance(message, ChangeTo) and message.recipe == 2)
    assert told.until_ns > closed.planned_ns
    assert (before, after) == ([1], [2])
    assert (closed.verdict, closed.recipe, closed_lid.verdict, closed_lid.recipe) == (PASS, 1, PASS, 2)
    way_ms = [round((one.planned_ns - one.triggered_ns) / 1e6) for one in (closed, closed_lid)]
    assert way_ms == [300, 100]


@pytest.mark.parametrize(("recipe", "why"), [(2, "golden image scores otherwise"), (9, "")], ids=["does not open", "unknown"])
def test_a_plc_whose_recipe_is_refused_sees_the_error_until_it_resets(state: Path, ejector: Plc, recipe: int, why: str) -> None:
    with line_with_plc(state, ejector) as (line, master):
        wish(master, recipe)
        [answer(line, recipe, why) for _ in [why] if why]
        wait_until(lambda: master.inputs(5, 1) == [ErrorCode.RECIPE])
        refused = (is_ready(master), master.inputs(9, 1))
        said = line.ask()
        line.trigger()
        counted = line.ask()
        line.wait_for_alarm("recipe-refused" if why else "recipe-unknown")
        master.write_registers(0, [4, 0])
        wait_until(lambda: is_ready(master))

        assert refused == (False, [1])
        assert (said.ready, said.plc.signals.ready, said.plc.signals.error_code) == (False, False, ErrorCode.RECIPE)
        assert counted.plc.signals.missed - said.plc.signals.missed == 1
        assert master.inputs(9, 1) == [1]


def test_parts_that_come_during_a_change_over_are_rejected_counted_once_and_stop_no_line(state: Path, ejector: Plc) -> None:
    with line_with_plc(state, ejector) as (line, master):
        wish(master, 2)
        line.inspector.listen_until(lambda: 2 in ordered(line))
        for_nobody = trigger_unannounced(line, master, 3)
        answer(line, 2)
        wait_until(lambda: is_ready(master))
        line.inspector.listen_until(lambda: len(line.inspector.closed) >= 3)
        state_of_gate = line.ask()

    closed = line.inspector.closed
    assert [one.verdict.outcome for one in closed] == [Outcome.REJECT] * 3
    assert {(one.verdict.cause, one.recipe) for one in closed} == {(Cause.FAULT, None)}
    assert for_nobody == []
    assert state_of_gate.account["reject_fault"] == state_of_gate.account["triggers"] == 3
    assert state_of_gate.held == {}


def test_a_verdict_by_another_recipe_than_the_gates_rejects_the_part_whatever_it_says(state: Path, ejector: Plc) -> None:
    with line_with_plc(state, ejector) as (line, _):
        (part,) = line.trigger()
        line.inspector.send(Tell(part, PASS, recipe=2))
        (closed,) = line.closed([part])

    assert (closed.verdict.outcome, closed.verdict.cause) == (Outcome.REJECT, Cause.FAULT)
    assert closed.verdict.detail == "judged by recipe 2, but the gate goes by recipe 1"


def trigger_unannounced(line: GateLine, master: Master, parts: int) -> list[Part]:
    """By the PLC; the parts that inspection was told of."""
    before = len(line.inspector.triggered)
    for _ in range(parts):
        master.write_coil(0, True)
        wait_until(lambda: master.discrete_inputs(2, 1) == [1])
        master.write_coil(0, False)
        wait_until(lambda: master.discrete_inputs(2, 1) == [0])
    return line.inspector.triggered[before:]
