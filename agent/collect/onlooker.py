"""What a collector does besides keeping events."""

from collections.abc import Mapping
from typing import Any


class Onlooker:
    """Of a collector; each does what concerns it. topic: a station's prefix."""

    def state(self, topic: str, told: Mapping[str, Any]) -> None:
        """A station has said how it is."""

    def event(self, topic: str, event: Mapping[str, Any]) -> None:
        """One that was not there yet."""

    def look(self, now_s: float) -> None:
        """Once a second, after a commit."""
