"""What was commanded and is not done yet: it waits for the hot path or for the gate, and its answer for the publisher."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from agent.broker.heard import Heard
from agent.broker.remote_command import Command, RefusedError, Response, Result, Why
from agent.clock import utc_now

MOST = 8  # of each kind


@dataclass(frozen=True, slots=True)
class Answer:
    """A response and the message that asked for it."""

    heard: Heard
    response: Response


@dataclass(frozen=True, slots=True)
class Errand:
    """A command, the message that brought it, and until when it counts."""

    heard: Heard
    command: Command
    until_s: float

    def answer(self, result: Result, reason: str, part: str = "", jpeg: bytes = b"") -> Answer:
        name = self.heard.topic.removeprefix("cmd/")
        return Answer(self.heard, Response(self.command.id, name, result, utc_now(), reason, part=part, jpeg=jpeg))


class Errands:
    """For several threads; nobody waits here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Errand] = []
        self._answers: deque[Answer] = deque()

    def add(self, errand: Errand) -> None:
        """Raises RefusedError where too many of its kind wait."""
        with self._lock:
            if sum(type(one.command) is type(errand.command) for one in self._waiting) >= MOST:
                raise RefusedError(Why.TOO_MANY, f"{MOST} of them wait already", errand.command.id)
            self._waiting.append(errand)

    def has(self, kind: type[Command]) -> bool:
        return any(isinstance(errand.command, kind) for errand in self._waiting)

    def take(self, fits: Callable[[Errand], bool]) -> list[Errand]:
        """Those that wait no longer."""
        with self._lock:
            taken = [errand for errand in self._waiting if fits(errand)]
            self._waiting = [errand for errand in self._waiting if not fits(errand)]
        return taken

    def say(self, *answers: Answer) -> None:
        self._answers.extend(answers)

    def answers(self) -> list[Answer]:
        """Since the last call."""
        return [self._answers.popleft() for _ in range(len(self._answers))]
