"""The inspection process around its hot path: opened in order, closed in reverse; what it judges by, and what it tells."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from threading import Event as Stop
from types import TracebackType

from agent.broker.command_desk import CommandDesk
from agent.broker.mqtt import Publisher
from agent.bundle import BundleError
from agent.clock import machine_boot
from agent.config import Line
from agent.events.event import alert
from agent.events.outbox import Outbox
from agent.gate.recipe_book import recipe_of
from agent.gate_link import Ears, GateLink
from agent.health import ALIVE, notify
from agent.inspection import Closed, Fault, Shot
from agent.link import Alarm, Triggered, Wished, digest_of
from agent.model import self_test
from agent.observation.around import around_station
from agent.observation.observer import open_observer
from agent.only_one import only_one
from agent.photographer import Standard
from agent.readings import Readings
from agent.recipe_setup import RecipeSetup
from agent.record.image import photograph_of
from agent.record.record import FOLDER as RECORD
from agent.reload import why_no_reload
from agent.reports import Reports
from agent.runtimes import InferenceError
from agent.serving.hang import HangWatch
from agent.serving.model_watch import Opened
from agent.serving.models import Models

log = logging.getLogger(__name__)

_DRAIN_S = 5.0


class Station:
    """Everything `inspect_forever` works with, opened in order and closed in reverse; complete once constructed.

    hang: ends the process where a part takes too long; without it nothing does. Raises BundleError, CameraLostError,
    InferenceError, OutboxError, AlreadyRunningError.
    """

    def __init__(self, line: Line, hang: HangWatch | None = None) -> None:
        self._hang = hang
        self._line_trouble = line.trouble
        self._is_leaving = False
        with ExitStack() as devices:
            devices.enter_context(only_one(line.state, "inspect"))
            recipe, _ = recipe_of(line)
            self._recipes = devices.enter_context(RecipeSetup(line, recipe, lambda: self.gate.wake()))
            models, running = self._recipes.models, self._recipes.line
            self.judging, self.readings = models.of_cameras, Readings(models.own.judge)
            self._standards = _standards_of(self.judging)
            boot = machine_boot()
            told_as = f"{line.station} at {line.mqtt.topic}"
            self._outbox = devices.enter_context(Outbox(line.state / "outbox.db", line.outbox, boot, told_as))
            self._reports = Reports(line, boot, self._outbox, self.readings)
            birth = {
                "station": line.station,
                **_judged_by(models, running),
                "camera": ", ".join(line.cameras),
                "boot_id": boot,
                "config_sha256": line.sha256,
            }
            ordered = line.state / "commands.json"
            self._desk = CommandDesk(
                line.mqtt.commands,
                ordered,
                why_no_reload=lambda: why_no_reload(line),
                tell=self._outbox.alert,
                photograph=lambda event: photograph_of(line.state / RECORD, event),
                products={number: one.product for number, one in line.recipes.items()},
                wish=lambda id, recipe: self.gate.wish(id, recipe),
            )
            ears = Ears(self._closed, self._alarm, self._wished, self._photograph)
            self.gate = GateLink(line.socket, ears, running.recipe, self._why_unable, digest_of(line))
            self._publisher = devices.enter_context(
                Publisher(line.mqtt, line.station, self._outbox, birth | _bundles(models), self._trouble, self._desk)
            )
            judges = [opened.model for opened in models.each]
            around = around_station(birth, self.gate, self._outbox, self._trouble, lambda: self._publisher.away)
            self.observer = devices.enter_context(open_observer(line, judges, running.gate.delay_ns, around))
            devices.enter_context(self.gate)
            if hang is not None and hang.left:
                log.error("the process before this one hung and was ended; it stood in: %s", hang.left)
                self._reports.alert(
                    "inspection-hung", f"the process was ended and started again; it stood in: {hang.left[-1500:]}"
                )
            self._devices = devices.pop_all()
        if line.trouble:
            self._reports.alert("configuration", line.trouble)
        log.info("inspection ready", extra={"data": birth})

    def __enter__(self) -> "Station":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Waits a little for judged parts to reach the gate, so that their events leave with their readings."""
        self._is_leaving, self.gate.leaves_in_order = True, kind is None
        notify("STOPPING=1")
        until_s = time.monotonic() + _DRAIN_S
        while len(self.readings) and self.gate.is_attached and time.monotonic() < until_s:
            time.sleep(0.02)
        self._devices.close()

    def shots(self, stop: Stop) -> Iterator[tuple[Shot, ...]]:
        """One of each camera for each trigger, none about once a second while the belt is empty; ends to reload, too."""
        while not (stop.is_set() or self._desk.wants_restart):
            self._take_over()
            trigger = self.gate.next_trigger(timeout_s=1.0)
            if trigger is None:
                self._test_if_asked()
                yield ()
                continue
            shots = self._recipes.photographer.answer(trigger, self._standards, self.progress)
            self._desk.saw(trigger.part, shots[0].image)
            if (paused := self._desk.paused) is not None:
                shots = tuple(replace(shot, image=Fault(f"not inspected: paused by {paused}")) for shot in shots)
            yield shots

    def limited(self) -> AbstractContextManager[None]:
        """Around the work on one part."""
        return self._hang.limited() if self._hang is not None else nullcontext()

    def check(self) -> None:
        """A dead thread is loud here."""
        self.gate.check()
        self._outbox.check()
        self._publisher.check()
        self.observer.check()
        self._recipes.models.check()

    def progress(self) -> None:
        """Says that it is ready, and feeds the watchdog; an idle belt is progress too."""
        notify(ALIVE)

    def _trouble(self) -> str:
        """For the published state; asked by the publisher's thread."""
        recipes = self._recipes
        troubles = (self.gate.trouble, self._line_trouble, recipes.photographer.trouble, recipes.models.trouble)
        return "; ".join(filter(None, troubles))

    def _why_unable(self) -> str:
        """For the gate; asked by the link's thread."""
        leaving = "the inspection process ends, or is started anew" if self._is_leaving else ""
        paused = f"paused by {self._desk.paused}" if self._desk.paused is not None else ""
        return "; ".join(filter(None, (leaving, paused, self._recipes.photographer.away)))[:500]

    def _take_over(self) -> None:
        """Between two parts: the newly installed model, or the recipe asked for, if it is ready; what was refused is told."""
        self._change_recipe()
        models = self._recipes.models
        is_renewed = models.renew(time.monotonic())
        for name, detail in models.news():
            self._reports.alert(name, detail)
        if is_renewed:
            self._judge_by(models)

    def _change_recipe(self) -> None:
        """As the gate orders, one after the other; it lets no part be judged meanwhile."""
        before = self._recipes.line
        changed = self._recipes.finished(self.progress, time.monotonic())
        if changed is not None:
            if (line := self._recipes.line) is not before:
                self._judge_by(self._recipes.models)
                instead = f"recipe {line.recipe} ({line.product}) instead of {before.recipe} ({before.product})"
                judge, asked_by = self.readings.judge, self._recipes.asked_by
                self._reports.alert(
                    "recipe-changed", f"{instead}, asked for by {asked_by}: model {judge.model} {judge.bundle_id}"
                )
            self.gate.answer(changed)
        if self.gate.orders and not self._recipes.is_preparing:
            self._recipes.begin(self.gate.orders.popleft(), time.monotonic())

    def _judge_by(self, models: Models) -> None:
        self.judging, self.readings.judge = models.of_cameras, models.own.judge
        self._standards = _standards_of(self.judging)
        line = self._recipes.line
        birth = _judged_by(models, line)
        self.observer.judged_by([opened.model for opened in models.each], birth, line.gate.delay_ns)
        self._publisher.changed(**birth, **_bundles(models))
        log.info("another model judges from now on", extra={"data": birth})

    def _test_if_asked(self) -> None:
        """The belt is empty: a part that comes meanwhile may be late, and is rejected then."""
        if self._desk.asks_for_self_test:
            try:
                for opened in self._recipes.models.each:
                    self_test(opened.bundle, opened.artifact, opened.model)
            except (BundleError, InferenceError) as e:
                self._desk.self_tested(str(e))
            else:
                self._desk.self_tested("")

    def _closed(self, closed: Closed) -> None:
        """A part has ended at the gate."""
        self.observer.ended(closed)
        self._reports.part(closed, lambda: self.gate.confirm(closed.part))

    def _photograph(self, trigger: Triggered) -> None:
        """Each camera is asked as soon as the link's thread hears of a part: the belt moves on while others are judged."""
        for doubt in self._recipes.photographer.ask(trigger, self._standards):
            assert isinstance(doubt.image, Fault)
            self.gate.recall(doubt.part, doubt.image.reason)
            instead = f"{doubt.image.reason}; where its event says that it passed, look for it behind the gate"
            self._reports.alert("photograph-in-doubt", f"part {doubt.part}: {instead}")

    def _wished(self, wished: Wished) -> None:
        """The gate says what became of a wish for another recipe."""
        self._desk.wished(wished.id, wished.refusal)

    def _alarm(self, alarm: Alarm) -> None:
        """Something at the gate that people should know of; a second copy has the same key."""
        self._outbox.alert(alarm.key, alert(alarm.name, alarm.detail), self.gate.heed)


def _judged_by(models: Models, line: Line) -> dict[str, str | float]:
    """What a birth says of it: the line's own model, and its recipe."""
    own = models.own
    return {
        "bundle_id": own.judge.bundle_id,
        "model": own.judge.model,
        "artifact": own.artifact.name,
        "computes_on": own.model.runtime.executed_on,
        "sensitivity": line.sensitivity,
        "recipe": line.recipe,
        "product": line.product,
    }


def _bundles(models: Models) -> dict[str, dict[str, str]]:
    """The rest of it, for the broker: which bundle each camera is judged by."""
    return {"bundles": {camera: opened.judge.bundle_id for camera, opened in models.of_cameras.items()}}


def _standards_of(judging: Mapping[str, Opened]) -> dict[str, Standard]:
    manifests = {camera: opened.bundle.manifest for camera, opened in judging.items()}
    return {camera: Standard(manifest.input.white_level, manifest.usual) for camera, manifest in manifests.items()}
