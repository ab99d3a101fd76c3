"""Another recipe in the inspection process: its model beside the one that judges, then its cameras, or everything as before."""

import dataclasses
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from gate_end import GateEnd, gate_end
from inspecting import inspecting
from line_file import write_line
from photographed import photographed
from small_bundle import edit_manifest, photograph
from waiting import wait_until

from agent.bundle import BundleError, open_bundle
from agent.cameras import CameraLostError
from agent.config import Line, load_line
from agent.inspection import Cause, Closed, Image, Part
from agent.link import Attach, Changed, ChangeTo, Tell, Triggered
from agent.recipe_setup import Cameras, RecipeSetup, SetupError
from agent.serving.slots import install, pointer
from agent.station import Station

NOW_S = 1000.0


@dataclass(frozen=True)
class Lamp:
    """A camera's section that tells when it is opened and closed. trouble: it is there and does not do what is set."""

    name: str
    opened: list[str]
    trouble: str = ""
    is_there: bool = True
    may_open: threading.Event | None = None

    @contextmanager
    def open(self) -> Iterator["Lamp"]:
        if not self.is_there:
            raise CameraLostError(f"{self.name} is not there")
        self.opened.append(f"{self.name} on")
        if self.may_open is not None:
            self.may_open.wait()
        yield self
        self.opened.append(f"{self.name} off")

    def expect(self, triggered_ns: int) -> None:
        pass

    def shoot(self, triggered_ns: int) -> Image:
        return photograph(np.random.default_rng(1))


@pytest.fixture
def line(state: Path, small_bundle: Path) -> Line:
    """Recipes 1 (small), 2 (other model) and 3, whose golden images score otherwise."""
    for name in ("other", "broken"):
        shutil.copytree(small_bundle, state / name)
    edit_manifest(state / "other", lambda manifest: manifest.update(name="other"))
    edit_manifest(state / "broken", lambda manifest: manifest["artifacts"][0].update(golden_raw=[0.9, 0.1]))
    file = write_line(state, small_bundle)
    recipes = "{1: {name: cap}, 2: {name: lid, bundle: other}, 3: {name: ring, bundle: broken}}"
    file.write_text(f"{file.read_text()}recipes: {recipes}\n")
    return load_line(file)


def with_lamps(line: Line, first: Lamp, second: Lamp) -> Line:
    """Recipe 1 has the one as its camera, recipe 2 the other."""
    lamps = {1: first, 2: second, 3: first}
    recipes = {number: dataclasses.replace(one, cameras={"top": lamps[number]}) for number, one in line.recipes.items()}
    return dataclasses.replace(line, recipes=recipes)


def changed_to(setup: RecipeSetup, recipe: int, over: threading.Event) -> Changed:
    """The answer to an order, waiting for it."""
    over.clear()
    setup.begin(ChangeTo(recipe, "the PLC"), NOW_S)
    assert over.wait(20)
    found: list[Changed] = []
    wait_until(lambda: (answer := setup.finished(lambda: None, NOW_S)) and found.append(answer) is None)
    return found[0]


def test_another_recipes_model_takes_over_once_it_is_proved(line: Line) -> None:
    over = threading.Event()
    with RecipeSetup(line, 1, over.set) as setup:
        before = setup.models.own.judge.model
        answer = changed_to(setup, 2, over)

        assert (before, setup.models.own.judge.model) == ("small", "other")
        assert (answer, setup.line.recipe, setup.is_preparing) == (Changed(2, 2), 2, False)


def test_a_model_that_scores_otherwise_here_leaves_the_one_that_judges(line: Line) -> None:
    over = threading.Event()
    with RecipeSetup(line, 1, over.set) as setup:
        judges = setup.models.own
        answer = changed_to(setup, 3, over)

        assert (answer.wanted, answer.recipe) == (3, 1)
        assert "at export" in answer.why
        assert setup.models.own is judges


def test_cameras_whose_settings_differ_are_closed_and_opened_and_others_left_alone(line: Line) -> None:
    opened: list[str] = []
    over, lamps = threading.Event(), with_lamps(line, Lamp("dark", opened), Lamp("bright", opened))
    with RecipeSetup(lamps, 1, over.set) as setup:
        answers = [changed_to(setup, recipe, over).recipe for recipe in (2, 2, 1)]

    assert answers == [2, 2, 1]
    assert opened == ["dark on", "dark off", "bright on", "bright off", "dark on", "dark off"]


def test_a_camera_that_does_not_come_with_the_other_settings_has_its_own_again_and_the_model_stays(line: Line) -> None:
    opened: list[str] = []
    over, lamps = threading.Event(), with_lamps(line, Lamp("dark", opened), Lamp("bright", opened, is_there=False))
    with RecipeSetup(lamps, 1, over.set) as setup:
        answer = changed_to(setup, 2, over)
        judge = setup.models.own.judge.model

    assert answer == Changed(2, 1, "bright is not there")
    assert (judge, setup.line.recipe) == ("small", 1)
    assert opened == ["dark on", "dark off", "dark on", "dark off"]


