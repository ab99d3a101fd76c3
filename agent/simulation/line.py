"""The two processes of a line in virtual time, as far as they decide, with what goes wrong around them and a person who helps."""

import math
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from pathlib import Path
from random import Random

import numpy as np

from agent.decide import Policy, decide
from agent.events.event import kind, payload, topic
from agent.events.memory import Entry
from agent.events.outbox import Outbox
from agent.gate.gate import Gate
from agent.gate.journal import Journal
from agent.gate.plan import GatePlan
from agent.gate.trigger_input import TriggerInput
from agent.inspection import Closed, Event, Fault, Measured, Part, Prediction, Reading, Verdict
from agent.simulation.belt import BeltPart, Flap, SimulatedBelt

STEP_MS = 5.0
_THRESHOLD = 1.0
_NO_MAP = np.zeros((1, 1), dtype=np.float32)
_TRAVEL_MM = 400
_MOST_UNCONFIRMED = 2000  # the outbox works in real time: virtual time waits for it


@dataclass(frozen=True, slots=True)
class Chances:
    """How often things go wrong: of a part, or (`_hz`) in a second of the line."""

    misjudged: float = 0.005
    not_a_number: float = 0.005
    camera: float = 0.01
    late: float = 0.02
    lost: float = 0.01
    bounce: float = 0.02
    inspection_killed_hz: float = 0.02
    ejector_killed_hz: float = 0.01
    ejector_stalled_hz: float = 0.05


@dataclass(frozen=True, slots=True)
class Plan:
    """with_encoder: the belt changes its speed, stops and runs back, and the gate goes by an encoder."""

    parts: int
    seed: int
    with_encoder: bool = False
    bad_share: float = 0.1
    chances: Chances = Chances()

    @property
    def gate(self) -> GatePlan:
        return GatePlan(
            travel_ms=float(_TRAVEL_MM),
            lead_ms=20.0,
            pulse_ms=40.0,
            window_ms=15.0,
            travel_counts=_TRAVEL_MM if self.with_encoder else None,
        )


@dataclass(frozen=True, slots=True)
class Shipped:
    """What is put to the test; mutants take its place."""

    gate: type[Gate] = Gate
    decide: Callable[[Reading, Policy], Verdict] = decide


@dataclass(slots=True)
class Findings:
    """violations: each a sentence; empty is what must be. counts: of parts, verdicts and faults that were made."""

    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


