"""A line's YAML: what is right becomes a Line, what is wrong is named with its place."""

from pathlib import Path

import pytest

from agent.cameras.folder import Config as FolderConfig
from agent.config import Line, load_line
from agent.drivers import ConfigError
from agent.ejectors.dryrun import Config as DryRunConfig
from agent.triggers.timer import Config as TimerConfig
from agent.yaml_file import read_yaml

EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "lines" / "example.yaml"
LINE = """\
station: press-3
bundle: b
state: s
cameras:
  top: {type: folder, path: photographs}
trigger: {type: timer, period_ms: 500}
ejector: {type: dryrun}
gate:
  travel_ms: 600
  lead_ms: 40
runtime: {type: openvino}
mqtt: {host: 127.0.0.1, topic: plant/press-3}
"""


def load(folder: Path, text: str) -> Line:
    (folder / "line.yaml").write_text(text)
    return load_line(folder / "line.yaml")


def test_the_example_that_is_shipped_is_right() -> None:
    line = load_line(EXAMPLE)

    assert line.station == "press-3"
    assert line.runtime_name == "openvino"
    assert line.trigger == TimerConfig(period_ms=500)
    assert line.ejector == DryRunConfig()


def test_relative_paths_are_relative_to_the_file(state: Path) -> None:
    line = load(state, LINE)

    assert line.bundle == state.resolve() / "b"
    assert line.socket == state.resolve() / "s" / "gate.sock"
    assert line.cameras == {"top": FolderConfig(path=str(state.resolve() / "photographs"))}


def test_absolute_paths_stay_as_they_are(state: Path) -> None:
    line = load(
        state, LINE.replace("bundle: b", "bundle: /srv/bundles/cap").replace("path: photographs", "path: /srv/photographs")
    )

    assert line.bundle == Path("/srv/bundles/cap")
    assert line.cameras == {"top": FolderConfig(path="/srv/photographs")}


