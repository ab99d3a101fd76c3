"""PURE  What the sections of a line are wired to, so that no output, register, line or topic serves two of them.

By the names that the drivers' settings have. An address written in two ways (by name and by number) is not found.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations

_ONE = ("coil", "register", "discrete_input", "counter")


def used_twice(sections: Mapping[str, object]) -> tuple[str, str, str] | None:
    """The first two sections that are at one place, and its name; None where each has its own. sections: name to its settings."""
    for one, other in combinations(sections, 2):
        if both := sorted(set(_places(sections[one])) & set(_places(sections[other]))):
            return one, other, both[0]
    return None


def _places(section: object) -> Iterator[str]:
    """All that a section reads or writes, by name."""
    peer = f"{getattr(section, 'host', '')}:{getattr(section, 'port', '')}"
    for kind in _ONE:
        if (address := getattr(section, kind, None)) is not None:
            yield f"{kind} {address} of {peer} unit {getattr(section, 'unit', '')}"
    for register in getattr(section, "registers", ()):
        yield f"register {register} of {peer} unit {getattr(section, 'unit', '')}"
    for topic in (getattr(section, "topic", None), getattr(section, "answers", None)):
        if topic is not None:
            yield f"topic {topic} of {peer}"
    chip, line = getattr(section, "chip", None), getattr(section, "line", None)
    lines = [line, *getattr(section, "outputs", {}).values(), *getattr(section, "inputs", {}).values()]
    for number in lines if chip is not None else []:
        if number is not None:
            yield f"line {number} of {chip}"
