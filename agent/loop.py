"""The hot path: shot, reading, verdict; and the station around it.

Threads of the two processes of a station:

| thread | owner | may wait for | bounded by | when it dies |
|---|---|---|---|---|
| main | inspect_forever | camera, runtime | one shot at a time | process ends, parts in flight are rejected |
| gate | GateLink | the ejector's socket | 64 triggers; more are rejected as late | check() ends the process |
| outbox | Outbox | disk | 4096 requests; more stay in the ejector's journal | check() ends the process |
| mqtt, and paho's own | Publisher | network | 20 events in flight | check() ends it; paho's goes with its connection |
| ejector's main | eject_forever | nothing | journal: 20 000 parts | output off; restarted, parts in flight are rejected |
"""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Event as Stop
from types import TracebackType

from agent.bundle import open_bundle
from agent.clock import machine_boot, utc_now
from agent.config import Line
from agent.decide import Policy, decide
from agent.event import kind, payload, topic
from agent.event_memory import Entry
from agent.gate_link import GateLink, Readings
from agent.health import notify
from agent.inspection import Closed, Depth, Event, Fault, Measured, Prediction, Reading, Shot
from agent.model import Model, open_model
from agent.mqtt import Publisher
from agent.only_one import only_one
from agent.outbox import Outbox
from agent.preprocess import Pixels, PixelsWithDepth, to_8_bit
from agent.runtimes import InferenceError

log = logging.getLogger(__name__)

_DRAIN_S = 5.0


def inspect_forever(station: "Station", stop: Stop) -> None:
    """Judges every shot until told to stop; no shot leaves without a verdict."""
    for shot in station.shots(stop):
        station.check()
        station.progress()
        if shot is None:
            continue
        reading = read(station.model, shot)
        verdict = decide(reading, station.policy)
        station.readings.keep(shot.part, (measured(shot, reading),))
        station.gate.tell(shot.part, verdict)


def read(model: Model, shot: Shot) -> Reading:
    """Prediction or Fault: nothing else comes out, whatever happens to the image or the runtime."""
    if isinstance(shot.image, Fault):
        return shot.image
    try:
        return model.read(shot.image, shot.depth)
    except InferenceError as e:
        return Fault(str(e))


def measured(shot: Shot, reading: Reading) -> Measured:
    """The numbers of a reading, for the event; latency from the trigger until now."""
    latency_ms = round((time.monotonic_ns() - shot.triggered_ns) / 1e6, 3)
    match reading:
        case Prediction(raw=raw, score=score, p_value=p_value):
            return Measured(shot.camera, raw=raw, score=score, p_value=p_value, latency_ms=latency_ms)
        case Fault(reason=reason):
            return Measured(shot.camera, fault=reason, latency_ms=latency_ms)


def _apart(taken: Pixels | PixelsWithDepth | Fault) -> tuple[Pixels | Fault, Depth | None]:
    return (taken.pixels, taken.depth) if isinstance(taken, PixelsWithDepth) else (taken, None)


class Station:
    """Everything `inspect_forever` works with, opened in order and closed in reverse; complete once constructed.

    Raises BundleError, CameraLostError, OutboxError, AlreadyRunningError.
    """

    def __init__(self, line: Line) -> None:
        with ExitStack() as devices:
            devices.enter_context(only_one(line.state, "inspect"))
            bundle = open_bundle(line.bundle)
            artifact = bundle.artifact_for([line.runtime_name])
            self.model = devices.enter_context(open_model(bundle, artifact, line.runtime))
            self.policy = Policy(artifact.calibration.threshold)
            self.readings = Readings()
            self._bundle_id = bundle.manifest.bundle_id
            self._boot = machine_boot()
            self._camera_name = line.camera_name
            self._camera = devices.enter_context(line.camera.open())
            self._outbox = devices.enter_context(Outbox(line.state / "outbox.db", line.outbox, self._boot))
            birth = {
                "station": line.station,
                "bundle_id": self._bundle_id,
                "model": bundle.manifest.name,
                "artifact": artifact.name,
                "camera": line.camera_name,
                "boot_id": self._boot,
            }
            self._publisher = devices.enter_context(Publisher(line.mqtt, line.station, self._outbox, birth))
            self.gate = GateLink(line.socket, self._record)
            devices.enter_context(self.gate)
            self._devices = devices.pop_all()
        log.info("inspection ready", extra={"data": birth})

    def __enter__(self) -> "Station":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Waits a little for judged parts to reach the gate, so that their events leave with their readings."""
        notify("STOPPING=1")
        until_s = time.monotonic() + _DRAIN_S
        while len(self.readings) and self.gate.is_attached and time.monotonic() < until_s:
            time.sleep(0.02)
        self._devices.close()

    def shots(self, stop: Stop) -> Iterator[Shot | None]:
        """One shot for each trigger, None about once a second while the belt is empty."""
        notify("READY=1")
        while not stop.is_set():
            trigger = self.gate.next_trigger(timeout_s=1.0)
            if trigger is None:
                yield None
                continue
            pixels, depth = _apart(self._camera.shoot(trigger.triggered_ns))
            if time.monotonic_ns() > trigger.planned_ns:
                pixels = Fault("not inspected: its moment at the gate had passed before its image was there")
            image = pixels if isinstance(pixels, Fault) else to_8_bit(pixels, self.model.contract.white_level)
            yield Shot(trigger.part, self._camera_name, trigger.triggered_ns, image, depth)

    def check(self) -> None:
        """A dead thread is loud here."""
        self.gate.check()
        self._outbox.check()
        self._publisher.check()

    def progress(self) -> None:
        """Feeds the watchdog; an idle belt is progress too."""
        notify("WATCHDOG=1")

    def _record(self, closed: Closed) -> None:
        """A part has closed: its event goes to the outbox; if that is too far behind, the gate will report it again."""
        event = Event(closed, self.readings.of(closed.part), self._bundle_id, self.policy.threshold)

        def durable(key: str) -> None:
            self.readings.forget(closed.part)
            self.gate.confirm(closed.part)

        self._outbox.put(Entry(str(closed.part), kind(event), topic(event), utc_now(), payload(event, self._boot), durable))
