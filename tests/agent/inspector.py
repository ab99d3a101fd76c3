"""The inspection's end of the link, held by a test in place of an inspection process; and the ejector process it speaks to."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kensa_process import Running, running
from waiting import wait_until

from agent.inspection import Closed, Part
from agent.link import (
    Alarm,
    Attach,
    Changed,
    Channel,
    Confirm,
    Held,
    Leaving,
    LinkLostError,
    Message,
    Report,
    Tell,
    Triggered,
    Unable,
    connect,
)


class Inspector:
    """The inspection's end of the link, held by a test; attached once constructed. recipes: as in Attach."""

    def __init__(self, socket: Path, recipes: str = "") -> None:
        self.heard: list[Message] = []
        self._channel = self._reach(socket)
        self._channel.send(Attach(1, recipes=recipes))

    def close(self) -> None:
        self._channel.close()

    def send(self, message: Tell | Changed | Confirm | Unable | Leaving) -> bool:
        return self._channel.send(message)

    def listen_until(self, condition: Callable[[], object]) -> None:
        """Hears what comes until the condition holds."""

        def heard_enough() -> object:
            while (message := self._channel.receive(wait=False)) is not None:
                self.heard.append(message)
            return condition()

        wait_until(heard_enough)

    @property
    def triggered(self) -> list[Part]:
        return [message.part for message in self.heard if isinstance(message, Triggered)]

    @property
    def closed(self) -> list[Closed]:
        return [closed for message in self.heard if isinstance(message, Report) for closed in message.closed]

    @property
    def alarms(self) -> list[str]:
        return [message.name for message in self.heard if isinstance(message, Alarm)]

    @property
    def held(self) -> list[str]:
        return [message.why for message in self.heard if isinstance(message, Held)]

    def closed_parts(self) -> set[Part]:
        return {closed.part for closed in self.closed}

    @staticmethod
    def _reach(socket: Path) -> Channel:
        found: list[Channel] = []

        def reached() -> bool:
            try:
                found.append(connect(socket, timeout_s=0.3))
            except LinkLostError:
                return False
            return True

        wait_until(reached)
        return found[0]


@contextmanager
def eject_process(file: Path, name: str = "eject") -> Iterator[Running]:
    with running("-m", "kensa", "eject", str(file), log_file=file.parent / f"{name}.log") as process:
        yield process


def account_of(process: Running) -> dict[str, int]:
    return next(entry["account"] for entry in process.entries() if entry["message"] == "account")
