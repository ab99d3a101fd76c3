"""The one command: a table of sub-commands, imported when asked for."""

import errno
import importlib
import os
import select
import sys
from collections.abc import Sequence

COMMANDS: dict[str, tuple[str, str]] = {
    "fit": ("training.fit_command:fit_command", "train a model on photographs of good parts"),
    "distill": ("training.distill_command:distill_command", "make a small backbone from large ones"),
    "data": ("training.data_check:data_command", "check photographs before they are used"),
    "evaluate": ("training.evaluate:evaluate_command", "measure a run or a bundle on a test set"),
    "reproduce": ("training.reproduce:reproduce_command", "fit and measure methods on MVTec AD, beside published figures"),
    "export": ("export.export_command:export_command", "make the bundle that a device runs"),
    "selftest": ("agent.commands.line:selftest", "run a bundle's golden images on this machine"),
    "calibrate": ("agent.commands.calibrate:calibrate_command", "make a threshold for a bundle on this very device"),
    "bench": ("agent.commands.bench:bench_command", "measure a bundle's artefacts on this machine, and choose one"),
    "check": ("agent.commands.check:check", "read a line's configuration and say what is wrong with it"),
    "capture": ("agent.commands.capture:capture", "photograph parts for training with a line's own camera and trigger"),
    "run": ("agent.commands.line:run", "run a line: both processes"),
    "inspect": ("agent.commands.line:inspect", "run the inspection process alone"),
    "eject": ("agent.commands.line:eject", "run the ejector process alone"),
    "provision": ("deploy.provision:provision_command", "make this machine a station; done twice, it changes nothing"),
    "sbom": ("deploy.sbom:sbom_command", "what is installed here, as CycloneDX"),
    "doctor": ("agent.commands.doctor:doctor_command", "what is wrong with this device, and what to do about it"),
    "install": ("agent.commands.install:install_command", "try a bundle here and make it the one that a line runs"),
    "rollback": ("agent.commands.install:rollback_command", "go back to the bundle before"),
    "gate": ("agent.commands.gate:gate", "show a running gate, reset it, begin and end maintenance"),
    "web": ("agent.web.server:web_command", "serve the page of a line: live picture, rejects, alerts, metrics"),
    "collect": ("agent.commands.collect:collect_command", "keep the events of stations, each once, none missing"),
    "simulate": ("agent.simulation.simulator:simulate_command", "parts in virtual time, with faults, and what escapes"),
    "demo": ("export.demo_command:demo_command", "draw parts, train, export and run a whole line here"),
}

_OWN = frozenset({"agent", "training", "export", "deploy"})


def usage() -> str:
    """The table, for people."""
    rows = "\n".join(f"  {name:10s} {purpose}" for name, (_, purpose) in COMMANDS.items())
    return f"usage: kensa COMMAND ...    (kensa COMMAND --help tells more)\n\n{rows}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one sub-command; the exit status is 0, 2 for wrong input, 1 for a file or a device that fails (with one clear line),
    130 after Ctrl-C, 141 where what it prints is not read to its end (`| head`).
    """
    name, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name not in {*COMMANDS, "-h", "--help"}:
        print(f"kensa: no command {name!r}\n\n{usage()}", file=sys.stderr)
        return 2
    try:
        if name not in COMMANDS:
            print(usage(), flush=True)
            return 0
        return _run(name, rest)
    except KeyboardInterrupt:
        print(f"kensa {name}: stopped", file=sys.stderr)
        return 130
    except ImportError as e:
        if e.name is None or e.name.partition(".")[0] in _OWN:
            raise
        print(f"kensa {name}: {_what_is_missing(name, e)}", file=sys.stderr)
        return 2
    except OSError as e:
        if isinstance(e, BrokenPipeError) and _nobody_reads():
            return 141
        if e.filename is None and e.errno != errno.ENOSPC:
            raise
        file = f"{e.filename}: " if e.filename is not None else ""
        print(f"kensa {name}: {file}cannot be read or written: {e.strerror}", file=sys.stderr)
        return 1


def _run(name: str, arguments: list[str]) -> int:
    """Imports the sub-command, which may take seconds, and runs it."""
    module_name, _, function = COMMANDS[name][0].partition(":")
    command = getattr(importlib.import_module(module_name), function)
    from agent.commands.line import reporting

    return reporting(command, arguments)


def _nobody_reads() -> bool:
    """Whether what reads stdout has gone; then nothing more is said to it."""
    ends = select.poll()
    ends.register(sys.stdout, 0)
    if not ends.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def _what_is_missing(name: str, error: ImportError) -> str:
    """A package that is not there, or whose libraries are not, and what brings it."""
    module_name = COMMANDS[name][0]
    if isinstance(error, ModuleNotFoundError):
        what = f"package {error.name} is not installed"
    else:
        what = f"package {error.name} cannot be used: {error}"
    if module_name.startswith(("training", "export")):
        return f"{what}; this is a workstation command: `make setup` in Kensa's checkout brings what it needs"
    return f"{what}; install Kensa's packages again (`make setup` in its checkout; on a device deploy/README.md, updating)"


if __name__ == "__main__":
    sys.exit(main())
