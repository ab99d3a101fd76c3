"""Which edges of an input are parts: bounces are one, and an input that stays active is one part and an alarm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from agent.gate.plan import GatePlan

if TYPE_CHECKING:
    from agent.triggers import TriggerConfig


class TriggerInput:
    """Edges in, parts out; in ns. debounce_ns: an edge closer to the last part's is a bounce; one that is told of late is a part.
    stuck_ns: see `is_stuck`."""

    def __init__(self, debounce_ns: int, stuck_ns: int) -> None:
        self.bounces = 0
        self._debounce_ns = debounce_ns
        self._stuck_ns = stuck_ns
        self._last_ns: int | None = None

    def parts(self, edges: Sequence[int]) -> list[int]:
        """
        >>> TriggerInput(debounce_ns=10, stuck_ns=100).parts([1, 4, 12, 30])
        [1, 12, 30]
        """
        parts = []
        for edge_ns in edges:
            if self._last_ns is not None and abs(edge_ns - self._last_ns) < self._debounce_ns:
                self.bounces += 1
                continue
            self._last_ns = max(edge_ns, self._last_ns or edge_ns)
            parts.append(edge_ns)
        return parts

    def is_stuck(self, active_since_ns: int | None, now_ns: int) -> bool:
        """Whether the input has been active for longer than a part can make it."""
        return active_since_ns is not None and now_ns - active_since_ns > self._stuck_ns


def input_of(config: TriggerConfig, plan: GatePlan) -> TriggerInput:
    """Of a driver of the line: only what can bounce is debounced."""
    return TriggerInput(round(plan.debounce_ms * 1e6) if config.bounces else 0, round(plan.stuck_ms * 1e6))
