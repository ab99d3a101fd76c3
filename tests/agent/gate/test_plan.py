"""The section `gate` and its neighbours: the example of the manual is valid, and each mistake is named."""

import re
from pathlib import Path

import pytest
from line_file import write_line

from agent.config import load_line
from agent.drivers import ConfigError, SectionError, convert
from agent.gate.handshake import Signals
from agent.gate.plan import GatePlan
from agent.plc._words import WORDS, bits, words

MANUAL = (Path(__file__).parents[3] / "docs" / "gate.md").read_text()
EXAMPLE, *_ = re.findall(r"```yaml\n(.*?)```", MANUAL, re.DOTALL)


def line_with(folder: Path, sections: str) -> Path:
    """A line whose trigger, ejector and gate are replaced by these sections."""
    file = write_line(folder, folder / "bundle")
    rest = re.sub(r"^(trigger|ejector): .*\n|^gate:\n(  .*\n)+", "", file.read_text(), flags=re.MULTILINE)
    file.write_text(rest + sections)
    return file


def test_the_example_of_the_manual_is_valid(state: Path) -> None:
    line = load_line(line_with(state, EXAMPLE))

    assert line.encoder is not None
    assert line.confirm is not None
    assert line.permit is not None
    assert line.plc is not None
    assert (line.gate.delay_ns, line.gate.delay_counts) == (560_000_000, 11200)
    assert line.gate.stop.of_last == 100


def test_the_manual_knows_every_bit_and_the_number_of_words() -> None:
    named = set(re.findall(r"`(\w+)`", MANUAL))

    assert {
        "ready",
        "busy",
        "trigger_ack",
        "valid",
        "ok",
        "ng",
        "error",
        "overrun",
        "heartbeat",
        "may_run",
        "maintenance",
    } <= named
    assert (len(bits(Signals())), len(words(Signals())), WORDS) == (11, 12, 12)


@pytest.mark.parametrize("without", ["encoder: .*\n", "  travel_counts: .*\n"], ids=["no encoder", "no counts"])
def test_an_encoder_and_its_counts_belong_together(state: Path, without: str) -> None:
    file = line_with(state, re.sub(without, "", EXAMPLE))

    with pytest.raises(ConfigError, match="travel_counts and the section encoder belong together"):
        load_line(file)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({"lead_ms": 600}, "lead_ms 600"),
        ({"travel_counts": 0}, "must not be 0"),
        ({"pulse_ms": 3000}, "longest_on_ms 2000.0 must not be smaller than pulse_ms 3000"),
        ({"travel_counts": 9, "lead_ms": 150, "longest_on_ms": 100}, "longest_on_ms 100.* must not be smaller than lead_ms 150"),
        ({"stop": {"rejects": 3}}, "rejects and of_last belong together"),
        ({"stop": {"rejects": 3, "of_last": 2}}, "cannot be more than of_last"),
        ({"stop": {"in_a_row": 0}}, ">= 1"),
        ({"debounce_ms": 0}, "> 0"),
        ({"gap": 5}, "unknown key 'gap'"),
    ],
    ids=["lead", "counts", "pulse", "cut before the gate", "half a rule", "impossible rule", "rule of none", "debounce", "typo"],
)
def test_a_mistake_is_named(written: dict, says: str) -> None:
    with pytest.raises(SectionError, match=says):
        convert({"travel_ms": 600, **written}, GatePlan)
