"""A part's photographs, asked for and waited for."""

from collections import defaultdict
from collections.abc import Mapping

from agent.inspection import Shot
from agent.link import Triggered
from agent.photographer import Photographer, Standard


def all_by(standard: Standard) -> Mapping[str, Standard]:
    """Whatever cameras there are."""
    return defaultdict(lambda: standard)


PLAIN = all_by(Standard(65535))


def photographed(photographer: Photographer, trigger: Triggered, standards: Mapping[str, Standard] = PLAIN) -> tuple[Shot, ...]:
    photographer.ask(trigger, standards)
    return photographer.answer(trigger, standards)
