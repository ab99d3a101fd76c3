"""What station and PLC show each other, and in which order: ready, trigger, busy, valid with ok or ng, acknowledge. PURE.

The PLC raises `trigger` and holds it until `trigger_ack`; then lowers it. A result is shown as `valid` with `result_id` and
exactly one of `ok` and `ng`, and held until the PLC raises `ack`; it lowers `ack` once `valid` is gone, and the next result is
shown. `error` with its code is latched until the PLC raises `reset`, which was seen off before, or a person resets the gate. The
bits mean what those of Cognex's and LandingEdge's controllers mean.
"""

from collections import deque
from dataclasses import dataclass
from enum import IntEnum

from agent.inspection import Outcome

HELD_RESULTS = 8
_HEARTBEAT_NS = 500_000_000  # one second a period
_WORD = 1 << 16
_DOUBLE_WORD = 1 << 32


class ErrorCode(IntEnum):
    """HELD: the line has to stand until a person has looked. OVERRUN: results were not taken. EJECTOR: it, `confirm` or `permit`
    cannot be reached. TRIGGER, ENCODER: nor can this. RECIPE: the wish could not be met."""

    NONE = 0
    HELD = 1
    OVERRUN = 2
    EJECTOR = 3
    TRIGGER = 4
    ENCODER = 5
    RECIPE = 6


@dataclass(frozen=True, slots=True)
class Signals:
    """What the station shows. ok and ng are never on together; both are off while there is no result.

    trigger_id, result_id: the part's count, modulo 2^32. missed: triggers that came while not ready, modulo 2^32.
    heartbeat: toggles, heartbeat_count counts, as long as an inspection process is attached; a PLC stops the line when they stop.
    may_run: off asks the PLC to stop the line.
    """

    ready: bool = False
    busy: bool = False
    trigger_ack: bool = False
    valid: bool = False
    ok: bool = False
    ng: bool = False
    error: bool = False
    overrun: bool = False
    heartbeat: bool = False
    may_run: bool = False
    maintenance: bool = False
    error_code: int = 0
    trigger_id: int = 0
    result_id: int = 0
    missed: int = 0
    heartbeat_count: int = 0
    held_results: int = 0
    recipe: int = 0


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the PLC shows. recipe: number it wishes, 0 for none."""

    trigger: bool = False
    ack: bool = False
    reset: bool = False
    recipe: int = 0


@dataclass(frozen=True, slots=True)
class Station:
    """How the station is, for the PLC. error: why it is not as it should be. is_changing: to another recipe. is_unable: what an
    inspection process that is there lacks, a camera for example. recipe: that runs, 0 where the line has none."""

    is_attached: bool
    is_held: bool
    in_maintenance: bool
    is_busy: bool
    may_run: bool
    error: ErrorCode = ErrorCode.NONE
    is_changing: bool = False
    is_unable: bool = False
    recipe: int = 0

    @property
    def is_ready(self) -> bool:
        """A part that comes now is inspected."""
        wrong = self.is_held or self.in_maintenance or self.is_changing or self.is_unable or self.error
        return self.is_attached and not wrong


@dataclass(frozen=True, slots=True)
class Asked:
    """What new wishes amount to."""

    trigger: bool = False
    reset: bool = False
    recipe: int | None = None


class Handshake:
    """The order of the signals; `now_ns` is an argument. Opened parts and their ends come in as calls.

    error: latched, until a reset; the station is not ready meanwhile.
    """

    def __init__(self) -> None:
        self.missed = 0
        self.overrun = 0
        self._wishes = Wishes()
        self._reset_was_off = False  # one that is on when the process starts is no press
        self._trigger_ack = False
        self._trigger_id = 0
        self._results: deque[tuple[int, Outcome]] = deque()
        self._shown: tuple[int, Outcome] | None = None
        self._waits_for_low_ack = False
        self.error = ErrorCode.NONE
        self._beats = 0
        self._next_beat_ns: int | None = None

    def hear(self, wishes: Wishes) -> Asked:
        """New wishes of the PLC. A trigger opens a part; tell `opened` its number."""
        before, self._wishes = self._wishes, wishes
        if not wishes.trigger:
            self._trigger_ack = False
        if wishes.ack and not before.ack:
            self._shown = None
            self._waits_for_low_ack = True
        if not wishes.ack:
            self._waits_for_low_ack = False
        is_reset = wishes.reset and self._reset_was_off
        self._reset_was_off = not wishes.reset
        if is_reset:
            self.reset()
        return Asked(
            trigger=wishes.trigger and not before.trigger,
            reset=is_reset,
            recipe=wishes.recipe if wishes.recipe not in (0, before.recipe) else None,
        )

    def opened(self, n: int, was_ready: bool) -> None:
        """A part has been opened, by the PLC's trigger or another one."""
        self._trigger_id = n % _DOUBLE_WORD
        self._trigger_ack = self._wishes.trigger
        self.missed += not was_ready

    def closed(self, n: int, outcome: Outcome) -> bool:
        """A part has ended. False when eight results are held already: this one is lost to the PLC, and it is told so."""
        if len(self._results) + (self._shown is not None) >= HELD_RESULTS:
            self.overrun += 1
            self.error = ErrorCode.OVERRUN
            return False
        self._results.append((n % _DOUBLE_WORD, outcome))
        return True

    def failed(self, code: ErrorCode) -> None:
        """Latched; the first error stays."""
        self.error = self.error or code

    def reset(self) -> None:
        """The error is cleared; results that were not taken are forgotten, the PLC has lost count of them."""
        if self.overrun:
            self._results.clear()
            self._shown = None
        self.overrun = 0
        self.error = ErrorCode.NONE

    def signals(self, station: Station, now_ns: int) -> Signals:
        """What to show now."""
        self._beat(station.is_attached, now_ns)
        if self._shown is None and self._results and not self._waits_for_low_ack:
            self._shown = self._results.popleft()
        error = self.error or station.error or (ErrorCode.HELD if station.is_held else ErrorCode.NONE)
        outcome = self._shown[1] if self._shown else None
        return Signals(
            ready=station.is_ready and error is ErrorCode.NONE,
            busy=station.is_busy,
            trigger_ack=self._trigger_ack,
            valid=self._shown is not None,
            ok=outcome is Outcome.PASS,
            ng=outcome is Outcome.REJECT,
            error=error is not ErrorCode.NONE,
            overrun=self.overrun > 0,
            heartbeat=self._beats % 2 == 1,
            may_run=station.may_run,
            maintenance=station.in_maintenance,
            error_code=int(error),
            trigger_id=self._trigger_id,
            result_id=self._shown[0] if self._shown else 0,
            missed=self.missed % _DOUBLE_WORD,
            heartbeat_count=self._beats % _WORD,
            held_results=len(self._results) + (self._shown is not None),
            recipe=station.recipe,
        )

    def wake_ns(self) -> int | None:
        """When the heartbeat goes on."""
        return self._next_beat_ns

    def _beat(self, is_attached: bool, now_ns: int) -> None:
        if not is_attached:
            self._next_beat_ns = None
        elif self._next_beat_ns is None or now_ns >= self._next_beat_ns:
            self._beats += 1
            self._next_beat_ns = now_ns + _HEARTBEAT_NS
