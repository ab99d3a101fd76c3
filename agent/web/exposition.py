"""The station's numbers as Prometheus reads them, and those of the device around it: temperatures, disk, backlog."""

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from agent.observation.metrics import LATE_MS, LATENCY_MS, SCORES
from agent.observation.shown import Health
from agent.web.outbox import backlog

_THERMAL = Path("/sys/class/thermal")


def exposition(health: Health | None, birth: dict[str, str | float], state: Path, thermal: Path = _THERMAL) -> bytes:
    """Prometheus text. health: None while the inspection process does not run; kensa_up is then 0."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Now(health, birth, state, thermal))
    return generate_latest(registry)


class _Now(Collector):
    def __init__(self, health: Health | None, birth: dict[str, str | float], state: Path, thermal: Path) -> None:
        self._health, self._birth, self._state, self._thermal = health, birth, state, thermal

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("kensa_up", "1 while the inspection process runs", value=float(self._health is not None))
        yield from _device(self._state, self._thermal)
        if self._health is not None:
            yield from _station(self._health, self._birth)


def _station(health: Health, birth: dict[str, str | float]) -> Iterator[Metric]:
    about = GaugeMetricFamily("kensa_info", "what runs here", labels=["station", "model", "bundle_id", "artifact"])
    about.add_metric([str(birth.get(key, "")) for key in ("station", "model", "bundle_id", "artifact")], 1)
    yield about
    yield GaugeMetricFamily("kensa_uptime_seconds", "of the inspection process", value=health.uptime_s)
    yield CounterMetricFamily("kensa_triggers", "triggered parts", value=health.triggers)
    parts = CounterMetricFamily("kensa_parts", "parts that passed the gate", labels=["outcome", "cause"])
    for name, n in sorted(health.counts.items()):
        outcome, _, cause = name.partition("/")
        if cause:
            parts.add_metric([outcome, cause], n)
    yield parts
    yield GaugeMetricFamily("kensa_parts_in_flight", "parts on their way to the gate", value=health.in_flight)
    difference = "triggers less passed, rejected and in flight; anything but 0 is a part without an end"
    yield GaugeMetricFamily("kensa_account_difference", difference, value=health.account)
    yield _histogram("kensa_verdict_latency_seconds", "trigger to verdict", LATENCY_MS, health.latency_ms, 1e-3)
    yield _histogram("kensa_pulse_late_seconds", "output later than planned", LATE_MS, health.late_ms, 1e-3)
    yield _histogram("kensa_score", "0 is a typical good part, 1 the threshold", SCORES, health.scores, 1.0)
    dropped = CounterMetricFamily("kensa_dropped", "what had no room, by where", labels=["where"])
    for name, n in sorted(health.drops.items()):
        dropped.add_metric([name.replace(" ", "_")], n)
    yield dropped
    queues = GaugeMetricFamily("kensa_queue_depth", "what waits, by where", labels=["queue"])
    for name, n in sorted(health.queues.items()):
        queues.add_metric([name], n)
    yield queues
    for name, value in sorted({**health.gauges, **health.drift}.items()):
        yield GaugeMetricFamily(f"kensa_{name}", name.replace("_", " "), value=value)
    alarms = GaugeMetricFamily("kensa_alarm", "1 for each alarm that is raised now", labels=["alarm"])
    for name in sorted(health.alarms):
        alarms.add_metric([name], 1)
    yield alarms
    yield GaugeMetricFamily("kensa_degraded", "1 while something is wrong with the station", value=float(bool(health.trouble)))


def _device(state: Path, thermal: Path) -> Iterator[Metric]:
    """What can be read beside the inspection process; what cannot be read is left out."""
    degrees = GaugeMetricFamily("kensa_temperature_celsius", "of the device", labels=["zone"])
    for zone, celsius in temperatures(thermal).items():
        degrees.add_metric([zone], celsius)
    yield degrees
    disk = shutil.disk_usage(state)
    yield GaugeMetricFamily("kensa_disk_free_bytes", "where the state lies", value=disk.free)
    yield GaugeMetricFamily("kensa_disk_size_bytes", "where the state lies", value=disk.total)
    try:
        waiting = backlog(state / "outbox.db")
    except sqlite3.Error:
        return
    yield GaugeMetricFamily("kensa_outbox_waiting", "events that the broker does not have yet", value=waiting)


def temperatures(thermal: Path) -> dict[str, float]:
    """Degrees Celsius by the kernel's name of the zone; zones of one name are numbered by their folder."""
    found = {}
    for zone in sorted(thermal.glob("thermal_zone*")):
        try:
            name, millidegrees = (zone / "type").read_text().strip(), int((zone / "temp").read_text())
        except (OSError, ValueError):
            continue  # a sensor that is asleep
        found[f"{name} {zone.name.removeprefix('thermal_zone')}"] = millidegrees / 1000
    return found


def _histogram(name: str, words: str, bounds: tuple[float, ...], content: tuple[list[int], float], unit: float) -> Metric:
    counts, total = content
    buckets, so_far = [], 0
    for bound, n in zip((*bounds, None), counts, strict=True):
        so_far += n
        buckets.append(("+Inf" if bound is None else repr(bound * unit), float(so_far)))
    return HistogramMetricFamily(name, words, buckets=buckets, sum_value=total * unit)
