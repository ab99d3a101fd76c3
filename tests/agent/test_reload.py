"""What may be taken up by the inspection process alone, and what a person has to do at the line."""

from pathlib import Path

import pytest
from line_file import write_line

from agent.config import load_line
from agent.reload import why_no_reload


@pytest.mark.parametrize(
    ("now", "then", "why"),
    [
        ("port: 1,", "port: 1883,", ""),
        ("travel_ms: 400", "travel_ms: 500", "changed: gate: that needs a restart of both processes"),
        ("period_ms: 50", "period_ms: 60", "changed: trigger: that needs"),
        ("station: press-3", "station: press-4", "changed: station: that needs"),
        ("lead_ms: 20", "lead: 20", "unknown key 'lead'"),
        ("bundle: ", "bundle: nothing", "nothing"),
        ("station: ", "sensitivity: 0.6\nstation: ", "sensitivity 0.6, this bundle allows"),
    ],
    ids=["nothing of the gate", "the gate's times", "the trigger", "the name", "a mistake", "no bundle", "a sensitivity too far"],
)
def test_a_reload_is_refused_for_a_mistake_and_for_what_the_ejector_process_uses(
    tmp_path: Path, small_bundle: Path, now: str, then: str, why: str
) -> None:
    file = write_line(tmp_path, small_bundle)
    running = load_line(file)
    file.write_text(file.read_text().replace(now, then))

    found = why_no_reload(running)

    assert why in found
    assert bool(found) == bool(why)
