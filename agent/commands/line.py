"""The device's sub-commands: selftest, run, inspect, eject; and how all tell of what goes wrong."""

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from agent.bundle import Artifact, Bundle, BundleError, open_bundle
from agent.config import load_line
from agent.drivers import section
from agent.error import InputError, OutageError
from agent.gate.priority import go_first
from agent.last_good import load_or_last_good, remember
from agent.log import start_log
from agent.owner import become_owner
from agent.runtimes import InferenceError
from agent.stop_signal import stop_on_signal
from agent.supervisor import CONFIGURATION_ERROR

log = logging.getLogger(__name__)


def selftest(arguments: list[str]) -> int:
    """Runs a bundle's golden images through each of its artefacts on this machine and compares the raw scores."""
    parser = _parser(selftest, "kensa selftest bundles/cap")
    parser.add_argument("bundle", type=Path)
    bundle = open_bundle(parser.parse_args(arguments).bundle)
    status = 0
    for artifact in bundle.manifest.artifacts:
        try:
            _judge_golden(bundle, artifact)
        except (BundleError, InferenceError) as e:  # one that does not run here says nothing of the others
            status = max(status, report("selftest", e))
    return status


def _judge_golden(bundle: Bundle, artifact: Artifact) -> None:
    from agent.model import open_model, self_test

    with open_model(bundle, artifact, section("agent.runtimes", {"type": artifact.runtime})) as model:
        for golden in self_test(bundle, artifact, model):
            print(
                f"{artifact.name:24s} {golden.file:28s} raw {golden.raw:12.6g}  expected {golden.expected:12.6g}  "
                f"deviation {golden.deviation:.2g} of its distance from the threshold"
            )
        print(f"{artifact.name:24s} computes in {artifact.computes_in(model.runtime.executed_precision)}: ok", flush=True)


def run(arguments: list[str]) -> int:
    """Runs a line: the ejector and the inspection process, and its page if it has one, kept alive; Ctrl-C ends them in order."""
    from agent.supervisor import run_both

    file = _file(run, arguments, "kensa run line.yaml")
    line = load_line(file)
    become_owner(line.state)
    start_log("run")
    return run_both(file, line.longest_travel_ms, stop_on_signal(), beside=("web",) if line.web else ())


def inspect(arguments: list[str]) -> int:
    """Runs the inspection process of a line: camera, model, outbox, MQTT."""
    from agent.loop import inspect_forever
    from agent.serving.hang import SHORTEST_S, hang_watch
    from agent.station import Station

    file = _file(inspect, arguments, "kensa inspect line.yaml")
    start_log("inspect")
    line = load_or_last_good(file, "inspect")
    become_owner(line.state)
    log.info("configuration", extra={"data": {"line": msgspec.to_builtins(line, enc_hook=str)}})
    stop = stop_on_signal()
    patience_s = max(SHORTEST_S, 2 * line.longest_travel_ms / 1e3)
    with hang_watch(line.state, patience_s) as hang, Station(line, hang) as station:
        remember(line, "inspect")
        inspect_forever(station, stop)
    return 0


def eject(arguments: list[str]) -> int:
    """Runs the ejector process of a line: trigger, reject schedule, actuator."""
    from agent.ejector_process import eject_forever

    file = _file(eject, arguments, "kensa eject line.yaml")
    start_log("eject")
    line = load_or_last_good(file, "eject")
    become_owner(line.state)
    sys.setswitchinterval(0.0005)  # drivers' threads give way to the gate ten times sooner than after Python's 5 ms
    go_first()
    log.info("configuration", extra={"data": {"line": msgspec.to_builtins(line, enc_hook=str)}})
    eject_forever(line, stop_on_signal(), lambda: remember(line, "eject"))
    return 0


def reporting(command: Callable[[list[str]], int], arguments: list[str]) -> int:
    """Runs a command; what can be expected to go wrong is one line on stderr, never a stack trace.

    The exit status is 2 for wrong input, and 1 for a device that is not there: that process is worth starting again.
    """
    try:
        return command(arguments)
    except (InputError, OutageError) as e:
        return report(command.__name__.removesuffix("_command"), e)


def report(command: str, error: Exception) -> int:
    """Says it in one line; gives the exit status."""
    print(f"kensa {command}: {error}", file=sys.stderr)
    return CONFIGURATION_ERROR if isinstance(error, InputError) else 1


def _parser(command: Callable[[list[str]], int], example: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(prog=f"kensa {command.__name__}", description=command.__doc__, epilog=f"example: {example}")


def _file(command: Callable[[list[str]], int], arguments: list[str], example: str) -> Path:
    parser = _parser(command, example)
    parser.add_argument("line", type=Path, help="the line's YAML file")
    file: Path = parser.parse_args(arguments).line
    return file
