"""A part's photographs, asked for and waited for."""

from agent.inspection import Shot
from agent.link import Triggered
from agent.photographer import Photographer, Standard

PLAIN = Standard(65535)


def photographed(photographer: Photographer, trigger: Triggered, standard: Standard = PLAIN) -> tuple[Shot, ...]:
    photographer.ask(trigger, standard)
    return photographer.answer(trigger, standard)