def test_a_camera_that_does_not_take_the_other_settings_has_its_own_again() -> None:
    opened: list[str] = []
    refuses = Lamp("bright", opened, trouble="exposure_time is 10 after it was set to 4000")
    with closing(Cameras({"top": Lamp("dark", opened)}, within_s=0.1)) as cameras:
        with pytest.raises(CameraLostError, match="after it was set to 4000"):
            cameras.change({"top": refuses}, lambda: None)
        (shot,) = photographed(cameras.photographer, Triggered(Part("boot", 1), 0, time.monotonic_ns() + 10_000_000_000))

    assert isinstance(shot.image, np.ndarray)
    assert opened[:5] == ["dark on", "dark off", "bright on", "bright off", "dark on"]


def test_a_model_that_does_not_open_in_the_time_the_gate_waits_is_given_up_and_the_next_wish_is_heard(line: Line) -> None:
    over, fifo = threading.Event(), line.recipes[2].bundle / "manifest.json"
    manifest = fifo.read_bytes()
    fifo.unlink()
    os.mkfifo(fifo)  # opening it takes for ever, as of a disk that hangs
    with RecipeSetup(line, 1, over.set) as setup:
        setup.begin(ChangeTo(2, "the PLC"), NOW_S)
        still = setup.finished(lambda: None, NOW_S + 119)
        given_up = setup.finished(lambda: None, NOW_S + 121)
        next_answer = changed_to(setup, 3, over)
        fifo.write_bytes(manifest)  # what hung goes on

        assert (still, given_up) == (None, Changed(2, 1, "its model was not open after 120 s"))
        assert (next_answer.wanted, next_answer.recipe) == (3, 1)
        assert setup.models.own.judge.model == "small"


def test_a_model_that_is_open_only_after_the_gate_has_given_up_is_not_taken(line: Line) -> None:
    over = threading.Event()
    with RecipeSetup(line, 1, over.set) as setup:
        setup.begin(ChangeTo(2, "the PLC", until_ns=int((NOW_S + 60) * 1e9)), NOW_S)
        assert over.wait(20)
        answer = setup.finished(lambda: None, NOW_S + 70)

        assert answer == Changed(2, 1, "its model was not open after 120 s")
        assert (setup.line.recipe, setup.models.own.judge.model) == (1, "small")


def test_a_number_that_its_file_does_not_have_is_answered_with_the_reason(line: Line) -> None:
    over = threading.Event()
    with RecipeSetup(line, 1, over.set) as setup:
        answer = changed_to(setup, 9, over)

        assert (answer.wanted, answer.recipe, setup.is_preparing) == (9, 1, False)
        assert "has no recipe 9: restart both processes" in answer.why


def test_a_recipe_that_is_refused_leaves_the_installed_bundle_and_the_model_that_runs(state: Path, small_bundle: Path) -> None:
    """The bundle before would allow what the recipe asks for, which is no reason to go back to it."""
    file = write_line(state, pointer(state / "state"))
    file.write_text(f"{file.read_text()}recipes: {{1: {{name: cap}}, 2: {{name: lid, sensitivity: 0.6}}}}\n")
    line, over = load_line(file), threading.Event()
    for name, highest in (("v1", 0.7), ("v2", 0.5)):
        folder = shutil.copytree(small_bundle, state / name)
        edit_manifest(folder, lambda m, name=name, highest=highest: m.update(name=name, sensitivity_limits=[-0.2, highest]))
        install(folder, line.state, lambda bundle: None)
    with RecipeSetup(line, 1, over.set) as setup:
        answer = changed_to(setup, 2, over)

        assert (answer.recipe, "sensitivity 0.6" in answer.why) == (1, True)
        assert (setup.models.own.judge.model, open_bundle(pointer(line.state)).manifest.name) == ("v2", "v2")


@dataclass(frozen=True)
class Taken:
    """A camera's section whose device one at a time may have."""

    device: str
    in_use: set[str]

    @contextmanager
    def open(self) -> Iterator[Lamp]:
        is_free = self.device not in self.in_use
        self.in_use.add(self.device)
        yield Lamp(self.device, [], trouble="" if is_free else f"{self.device} is busy")
        self.in_use.discard(self.device)


def test_two_cameras_exchange_their_devices_and_have_their_own_again() -> None:
    in_use: set[str] = set()
    one, other = Taken("/dev/video0", in_use), Taken("/dev/video1", in_use)
    with closing(Cameras({"top": one, "side": other}, within_s=0.1)) as cameras:
        cameras.change({"top": other, "side": one}, lambda: None)
        cameras.change({"top": one, "side": other}, lambda: None)

        assert in_use == {"/dev/video0", "/dev/video1"}
    assert in_use == set()


