"""A belt that nobody has to build: parts, their truth, an encoder, and a flap that really takes parts off or does not."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from agent.ejectors import Switched
from agent.inspection import Part

MM_PER_MS = 1.0  # nominal speed; the encoder gives a count for each mm
LENGTH_MM = 25.0  # of a part
CATCH_MS = 5.0  # a part is taken off once the flap has acted on it for so long


@dataclass(slots=True)
class BeltPart:
    """The truth of one part. entered_mm: where the belt was when its front was at the trigger. caught_ms: the flap acted on it.

    part: what Kensa calls it, None until it was counted. misjudged: the model itself called this bad part good.
    """

    number: int
    is_bad: bool
    entered_mm: float
    part: Part | None = None
    caught_ms: float = 0.0
    misjudged: bool = False

    @property
    def is_taken_off(self) -> bool:
        return self.caught_ms >= CATCH_MS


class Flap:
    """An output with an answer at once and a flap that follows it `lag_ns` later; it falls back when its process dies."""

    def __init__(self, lag_ns: int) -> None:
        self.is_acting = False
        self._lag_ns = lag_ns
        self._switches: deque[tuple[int, bool]] = deque()
        self._answers: list[Switched] = []

    def switch(self, on: bool, now_ns: int) -> None:
        self._switches.append((now_ns + self._lag_ns, on))
        self._answers.append(Switched(on, now_ns))

    def answers(self) -> Sequence[Switched]:
        answers, self._answers = self._answers, []
        return answers

    def problem(self) -> str | None:
        return None

    def filenos(self) -> Sequence[int]:
        return []

    def follow(self, now_ns: int) -> None:
        """Moves as the output said a lag ago."""
        while self._switches and self._switches[0][0] <= now_ns:
            self.is_acting = self._switches.popleft()[1]

    def release(self, now_ns: int) -> None:
        """The process that drove it is dead: the kernel lets go of the line."""
        self._answers.clear()
        self._switches.append((now_ns + self._lag_ns, False))


class SimulatedBelt:
    """Parts from the trigger to behind the gate. changes_speed: it also slows down, stands still and runs back a little.

    to_gate_mm: from the trigger to the gate. bad_share: of the parts. gone: parts that have left, for good.
    """

    def __init__(self, to_gate_mm: float, bad_share: float, changes_speed: bool, random: Random) -> None:
        self.moved_mm = 0.0
        self.on_belt: deque[BeltPart] = deque()
        self.gone: list[BeltPart] = []
        self._to_gate_mm = to_gate_mm
        self._bad_share = bad_share
        self._changes_speed = changes_speed
        self._random = random
        self._speed = MM_PER_MS
        self._until_ms = 0.0
        self._furthest_mm = 0.0
        self._next_at_mm = 0.0
        self._count = 0

    def step(self, step_ms: float, is_fed: bool, flap: Flap) -> BeltPart | None:
        """Moves on; gives the part whose front has come to the trigger, if one has. is_fed: whether parts are put on."""
        self._move(step_ms)
        for part in self.on_belt:
            if flap.is_acting and 0.0 <= self.moved_mm - part.entered_mm - self._to_gate_mm <= LENGTH_MM:
                part.caught_ms += step_ms
        while self.on_belt and self.moved_mm - self.on_belt[0].entered_mm > self._to_gate_mm + 2 * LENGTH_MM:
            self.gone.append(self.on_belt.popleft())
        if not is_fed:
            self._next_at_mm = max(self._next_at_mm, self._furthest_mm + 2 * LENGTH_MM)
            return None
        if self.moved_mm < self._next_at_mm:
            return None
        self._next_at_mm = self.moved_mm + self._random.uniform(1.6, 8.0) * LENGTH_MM
        self._count += 1
        entering = BeltPart(self._count, self._random.random() < self._bad_share, self.moved_mm)
        self.on_belt.append(entering)
        return entering

    def take_off(self, part: BeltPart) -> bool:
        """Another machine takes a part off, which is then no part of this line any more; False where it has done so already."""
        if part not in self.on_belt:
            return False
        self.on_belt.remove(part)
        return True

    def _move(self, step_ms: float) -> None:
        self._until_ms -= step_ms
        if self._changes_speed and self._until_ms <= 0:
            speeds, odds = (1.0, 0.6, 0.2, 0.0, -0.1), (60, 20, 8, 8, 4)
            self._speed = MM_PER_MS * self._random.choices(speeds, odds)[0]
            self._until_ms = self._random.uniform(100, 300) if self._speed < 0 else self._random.uniform(200, 3000)
        self.moved_mm += self._speed * step_ms
        self._furthest_mm = max(self._furthest_mm, self.moved_mm)
