"""The signals as Modbus sees them: the same twelve words and eleven bits for the station as server and as client.

| word | holds | bit of word 0 | is |
|---|---|---|---|
| 0 | the bits | 0 | ready |
| 1, 2 | trigger_id, high word first | 1 | busy |
| 3, 4 | result_id, high word first | 2 | trigger_ack |
| 5 | error_code | 3 | valid |
| 6, 7 | missed, high word first | 4 | ok |
| 8 | heartbeat_count | 5 | ng |
| 9 | recipe | 6 | error |
| 10 | held_results | 7 | overrun |
| 11 | 1, the version of this table | 8 | heartbeat |
| | | 9 | may_run |
| | | 10 | maintenance |

The PLC's own words: 0 holds its bits (0 trigger, 1 ack, 2 reset), 1 the number of the recipe it wishes.
"""

from collections.abc import Sequence

from agent.gate.handshake import Signals, Wishes

WORDS, PLC_WORDS = 12, 2
VERSION = 1
_BITS = ("ready", "busy", "trigger_ack", "valid", "ok", "ng", "error", "overrun", "heartbeat", "may_run", "maintenance")


def bits(signals: Signals) -> list[bool]:
    """In the order of the table."""
    return [bool(getattr(signals, name)) for name in _BITS]


def words(signals: Signals) -> list[int]:
    """
    >>> words(Signals(ready=True, trigger_id=70000))[:3]
    [1, 1, 4464]
    """
    status = sum(1 << k for k, bit in enumerate(bits(signals)) if bit)
    return [
        status,
        *_two(signals.trigger_id),
        *_two(signals.result_id),
        signals.error_code,
        *_two(signals.missed),
        signals.heartbeat_count,
        signals.recipe,
        signals.held_results,
        VERSION,
    ]


def wishes(plc_words: Sequence[int]) -> Wishes:
    """
    >>> wishes([2, 7])
    Wishes(trigger=False, ack=True, reset=False, recipe=7)
    """
    status, recipe = plc_words
    return Wishes(trigger=bool(status & 1), ack=bool(status & 2), reset=bool(status & 4), recipe=recipe)


def _two(value: int) -> tuple[int, int]:
    return value >> 16, value & 0xFFFF
