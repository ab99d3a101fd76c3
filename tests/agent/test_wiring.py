"""One output, register, line or topic for one section of a line."""

from pathlib import Path

import pytest
from line_file import write_line

from agent.config import load_line
from agent.drivers import ConfigError

COUPLER = "type: modbus, host: coupler"
CHIP = "chip: /dev/gpiochip0"


def load(folder: Path, sections: dict[str, str]) -> None:
    """A line with these sections in place of its own."""
    file = write_line(folder, folder / "bundle")
    kept = [line for line in file.read_text().splitlines() if line.split(":")[0] not in sections]
    file.write_text("\n".join([*kept, *(f"{name}: {{{content}}}" for name, content in sections.items()), ""]))
    load_line(file)


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"ejector": f"{COUPLER}, coil: 3", "permit": f"{COUPLER}, coil: 3"}, "permit: coil 3 of coupler:502 unit 1 is that of"),
        (
            {"ejector": "type: gpio, line: 7", "permit": f"type: gpio, {CHIP}, line: 7"},
            "permit: line 7 of /dev/gpiochip0 is that",
        ),
        (
            {
                "ejector": "type: mqtt, host: b, topic: valve, answers: valve/done",
                "permit": "type: mqtt, host: b, topic: valve, answers: permit/done",
            },
            "permit: topic valve of b:1883 is that of the section ejector",
        ),
        (
            {
                "ejector": "type: mqtt, host: b, topic: valve, answers: done",
                "permit": "type: mqtt, host: b, topic: permit, answers: done",
            },
            "permit: topic done of b:1883 is that of the section ejector",
        ),
        ({"ejector": "type: mqtt, host: b, topic: valve, answers: valve"}, "ejector: answers must not be topic valve"),
        (
            {"trigger": "type: mqtt, host: b, topic: done", "ejector": "type: mqtt, host: b, topic: valve, answers: done"},
            "trigger: topic done of b:1883 is that of the section ejector",
        ),
        (
            {"trigger": f"{COUPLER}, discrete_input: 5", "confirm": f"{COUPLER}, discrete_input: 5"},
            "confirm: discrete_input 5 of coupler:502 unit 1 is that of the section trigger",
        ),
        (
            {"ejector": f"{COUPLER}, coil: 3", "confirm": f"{COUPLER}, coil: 3"},
            "confirm: coil 3 of coupler:502 unit 1 is that of the section ejector",
        ),
        (
            {"ejector": f"{COUPLER}, register: 30", "plc": "type: modbus_client, host: coupler, ours: 20, theirs: 40"},
            "plc: register 30 of coupler:502 unit 1 is that of the section ejector",
        ),
        (
            {"trigger": f"type: digital_input, {CHIP}, line: 5", "plc": "type: digital, outputs: {ready: 4}, inputs: {ack: 5}"},
            "plc: line 5 of /dev/gpiochip0 is that of the section trigger",
        ),
    ],
    ids=["coil", "line", "topic", "answers", "echo", "part", "sensor", "read back", "word", "signal"],
)
def test_what_serves_two_is_refused(state: Path, sections: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load(state, sections)


@pytest.mark.parametrize(
    "sections",
    [
        {"ejector": "type: dryrun", "permit": "type: dryrun"},
        {"ejector": f"{COUPLER}, coil: 3", "permit": f"{COUPLER}, coil: 4"},
        {"ejector": f"{COUPLER}, coil: 3", "permit": f"{COUPLER}, register: 3"},
        {"ejector": f"{COUPLER}, coil: 3", "permit": f"{COUPLER}, port: 503, coil: 3"},
        {"ejector": f"{COUPLER}, coil: 3", "permit": f"{COUPLER}, unit: 2, coil: 3"},
        {"ejector": f"{COUPLER}, coil: 3", "trigger": f"{COUPLER}, discrete_input: 3", "confirm": f"{COUPLER}, counter: 3"},
        {"ejector": f"{COUPLER}, coil: 3", "plc": "type: modbus_client, host: coupler, ours: 0, theirs: 20"},
        {"ejector": f"{COUPLER}, register: 12", "plc": "type: modbus_client, host: coupler, ours: 0, theirs: 20"},
        {"ejector": "type: gpio, line: 7", "permit": "type: gpio, chip: /dev/gpiochip1, line: 7"},
    ],
    ids=["nothing", "coils", "tables", "ports", "units", "inputs", "coil and words", "between the words", "chips"],
)
def test_what_is_side_by_side_is_no_mistake(state: Path, sections: dict[str, str]) -> None:
    load(state, sections)
