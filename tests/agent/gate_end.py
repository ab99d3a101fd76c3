"""The ejector's end of the link, held by a test in place of an ejector process."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from waiting import wait_until

from agent.inspection import Closed, Part, Verdict
from agent.link import Attach, Channel, Confirm, LinkLostError, Listener, Message, Report, Tell, Triggered, Unable


class GateEnd:
    """Announces and reports parts, and keeps what the inspection side says."""

    def __init__(self, socket: Path) -> None:
        self.heard: list[Message] = []
        self._listener = Listener(socket)
        self._channel: Channel | None = None

    def close(self) -> None:
        self.drop()
        self._listener.close()

    def drop(self) -> None:
        """Closes the connection, as a killed process does."""
        if self._channel:
            self._channel.close()
        self._channel = None

    def wait_for_attach(self) -> None:
        wait_until(lambda: self._hear() and any(isinstance(message, Attach) for message in self.heard))

    def trigger(self, part: Part, until_gate_ms: float = 10_000) -> int:
        """When it was, ns."""
        now_ns = time.monotonic_ns()
        self.say(Triggered(part, now_ns, now_ns + round(until_gate_ms * 1e6)))
        return now_ns

    def report(self, *closed: Closed) -> None:
        self.say(Report(closed))

    def say(self, message: Message) -> None:
        assert self._channel is not None
        assert self._channel.send(message)

    def verdict_on(self, part: Part) -> Verdict:
        """What it was told, waiting for it."""
        wait_until(lambda: self._hear() and part in self.told)
        return self.told[part]

    def wait_for_confirmation(self, part: Part) -> None:
        wait_until(lambda: self._hear() and part in self.confirmed)

    def wait_for_heed(self, alarm: str) -> None:
        """That an alarm is safe, by its key."""
        wait_until(lambda: self._hear() and any(isinstance(one, Confirm) and alarm in one.alarms for one in self.heard))

    def wait_for_unable(self, why: str) -> None:
        """That no part can be inspected now, and why."""
        wait_until(lambda: self._hear() and self._unable == why)

    def is_left_alone(self) -> bool:
        """The other end has closed the connection, and its last words are in `heard`."""
        return self._hear() and self._channel is None

    def wait_for_able(self) -> None:
        """That parts can be inspected."""
        self.wait_for_unable("")

    @property
    def _unable(self) -> str | None:
        """As it was told last."""
        told = [one.why if isinstance(one, Unable) else one.unable for one in self.heard if isinstance(one, Unable | Attach)]
        return told[-1] if told else None

    @property
    def told(self) -> dict[Part, Verdict]:
        return {message.part: message.verdict for message in self.heard if isinstance(message, Tell)}

    @property
    def confirmed(self) -> list[Part]:
        return [part for message in self.heard if isinstance(message, Confirm) for part in message.parts]

    def _hear(self) -> bool:
        """Takes in all there is; always True."""
        if (newcomer := self._listener.accept()) is not None:
            self.drop()
            self._channel = newcomer
        try:
            while self._channel and (message := self._channel.receive(wait=False)) is not None:
                self.heard.append(message)
        except LinkLostError:
            self.drop()
        return True


@contextmanager
def gate_end(socket: Path) -> Iterator[GateEnd]:
    """Listens when the block begins."""
    end = GateEnd(socket)
    try:
        yield end
    finally:
        end.close()