class SimulatedLine:
    """The belt, the two processes as far as they decide, and a person who resets the gate."""

    def __init__(self, plan: Plan, folder: Path, shipped: Shipped) -> None:
        self.findings = Findings()
        self._plan = plan
        self._folder = folder
        self._shipped = shipped
        self._random = Random(plan.seed)
        self._wall_clock = Random(plan.seed)  # asked as often as the disk makes it: of its own, so that a seed is one run
        self.belt = SimulatedBelt(_TRAVEL_MM, plan.bad_share, plan.with_encoder, self._random)
        self._flap = Flap(lag_ns=20_000_000)
        self._now_ns = 1_000_000_000
        self._boots = 0
        self._edges: deque[tuple[int, BeltPart]] = deque()
        self._verdicts: list[tuple[int, int, Part, Verdict]] = []
        self._asked: set[Part] = set()
        self._durable: deque[Part] = deque()
        self._stalled_until_ns = self._ejector_back_ns = self._inspection_back_ns = self._held_since_ns = 0
        self._is_attached = True
        self._outbox = Outbox(folder / "outbox.db")
        self._gate: Gate | None = None
        self._start_ejector()

    def step(self, is_fed: bool = True) -> None:
        """One moment of everything. is_fed: whether new parts are put on; never without the gate's heartbeat."""
        self._now_ns += round(STEP_MS * 1e6)
        self._flap.follow(self._now_ns)
        entering = self.belt.step(STEP_MS, is_fed and self._gate is not None, self._flap)
        if entering:
            self._edges.append((self._now_ns, entering))
            if self._happens(self._plan.chances.bounce):
                self._edges.append((self._now_ns + 200_000, entering))
        if is_fed:
            self._go_wrong()
        self._come_back()
        if self._gate is not None and self._now_ns >= self._stalled_until_ns:
            self._work(self._gate)
        self._person()

    def finish(self) -> Findings:
        """Sees the last parts through and every event to the disk."""
        while self.belt.on_belt or self._gate is None or not self._gate.is_at_rest or self._journal.unconfirmed:
            self.step(is_fed=False)
        self._check_account(self._gate)
        self._journal.__exit__(None, None, None)
        self._outbox.__exit__(None, None, None)
        return self.findings

    def _work(self, gate: Gate) -> None:
        """What the ejector process does each time it wakes, and the inspection process beside it."""
        now_ns = self._now_ns
        if gate.belt is not None:
            gate.belt.moved(math.floor(self.belt.moved_mm), now_ns)
        gate.act(now_ns)
        while self._edges:
            edge_ns, belt_part = self._edges.popleft()
            for triggered_ns in self._input.parts([edge_ns]):
                belt_part.part = gate.trigger(triggered_ns, self._is_attached).part
                if self._is_attached:
                    self._inspect(belt_part, triggered_ns)
        while self._verdicts and self._verdicts[0][0] <= now_ns:
            _, _, part, verdict = heappop(self._verdicts)
            if self._is_attached:
                gate.tell(part, verdict)
        if self._is_attached:
            self._record()

    def _inspect(self, belt_part: BeltPart, triggered_ns: int) -> None:
        """A stub reading, decided as shipped, and when the gate will hear of it."""
        chances, random = self._plan.chances, self._random
        belt_part.misjudged = belt_part.is_bad and self._happens(chances.misjudged)
        strange = belt_part.is_bad and not belt_part.misjudged
        raw = random.uniform(1.0, 3.0) if strange else random.uniform(0.0, 0.999)
        reading: Reading = Prediction(raw, raw, 0.5, _NO_MAP)
        if self._happens(chances.not_a_number):
            reading = Prediction(math.nan, math.nan, 0.5, _NO_MAP)
            belt_part.misjudged = False
        if self._happens(chances.camera):
            reading = Fault("camera lost")
            belt_part.misjudged = False
        verdict = self._shipped.decide(reading, Policy(_THRESHOLD))
        if self._happens(chances.lost):
            self.findings.counts["made: verdict lost"] += 1
            return
        late = self._happens(chances.late)
        self.findings.counts["made: verdict late"] += late
        takes_ms = random.uniform(380, 900) if late else random.uniform(20, 200)
        assert belt_part.part is not None
        heappush(self._verdicts, (triggered_ns + round(takes_ms * 1e6), belt_part.number, belt_part.part, verdict))

    def _record(self) -> None:
        """Closed parts into the outbox; what it cannot take now is offered again."""
        for part, closed in list(self._journal.unconfirmed.items()):
            if part not in self._asked and self._outbox.put(self._entry(closed)):
                self._asked.add(part)
        while len(self._asked) > _MOST_UNCONFIRMED and not self._durable:
            threading.Event().wait(0.001)
        self._outbox.check()
        parts = tuple(self._durable.popleft() for _ in range(len(self._durable)))
        if parts:
            self._asked.difference_update(parts)
            self._journal.confirmed(parts)

    def _entry(self, closed: Closed) -> Entry:
        event = Event(closed, (Measured("simulated"),), "simulated", _THRESHOLD)
        stepped = f"{2026 + self._wall_clock.randint(-10, 10)}-01-01T00:00:00.000Z"  # the wall clock jumps as it likes
        part, durable = closed.part, self._durable
        return Entry(str(part), kind(event), topic(event), stepped, payload(event, "boot"), lambda key: durable.append(part))

    def _go_wrong(self) -> None:
        chances, now_ns = self._plan.chances, self._now_ns
        if self._is_attached and self._happens(chances.inspection_killed_hz * STEP_MS / 1000):
            self.findings.counts["made: inspection killed"] += 1
            self._is_attached = False
            self._verdicts.clear()
            self._asked.clear()
            self._inspection_back_ns = now_ns + self._random.randint(300, 3000) * 1_000_000
            if self._gate is not None:
                self._gate.inspection_lost()
        if self._gate is not None and self._happens(chances.ejector_killed_hz * STEP_MS / 1000):
            self.findings.counts["made: ejector killed"] += 1
            self._check_account(self._gate)
            self._journal.__exit__(None, None, None)
            self._flap.release(now_ns)
            self._gate = None
            for _, belt_part in self._edges:  # not read from the kernel yet: the PLC gets no acknowledgement of the trigger
                self.findings.counts["taken off by the PLC, trigger not acknowledged"] += self.belt.take_off(belt_part)
            self._edges.clear()
            self._ejector_back_ns = now_ns + self._random.randint(100, 1500) * 1_000_000
        if self._happens(chances.ejector_stalled_hz * STEP_MS / 1000):
            self._stalled_until_ns = now_ns + self._random.randint(5, 80) * 1_000_000
            self.findings.counts["made: ejector stalled"] += 1

    def _come_back(self) -> None:
        if not self._is_attached and self._now_ns >= self._inspection_back_ns:
            self._is_attached = True
        if self._gate is None and self._now_ns >= self._ejector_back_ns:
            self._start_ejector()

    def _start_ejector(self) -> None:
        self._boots += 1
        self._journal = Journal(self._folder / "journal", "machine")
        self._asked.clear()
        self._input = TriggerInput(debounce_ns=1_000_000, stuck_ns=2_000_000_000)
        self._gate = self._shipped.gate(f"boot{self._boots}", self._plan.gate, self._flap, self._journal)
        self._gate.recover(self._now_ns)

    def _person(self) -> None:
        """Comes within a second when the line is held, looks, and resets the gate."""
        if self._gate is None or not self._gate.held:
            self._held_since_ns = self._now_ns
        elif self._now_ns - self._held_since_ns > 1_000_000_000:
            self.findings.counts["a person reset the gate"] += 1
            self._gate.reset()

    def _check_account(self, gate: Gate) -> None:
        account = gate.account
        if account["triggers"] != account["pass"] + account["reject"] + len(gate):
            self.findings.violations.append(f"the account does not add up: {dict(account)}, {len(gate)} in flight")

    def _happens(self, chance: float) -> bool:
        return self._random.random() < chance