def test_what_is_left_out_gets_its_default(state: Path) -> None:
    line = load(state, LINE)

    assert (line.gate.pulse_ms, line.mqtt.port, line.mqtt.keepalive_s) == (30.0, 1883, 30)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        pytest.param(
            "station: press-3\n",
            "station: press-3\nstaton: x\n",
            r":2: staton: unknown key 'staton', known: station, bundle",
            id="key",
        ),
        pytest.param(
            "  lead_ms: 40", "  lead_ms: 4e1", r":10: gate\.lead_ms: expected `float`.* '4e1' is .*, write 40", id="word"
        ),
        pytest.param("  lead_ms: 40", "  leed_ms: 40", r":10: gate\.leed_ms: unknown key 'leed_ms'", id="key below"),
        pytest.param(
            "path: photographs}",
            "path: p, exposure: 3}",
            r":5: cameras\.top\.exposure: unknown key 'exposure', known: path",
            id="driver's key",
        ),
        pytest.param(
            "  lead_ms: 40", "  travel_ms: 40", r":10: key 'gate\.travel_ms' stands here a second time", id="duplicate key"
        ),
        pytest.param("state: s", "station: s", r":3: key 'station' stands here a second time", id="duplicate key at the top"),
        pytest.param(
            "type: folder",
            "type: gige",
            r":5: cameras\.top\.type: type 'gige' is not one of the cameras here: folder",
            id="camera",
        ),
        pytest.param(
            "type: timer",
            "type: plc",
            r":6: trigger\.type: type 'plc' is not one of the triggers here: digital_input, modbus, mqtt, software, timer",
            id="trigger",
        ),
        pytest.param(
            "type: dryrun",
            "type: valve",
            r":7: ejector\.type: type 'valve' is not one of the ejectors here: dryrun",
            id="ejector",
        ),
        pytest.param(
            "type: openvino",
            "type: tflite",
            r":11: runtime\.type: .* not one of the runtimes here: auto, onnxruntime, openvino",
            id="runtime",
        ),
        pytest.param(
            "type: folder", "type: ../../os", r":5: cameras\.top\.type: type '../../os' is not one of", id="a path as type"
        ),
        pytest.param(
            "type: timer", "type: os.path", r":6: trigger\.type: type 'os\.path' is not one of", id="another module as type"
        ),
        pytest.param(
            "type: openvino", "type: [openvino]", r":11: runtime\.type: type \['openvino'\] is not one of", id="a list as type"
        ),
        pytest.param(
            "type: timer, ",
            "",
            r":6: trigger: expected a mapping with `type`, one of: digital_input, modbus, mqtt, software, timer",
            id="no type",
        ),
        pytest.param("{type: dryrun}", "dryrun", r":7: ejector: expected a mapping with `type`", id="no mapping"),
        pytest.param(
            "travel_ms: 600", "travel_ms: soon", r":9: gate\.travel_ms: expected `float`, got `str`", id="word for a number"
        ),
        pytest.param(
            "travel_ms: 600", "travel_ms: '600'", r":9: gate\.travel_ms: expected `float`, got `str`", id="number in quotes"
        ),
        pytest.param(
            "period_ms: 500", "period_ms: true", r":6: trigger\.period_ms: expected `float`, got `bool`", id="bool for a number"
        ),
        pytest.param(
            "path: photographs", "path: p, repeat: no", r":5: cameras\.top\.repeat: .* 'no' is a word here, write false", id="no"
        ),
        pytest.param(
            "path: photographs", "path: p, repeat: Yes", r":5: .*expected `bool`, got `str`: 'Yes' is .*, write true", id="yes"
        ),
        pytest.param("station: press-3", "station: true", r":1: station: expected `str`, got `bool`", id="true is no word"),
        pytest.param("travel_ms: 600", "travel_ms: .nan", r":9: gate\.travel_ms: expected", id="nan"),
        pytest.param("lead_ms: 40", "lead_ms: .nan", r":10: gate\.lead_ms: expected", id="nan where zero is allowed"),
        pytest.param("travel_ms: 600", "travel_ms: .inf", r":9: gate\.travel_ms: expected", id="infinite"),
        pytest.param("period_ms: 500", "period_ms: 0", r":6: trigger\.period_ms: expected `float` >= 1", id="period of nothing"),
        pytest.param("period_ms: 500", "period_ms: 500, count: 0", r":6: trigger\.count: expected `int` >= 1", id="no parts"),
        pytest.param(
            "lead_ms: 40", "lead_ms: 600", r":8: gate: lead_ms 600\.0 must be smaller than travel_ms 600\.0", id="lead is travel"
        ),
        pytest.param("lead_ms: 40", "lead_ms: 601", r":8: gate: lead_ms 601\.0 must be smaller", id="lead beyond travel"),
        pytest.param("lead_ms: 40", "lead_ms: -1", r":10: gate\.lead_ms: expected `float` >= 0", id="negative"),
        pytest.param(
            "  top:",
            "  side: {type: folder, path: p, speed: 1}\n  top:",
            r":5: cameras\.side\.speed: unknown key 'speed'",
            id="mistake in one of two cameras",
        ),
        pytest.param(
            "\n  top: {type: folder, path: photographs}",
            " {}",
            r":4: cameras: expected at least one camera, found none",
            id="no camera",
        ),
        pytest.param("state: s", f"state: {'s' * 100}", r":3: state: .* too long for a Unix socket in it", id="long state"),
        pytest.param("station: press-3", "station: press 3", r":1: station: expected `str` matching", id="station with a space"),
        pytest.param("topic: plant/press-3", "topic: plant/#", r":12: mqtt\.topic: expected `str` matching", id="wildcard topic"),
        pytest.param("host: 127.0.0.1", "host: h, port: 70000", r":12: mqtt\.port: expected `int` <= 65535", id="port"),
        pytest.param("bundle: b\n", "", r":1: file: object missing required field `bundle`", id="key left out"),
        pytest.param("  travel_ms: 600\n", "", r":8: gate: object missing required field `travel_ms`", id="key below left out"),
        pytest.param("{type: dryrun}", "*same", r": aliases such as \*same are not accepted", id="alias"),
        pytest.param("station: press-3", "station: [", r":3: .*expected", id="not YAML"),
        pytest.param("station: press-3", "\tstation: press-3", r":1: .*cannot start any token", id="tab"),
        pytest.param(
            "station: press-3",
            "station: !!python/object/apply:os.system [ls]",
            r":1: not valid YAML: could not determine a constructor",
            id="python object",
        ),
        pytest.param("station: press-3", "station: \x07", "special characters are not allowed", id="control character"),
        pytest.param(LINE, "", r":1: file: expected `object`, got `null`", id="empty file"),
        pytest.param(LINE, "- a\n- b\n", r":1: file: expected `object`, got `array`", id="list"),
        pytest.param(LINE, "[" * 600 + "]" * 600, "nested too deeply", id="very deep"),
        pytest.param(LINE, "7: x\n" + LINE, r":1: ", id="number as key"),
        pytest.param(
            "station: press-3", "station: 2026-31-12", r":1: .*'2026-31-12' looks like a date or a number", id="no date"
        ),
        pytest.param(
            "station: press-3", "station: 0x_", r":1: .*'0x_' looks like a date or a number and is none", id="no number"
        ),
        pytest.param("lead_ms: 40", f"lead_ms: {'9' * 5000}", r":10: .*looks like a date or a number", id="endless number"),
        pytest.param(
            "station: press-3",
            "station: !!timestamp x",
            r":1: .*'x' looks like a date or a number and is none .* put quotes around",
            id="no timestamp",
        ),
        pytest.param(
            "station: press-3",
            "station: press-3\nrecipes: {1: {name: a}, 01: {name: b}}",
            r":2: .*a key stands here a second time, written otherwise",
            id="duplicate number as key",
        ),
        pytest.param(
            "station: press-3",
            "station: press-3\nrecipes: {cap: {name: a}}",
            r":2: recipes: one of its keys: expected `int`, got `str`",
            id="recipe by name",
        ),
        pytest.param("  top:", "  'top view':", r":4: cameras: one of its keys: expected `str` matching", id="camera's name"),
        pytest.param(
            "host: 127.0.0.1",
            "host: mqtt://10.0.0.7",
            r":12: mqtt: host 'mqtt://10.0.0.7': expected a name or an",
            id="URL as host",
        ),
        pytest.param(
            "host: 127.0.0.1", "host: 10.0.0.7:1883", r":12: mqtt: host .* `port` and `tls` have keys", id="host and port"
        ),
        pytest.param(
            "station: press-3", "station: press-3\nrecord: {mb: .inf}", r":2: record\.mb: expected `float` <=", id="endless disk"
        ),
        pytest.param(
            "type: folder, path: photographs",
            "type: rtsp, url: rtsp://camera/stream, width: 64, height: 64, delay_ms: 560, timeout_ms: 900",
            r": cameras\.top: no part could be judged in time: .* 560 ms after its trigger .* switches 560 ms after it",
            id="photographs that come too late",
        ),
        pytest.param(
            "  lead_ms: 40",
            "  lead_ms: 40\n  travel_counts: 9600\nencoder: {type: modbus, host: plc, counter: 0, bits: 16, lost_ms: 600}",
            r":12: encoder: in lost_ms 600 .* comes 38400 counts; expected less than half a turn of 16 bits, 32768: take",
            id="encoder that turns too fast",
        ),
        pytest.param(
            "  lead_ms: 40",
            "  lead_ms: 40\n  travel_counts: 9600\nencoder: {type: modbus, host: plc, counter: 0, bits: 16, lost_ms: 300}\n"
            "recipes: {1: {name: cap}, 2: {name: lid, gate: {travel_ms: 300}}}",
            r":13: recipes\.2\.encoder: in lost_ms 300 .* comes 38400 counts",
            id="encoder that turns too fast with a recipe",
        ),
        pytest.param(
            "station: press-3",
            "station: press-3\noutbox: {pass: {mb: .inf}}",
            r":2: outbox\.pass\.mb: expected",
            id="endless outbox",
        ),
    ],
)
def test_a_mistake_is_one_line_with_file_line_what_was_found_and_what_was_expected(
    state: Path, old: str, new: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        load(state, LINE.replace(old, new))

    assert str(refused.value).startswith(str(state / "line.yaml"))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("host", ["broker", "broker.plant.example", "10.0.0.7", "'::1'", "'fe80::1%eth0'", "fe80::1:2", "büro"])
def test_a_broker_has_a_name_or_an_address(state: Path, host: str) -> None:
    line = load(state, LINE.replace("host: 127.0.0.1", f"host: {host}"))

    assert line.mqtt.host == host.strip("'")


@pytest.mark.parametrize("name", ["gone.yaml", ""], ids=["missing", "a folder"])
def test_a_file_that_cannot_be_read_is_named(state: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_line(state / name)


def test_a_huge_file_is_refused_before_it_is_parsed(state: Path) -> None:
    with pytest.raises(ConfigError, match="a configuration has at most 1048576"):
        load(state, LINE + "#" * (1 << 20))


def test_bytes_that_are_no_text_are_refused(state: Path) -> None:
    (state / "line.yaml").write_bytes(b"station: \xff\xfe\xfd")

    with pytest.raises(ConfigError, match=r"line\.yaml"):
        load_line(state / "line.yaml")


def test_what_cameras_call_off_is_a_word_and_only_true_and_false_are_not(state: Path) -> None:
    (state / "some.yaml").write_text("[Off, on, NO, yes, y, true, True, FALSE, false, null, 10, ~]")

    content, _ = read_yaml(state / "some.yaml")

    assert content == ["Off", "on", "NO", "yes", "y", True, True, False, False, None, 10, None]


def test_every_key_knows_its_line(state: Path) -> None:
    (state / "some.yaml").write_text("a: 1\nb:\n  c: {d: 2}\n  e:\n    - x\n    - y\n")

    content, lines = read_yaml(state / "some.yaml")

    assert content == {"a": 1, "b": {"c": {"d": 2}, "e": ["x", "y"]}}
    assert lines[("b", "c", "d")] == 3
    assert lines[("b", "e", "1")] == 6
