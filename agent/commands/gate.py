"""`kensa gate`: what a person at the line asks of a running gate."""

import argparse
import sys
from pathlib import Path
from typing import get_args

import msgspec

from agent.config import load_line
from agent.gate.operator_side import Action, GateSilentError, ask_gate


def gate(arguments: list[str]) -> int:
    """Shows how a running gate stands, resets it after a halt, or makes its outputs inert for maintenance."""
    parser = argparse.ArgumentParser(prog="kensa gate", description=gate.__doc__, epilog="example: kensa gate line.yaml reset")
    parser.add_argument("line", type=Path, help="the line's YAML file")
    parser.add_argument("action", choices=get_args(Action), nargs="?", default="status", help="resume ends maintenance")
    chosen = parser.parse_args(arguments)
    try:
        state = ask_gate(load_line(chosen.line).state, chosen.action)
    except GateSilentError as e:
        print(f"kensa gate: {e}", file=sys.stderr)
        return 1
    print(msgspec.json.format(msgspec.json.encode(state), indent=2).decode())
    return 0
