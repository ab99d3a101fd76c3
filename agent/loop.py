"""The hot path: shot, reading, verdict.

Threads of the two processes of a station:

| thread | owner | may wait for | bounded by | when it dies |
|---|---|---|---|---|
| main | inspect_forever | cameras, until the part is due; runtime | one part at a time | process ends, parts are rejected |
| view, one for each camera | Photographer | its camera | 8 photographs, owed or waiting; more are faults | the process ends |
| camera, one for each real one | LiveCamera | the device | 8 frames; older ones are dropped | the process ends |
| shrink, for each further core, three at most | Model | nothing | one photograph | its error ends the process |
| gate | GateLink | the ejector's socket | 64 triggers; more are rejected as late | check() ends the process |
| outbox | Writer | disk | 4096 requests; more stay in the ejector's journal | check() ends the process |
| observer | Observer | the page's process | 4096 facts, one picture; more are dropped | check() ends the process |
| model, one for each bundle | ModelWatch | disk, runtime | one model beside the one that judges | check() ends the process |
| recipe, during a change-over | RecipeSetup | disk, runtime | one model beside the one that judges | the loop ends the process |
| record | Record | disk | 8 images; more are dropped | check() ends the process |
| alarms, while they change | AlarmWatch | disk | the newest | its error ends the process |
| mqtt, and paho's own | Publisher | network | 20 events in flight | check() ends it; paho's goes with its connection |
| ejector's main | eject_forever | nothing | journal: 20 000 parts | output off; restarted, parts in flight are rejected |
| driver, each with a network, in the ejector | DriverThread | its PLC or broker | 256 switches, 1024 edges | the process ends |
| journal, in the ejector | Segments | disk | 1000 records; older ones go | append() ends the process |
| orders, in the ejector, while they are written | OrderBook | disk | one order | tried again |
| recipe, in the ejector, for a moment | RecipeBook | disk | one number | the recipe before stays |
| log, in each process | PatientThread | who reads it | 1000 lines; older ones go, counted | lines are missing |
"""

import time
from dataclasses import replace
from threading import Event as Stop

from agent.decide import decide, strictest
from agent.inspection import Fault, Judge, Measured, Prediction, Reading, Shot
from agent.model import Model
from agent.observation.seen import Seen
from agent.runtimes import InferenceError
from agent.station import Station


def inspect_forever(station: Station, stop: Stop) -> None:
    """Judges every part by all its shots until told to stop; none leaves without a verdict."""
    for shots in station.shots(stop):
        station.check()
        station.progress()
        if not shots:
            continue
        judging = [station.judging[shot.camera] for shot in shots]
        with station.limited():
            readings = [read(one.model, shot) for one, shot in zip(judging, shots, strict=True)]
        verdicts = [decide(reading, one.policy) for one, reading in zip(judging, readings, strict=True)]
        numbers = tuple(map(measured, shots, readings, [one.judge for one in judging]))
        part, k = shots[0].part, strictest(verdicts)
        station.readings.keep(part, numbers)
        station.gate.tell(part, replace(verdicts[k], by=station.readings.judge))
        station.observer.saw(Seen(shots, readings, numbers, verdicts, [one.model.contract for one in judging], k))


def read(model: Model, shot: Shot) -> Reading:
    """Prediction or Fault: nothing else comes out, whatever happens to the image or the runtime."""
    if isinstance(shot.image, Fault):
        return shot.image
    try:
        return model.read(shot.image, shot.depth)
    except InferenceError as e:
        return Fault(str(e))


def measured(shot: Shot, reading: Reading, by: Judge) -> Measured:
    """The numbers of a reading, for the event; latency from the trigger until now."""
    latency_ms = round((time.monotonic_ns() - shot.triggered_ns) / 1e6, 3)
    said = Measured(shot.camera, latency_ms=latency_ms, bundle_id=by.bundle_id, threshold=by.threshold)
    match reading:
        case Prediction(raw=raw, score=score, p_value=p_value):
            return replace(said, raw=raw, score=score, p_value=p_value)
        case Fault(reason=reason):
            return replace(said, fault=reason)
