"""One line of `kensa doctor`: what was looked at, how it is, and what to do about it."""

from enum import Enum

import msgspec


class Health(Enum):
    """OK; WARN: works, with less reserve than it should have; FAIL: does not work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(msgspec.Struct, frozen=True):
    """remedy: what a person does about it; empty where nothing need be done."""

    name: str
    health: Health
    found: str
    remedy: str = ""


def ok(name: str, found: str) -> Finding:
    return Finding(name, Health.OK, found)


def warn(name: str, found: str, remedy: str) -> Finding:
    return Finding(name, Health.WARN, found, remedy)


def fail(name: str, found: str, remedy: str) -> Finding:
    return Finding(name, Health.FAIL, found, remedy)
