"""Drivers by file name: the value of `type:` in the configuration is a module in the package of that kind."""

import importlib.util
import pkgutil
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from types import ModuleType
from typing import Any

import msgspec

from agent.error import InputError

_MOST_DIGITS = 12
_BOOLEANS = {**dict.fromkeys(("yes", "y", "on", "true"), "true"), **dict.fromkeys(("no", "n", "off", "false"), "false")}


class ConfigError(InputError):
    """A configuration that must not run; the message gives file, line, what was found and what was expected."""


class SectionError(InputError, ValueError):
    """A section of a configuration is wrong. `path`: keys from the section to the culprit."""

    def __init__(self, message: str, *path: str | int) -> None:
        super().__init__(message)
        self.path = path


def names(package: str) -> list[str]:
    """The drivers that exist in a package: its modules.

    >>> names("agent.runtimes")
    ['auto', 'onnxruntime', 'openvino']
    """
    found = importlib.util.find_spec(package)  # not imported: training's packages take seconds
    folder = found.submodule_search_locations if found else None
    return sorted(module.name for module in pkgutil.iter_modules(folder or []) if not module.name.startswith("_"))


def driver(package: str, name: object) -> ModuleType:
    """The module `package.name`; only files of the package can be named, so a configuration cannot load anything else."""
    known = names(package)
    if name not in known:
        kind = package.rpartition(".")[2]
        raise SectionError(f"type {name!r} is not one of the {kind} here: {', '.join(known)}", "type")
    return importlib.import_module(f"{package}.{name}")


def section(package: str, content: object) -> Any:
    """A driver's own frozen `Config`, built from its section of the configuration (a mapping with `type`)."""
    if not isinstance(content, dict) or "type" not in content:
        raise SectionError(f"expected a mapping with `type`, one of: {', '.join(names(package))}")
    module = driver(package, content["type"])
    return convert({key: value for key, value in content.items() if key != "type"}, module.Config)


def convert(content: object, target: Any) -> Any:
    """`content` as a msgspec type. Raises SectionError with the path to the first culprit."""
    try:
        return msgspec.convert(content, type=target, strict=True)
    except msgspec.ValidationError as e:
        message, _, where = str(e).partition(" - at `")
        _, is_key, around = where.partition("key` in `")
        message, where = (f"One of its keys: {message[0].lower()}{message[1:]}", around) if is_key else (message, where)
        path = _path(where.rstrip("`"))
        if "unknown field" in message:
            culprit = message.split("`")[1]
            known = ", ".join(f.encode_name for f in msgspec.structs.fields(target)) if not path else ""
            raise SectionError(f"unknown key {culprit!r}" + (f", known: {known}" if known else ""), *path, culprit) from e
        remedy = _meant(content, path, "`bool" in message) if message.endswith("got `str`") else ""
        raise SectionError(message[0].lower() + message[1:] + remedy, *path) from e


def _meant(content: object, path: Sequence[str], a_boolean: bool) -> str:
    """A remedy where a word stands that looks like a number, or like true or false where that is wanted.

    >>> _meant({"gate": {"travel_ms": "6e2"}}, ["gate", "travel_ms"], False)
    ": '6e2' is a word to YAML, write 600"
    >>> _meant({"gate": {"travel_ms": "long"}}, ["gate", "travel_ms"], False)
    ''
    >>> _meant({"repeat": "Off"}, ["repeat"], True)
    ": 'Off' is a word here, write false"
    """
    found: object = content
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    if a_boolean and isinstance(found, str) and (meant := _BOOLEANS.get(found.lower())):
        return f": {found!r} is a word here, write {meant}"
    try:
        number = Decimal(found) if isinstance(found, str) else Decimal("nan")
    except InvalidOperation:
        return ""
    is_written_out = number.is_finite() and abs(number.adjusted()) <= _MOST_DIGITS
    return f": {found!r} is a word to YAML, write {number:f}" if is_written_out else ""


def _path(dotted: str) -> list[str]:
    """Keys of a msgspec path such as `$.gate.travel_ms`."""
    return [key for key in dotted.removeprefix("$").replace("[", ".").replace("]", "").split(".") if key]