def test_a_camera_that_does_not_even_come_back_ends_the_process() -> None:
    opened: list[str] = []
    may_open = [True]

    @dataclass(frozen=True)
    class Once:
        @contextmanager
        def open(self) -> Iterator[Lamp]:
            if not may_open:
                raise CameraLostError("dark is not there")
            may_open.pop()
            yield Lamp("dark", opened)

    with closing(Cameras({"top": Once()})) as cameras, pytest.raises(SetupError, match="did not come back"):
        cameras.change({"top": Lamp("bright", opened, is_there=False)}, lambda: None)


def test_a_recipe_that_does_not_open_at_the_start_lets_another_stand_in(line: Line) -> None:
    with RecipeSetup(line, 3, lambda: None) as setup:
        assert setup.line.recipe == 1


def test_where_no_recipe_opens_there_is_an_error(line: Line, tmp_path: Path) -> None:
    recipes = {number: dataclasses.replace(one, bundle=tmp_path / "nothing") for number, one in line.recipes.items()}
    threads = threading.active_count()

    with pytest.raises(BundleError, match="nothing"):
        RecipeSetup(dataclasses.replace(line, recipes=recipes), 1, lambda: None)

    assert threading.active_count() == threads


# ---------------------------------------------------------------- the station


@pytest.fixture
def gate(line: Line) -> Iterator[GateEnd]:
    with gate_end(line.socket) as end:
        yield end


def answers(gate: GateEnd) -> list[Changed]:
    gate._hear()
    return [message for message in gate.heard if isinstance(message, Changed)]


def test_a_station_obeys_the_gate_and_says_with_each_verdict_by_which_recipe_it_judged(line: Line, gate: GateEnd) -> None:
    with Station(line) as station, inspecting(station):
        gate.wait_for_attach()
        gate.trigger(Part("boot", 1))
        gate.verdict_on(Part("boot", 1))
        gate.say(ChangeTo(2, "the PLC"))
        wait_until(lambda: answers(gate))
        gate.trigger(Part("boot", 2))
        verdict = gate.verdict_on(Part("boot", 2))
        judge = station.readings.of(Part("boot", 2))[1].model
        gate.report(*(Closed(Part("boot", n), verdict, 1, 2, None, recipe=n) for n in (1, 2)))
        gate.wait_for_confirmation(Part("boot", 2))

    assert next(message.recipe for message in gate.heard if isinstance(message, Attach)) == 1
    assert answers(gate) == [Changed(2, 2)]
    assert {message.part.n: message.recipe for message in gate.heard if isinstance(message, Tell)} == {1: 1, 2: 2}
    assert judge == "other"


def test_orders_are_obeyed_one_after_the_other_and_each_is_answered(line: Line, gate: GateEnd) -> None:
    with Station(line) as station, inspecting(station):
        gate.wait_for_attach()
        [gate.say(ChangeTo(recipe, "a person")) for recipe in (2, 3, 1)]
        wait_until(lambda: len(answers(gate)) == 3)
        gate.drop()

    assert [(answer.wanted, answer.recipe) for answer in answers(gate)] == [(2, 2), (3, 2), (1, 1)]


def test_a_part_that_comes_while_cameras_are_exchanged_is_a_fault_and_the_next_one_has_its_own_photograph(
    line: Line, gate: GateEnd
) -> None:
    opened: list[str] = []
    may_open = threading.Event()
    lamps = with_lamps(line, Lamp("dark", opened), Lamp("bright", opened, may_open=may_open))
    with Station(dataclasses.replace(lamps, cameras=lamps.recipes[1].cameras)) as station, inspecting(station):
        gate.wait_for_attach()
        gate.say(ChangeTo(2, "the PLC"))
        wait_until(lambda: "bright on" in opened)
        gate.trigger(Part("boot", 1))
        wait_until(lambda: station.gate.waiting)
        may_open.set()
        wait_until(lambda: answers(gate))
        gate.trigger(Part("boot", 2))
        meanwhile, after = gate.verdict_on(Part("boot", 1)), gate.verdict_on(Part("boot", 2))
        gate.report(*(Closed(Part("boot", n), verdict, 1, 2, None) for n, verdict in ((1, meanwhile), (2, after))))
        gate.wait_for_confirmation(Part("boot", 2))

    assert (meanwhile.cause, after.cause) == (Cause.FAULT, Cause.SCORE)
    assert "a recipe was being changed" in meanwhile.detail


def test_a_station_starts_with_the_recipe_that_ran_before(line: Line, gate: GateEnd) -> None:
    line.state.mkdir(exist_ok=True)
    (line.state / "recipe.json").write_text('{"recipe": 2}')
    with Station(line) as station, inspecting(station):
        gate.wait_for_attach()
        gate.drop()

    assert next(message.recipe for message in gate.heard if isinstance(message, Attach)) == 2
