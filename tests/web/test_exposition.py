"""/metrics: what Prometheus reads adds up, and what cannot be read is left out."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from served import Served

from agent.inspection import Cause, Closed, Measured, Outcome, Part, Verdict
from agent.observation.metrics import Tally
from agent.observation.shown import Health
from agent.web.exposition import exposition, temperatures

BIRTH = {"station": "press-3", "model": "cap", "bundle_id": "abc", "artifact": "onnx-f32"}


def health() -> Health:
    tally = Tally(due_ns=1000)
    for n, (outcome, cause) in enumerate(
        [(Outcome.PASS, Cause.SCORE), (Outcome.REJECT, Cause.SCORE), (Outcome.REJECT, Cause.LATE)]
    ):
        tally.took(Measured("top", raw=1.0, score=0.5, p_value=0.5, latency_ms=30.0))
        tally.closed(Closed(Part("boot", n), Verdict(outcome, cause, ""), 0, 0, 200_000))
    tally.account.opened(Part("boot", 9), 0)
    histograms = (tally.latency_ms.content, tally.late_ms.content, tally.scores.content)
    account = (tally.account.triggers, tally.account.in_flight(0), tally.account.overdue(0))
    numbers = {"latency_recent_ms": 30.0}
    return Health(
        5.0, *account, dict(tally.counts), *histograms, {"record disk": 2}, {"record": 1}, numbers, {}, {"slow": "..."}, ""
    )


def samples(text: bytes) -> dict[tuple[str, str], float]:
    """Value by name and label values, in the order of the labels' names."""
    families = text_string_to_metric_families(text.decode())
    return {(one.name, "/".join(one.labels.values())): one.value for family in families for one in family.samples}


def test_the_account_of_the_metrics_adds_up(tmp_path: Path) -> None:
    found = samples(exposition(health(), BIRTH, tmp_path))

    ended = sum(value for (name, _), value in found.items() if name == "kensa_parts_total")
    assert ended == 3
    assert found["kensa_triggers_total", ""] == ended + found["kensa_parts_in_flight", ""] + found["kensa_account_difference", ""]
    assert found["kensa_parts_total", "late/reject"] == 1


def test_histograms_are_cumulative_and_in_seconds(tmp_path: Path) -> None:
    found = samples(exposition(health(), BIRTH, tmp_path))

    buckets = [value for (name, _), value in found.items() if name == "kensa_verdict_latency_seconds_bucket"]
    assert buckets == sorted(buckets)
    assert found["kensa_verdict_latency_seconds_count", ""] == 3
    assert found["kensa_verdict_latency_seconds_sum", ""] == pytest.approx(0.09)
    assert found["kensa_pulse_late_seconds_bucket", "0.0002"] == 3


def test_drops_queues_alarms_and_the_disk_are_there(tmp_path: Path) -> None:
    found = samples(exposition(health(), BIRTH, tmp_path))

    assert found["kensa_dropped_total", "record_disk"] == 2
    assert found["kensa_queue_depth", "record"] == 1
    assert found["kensa_alarm", "slow"] == 1
    assert found["kensa_disk_free_bytes", ""] > 0
    assert found["kensa_info", "onnx-f32/abc/cap/press-3"] == 1


def test_without_inspection_the_device_is_still_told_and_up_is_0(tmp_path: Path) -> None:
    found = samples(exposition(None, {}, tmp_path))

    assert found["kensa_up", ""] == 0
    assert ("kensa_disk_free_bytes", "") in found
    assert ("kensa_triggers_total", "") not in found


def test_m11_temperatures_are_read_and_a_sensor_that_sleeps_is_left_out(tmp_path: Path) -> None:
    for zone, (name, millidegrees) in {"thermal_zone0": ("cpu", "71500"), "thermal_zone1": ("gpu", "")}.items():
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "type").write_text(f"{name}\n")
        (tmp_path / zone / "temp").write_text(millidegrees)

    assert temperatures(tmp_path) == {"cpu 0": 71.5}


def test_prometheus_comes_in_with_its_token_and_a_person_with_a_session(page: Served) -> None:
    token = (page.state / "web" / "metrics-token").read_text().strip()
    stranger = page.visitor()

    with_token = stranger.ask("GET", "/metrics", Authorization=f"Bearer {token}")

    assert with_token.status == 200
    assert samples(with_token.body)["kensa_up", ""] == 0  # no inspection process runs beside this page
    assert page.visitor("viewer").ask("GET", "/metrics").status == 200
    assert [stranger.ask("GET", "/metrics", Authorization=f"Bearer {wrong}").status for wrong in ("", "x", token[:-1])] == [
        401
    ] * 3
