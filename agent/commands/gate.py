"""`kensa gate`: what a person at the line asks of a running gate."""

import argparse
import sys
import time
from pathlib import Path
from typing import get_args

import msgspec

from agent.config import load_line
from agent.gate.change_over import WITHIN_NS
from agent.gate.operator_side import Action, GateState, ask_gate

_LOOK_EVERY_S = 0.05


def gate(arguments: list[str]) -> int:
    """Shows how a running gate stands, resets it after a halt, makes its outputs inert for maintenance, or changes the recipe."""
    parser = argparse.ArgumentParser(prog="kensa gate", description=gate.__doc__, epilog="example: kensa gate line.yaml reset")
    parser.add_argument("line", type=Path, help="the line's YAML file")
    parser.add_argument("action", choices=get_args(Action), nargs="?", default="status", help="resume ends maintenance")
    parser.add_argument("number", type=int, nargs="?", help="of the recipe, after `recipe`")
    chosen = parser.parse_args(arguments)
    if (chosen.action == "recipe") != (chosen.number is not None):
        parser.error("`recipe` and a number belong together: kensa gate line.yaml recipe 2")
    folder = load_line(chosen.line).state
    if chosen.action == "recipe":
        return _change_over(folder, chosen.number)
    state = ask_gate(folder, chosen.action)
    print(msgspec.json.format(msgspec.json.encode(state), indent=2).decode())
    return 0


def _change_over(folder: Path, number: int) -> int:
    """Waits until the recipe runs, or it is known why it does not. Raises GateSilentError."""
    state = ask_gate(folder, "recipe", recipe=number)
    asked = state.recipe.asked if state.recipe else ""
    until_s = time.monotonic() + 1.5 * WITHIN_NS / 1e9
    while state.recipe and asked not in state.recipe.ended and state.recipe.wanted and time.monotonic() < until_s:
        time.sleep(_LOOK_EVERY_S)
        state = ask_gate(folder, "status")
    if why := _why_not(state, asked):
        print(f"kensa gate: {why}", file=sys.stderr)
        return 1
    print(f"recipe {number} runs")
    return 0


def _why_not(state: GateState, asked: str) -> str:
    if state.recipe is None:
        return "the ejector process that runs is older than this command and knows no recipes: restart it"
    unknown = f"it is not known what became of it, recipe {state.recipe.number} runs: was the ejector process restarted?"
    return state.recipe.ended.get(asked, unknown)
