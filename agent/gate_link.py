"""The inspection process's end of the link: triggers in, verdicts out, closed parts into the outbox."""

import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from agent.inspection import Cause, Closed, Outcome, Part, Verdict
from agent.link import (
    Alarm,
    Attach,
    Changed,
    ChangeTo,
    Channel,
    Confirm,
    Held,
    Leaving,
    LinkLostError,
    Report,
    Tell,
    Triggered,
    Unable,
    Wish,
    Wished,
    connect,
)

log = logging.getLogger(__name__)

_WAITING_TRIGGERS = 64
_RECONNECT_S = 0.2
_LISTEN_S = 0.1
_ALONE_S = 1.0  # without an ejector process: longer than it takes to attach when both have just been started
_PARTS_PER_CONFIRM = 256
_ORDERS = 16


@dataclass(frozen=True, slots=True)
class Ears:
    """Who hears what the gate says, from the link's thread.

    closed: of each closed part; calls `confirm` once its event is durable. alarm: what people should know of the gate. wished:
    what became of a `wish`. trigger: of a part that comes, before `next_trigger` gives it; may wait for nothing.
    """

    closed: Callable[[Closed], None]
    alarm: Callable[[Alarm], None] = lambda alarm: None
    wished: Callable[[Wished], None] = lambda wished: None
    trigger: Callable[[Triggered], None] = lambda trigger: None


class GateLink:
    """One thread that attaches to the ejector process, listens, and attaches again for ever when it is gone.

    recipe: by which parts are judged; said with each verdict. why_unable: why no part that comes now can be inspected, empty
    where it can; asked by that thread again and again. recipes: as in Attach.
    """

    def __init__(self, socket: Path, ears: Ears, recipe: int = 0, why_unable: Callable[[], str] = str, recipes: str = "") -> None:
        self.recipe = recipe
        self._recipes = recipes
        self.held = ""  # why the line stands, as the gate says
        self._gate_trouble = ""
        self._alone_since_s = time.monotonic()
        self.orders: deque[ChangeTo] = deque(maxlen=_ORDERS)
        self._socket = socket
        self._ears = ears
        self._why_unable = why_unable
        self._triggers: queue.Queue[Triggered | None] = queue.Queue(_WAITING_TRIGGERS)
        self._to_confirm: deque[Part] = deque()
        self._heeded: deque[str] = deque()
        self._recalled: deque[Tell] = deque(maxlen=_WAITING_TRIGGERS)
        self._channel: Channel | None = None
        self.leaves_in_order = False  # says at its end that it was told to end
        self._is_left = False  # by an ejector process that was told to end
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self.overrun = 0
        self._thread = threading.Thread(target=self._run, name="gate", daemon=True)

    def __enter__(self) -> "GateLink":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    @property
    def is_attached(self) -> bool:
        return self._channel is not None

    @property
    def trouble(self) -> str:
        """What is wrong at the gate, for people; empty where nothing is."""
        if not self.is_attached and time.monotonic() - self._alone_since_s > _ALONE_S:
            return "the ejector process is not there: no part is counted or rejected"
        return "; ".join(filter(None, (f"the gate is held: {self.held}" if self.held else "", self._gate_trouble)))

    @property
    def waiting(self) -> int:
        """Triggers that nobody has taken yet."""
        return self._triggers.qsize()

    def check(self) -> None:
        """Raises what ended the thread, if it ended."""
        if self._failure:
            raise LinkLostError("the link's thread stopped") from self._failure

    def next_trigger(self, timeout_s: float) -> Triggered | None:
        """The next part to be inspected; None when none came in time, or after `wake`."""
        try:
            return self._triggers.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def tell(self, part: Part, verdict: Verdict) -> None:
        """The gate decides whether it came in time; if it cannot be told, the part is rejected there."""
        self._send(Tell(part, verdict, self.recipe))

    def recall(self, part: Part, why: str) -> None:
        """The part may not pass, whatever it was judged to be; tried until the gate has heard it. For `Ears.trigger`."""
        self._recalled.append(Tell(part, Verdict(Outcome.REJECT, Cause.FAULT, why), self.recipe))

    def wake(self) -> None:
        """Who waits for a trigger shall look around. Where triggers wait, he will."""
        with suppress(queue.Full):
            self._triggers.put_nowait(None)

    def answer(self, changed: Changed) -> None:
        """What became of one of `orders`. If it cannot be told, the gate hears of it at the next attaching."""
        self.recipe = changed.recipe
        self._send(changed)

    def wish(self, id: str, recipe: int) -> bool:
        """Somebody asks for this recipe by a command; False where the gate cannot be told."""
        return self._send(Wish(id, recipe))

    def confirm(self, part: Part) -> None:
        """The part's event is durable. Told a moment later, many at once: a burst of messages must not hold up a verdict."""
        self._to_confirm.append(part)

    def heed(self, alarm: str) -> None:
        """The same of an alarm, by its key: until then each inspection process that attaches is told of it."""
        self._heeded.append(alarm)

    def _send(self, message: Tell | Unable | Changed | Wish | Confirm | Leaving) -> bool:
        channel = self._channel
        try:
            if channel is not None and channel.send(message):
                return True
            log.warning("the ejector process could not be told: %s", message)
        except LinkLostError:
            log.warning("the ejector process was lost before it was told: %s", message)
        return False

    def _send_recalls(self, channel: Channel) -> None:
        while self._recalled and channel.send(self._recalled[0]):
            self._recalled.popleft()

    def _send_confirmations(self) -> None:
        """What does not get through is reported by the gate again, and confirmed again."""
        while self._to_confirm or self._heeded:
            batch = [self._to_confirm.popleft() for _ in range(min(len(self._to_confirm), _PARTS_PER_CONFIRM))]
            alarms = [self._heeded.popleft() for _ in range(len(self._heeded))]
            self._send(Confirm(tuple(batch), tuple(alarms)))

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._attach_and_listen()
        except Exception as e:  # noqa: BLE001 - raised in the loop by check()
            self._failure = e

    def _attach_and_listen(self) -> None:
        try:
            channel = connect(self._socket, timeout_s=_LISTEN_S)
        except LinkLostError:
            self._stop.wait(_RECONNECT_S)
            return
        try:
            told = self._why_unable()
            channel.send(Attach(os.getpid(), self.recipe, told, self._recipes))
            self._channel, self._is_left = channel, False
            log.info("attached to the ejector process")
            while not self._stop.is_set():
                self._hear(channel.receive(wait=True))
                self._send_recalls(channel)
                self._send_confirmations()
                if (why := self._why_unable()) != told and self._send(Unable(why)):
                    told = why
            if self.leaves_in_order and self._send(Leaving()):
                while channel.receive(wait=False) is not None:  # closed over something unread, it would take the last word back
                    pass
        except LinkLostError as e:
            if self._is_left:
                log.info("the ejector process has left")
            else:
                log.error("ejector process lost: %s", e)
        finally:
            self._channel, self._alone_since_s = None, time.monotonic()
            channel.close()

    def _hear(self, message: object) -> None:
        match message:
            case Triggered():
                try:
                    self._ears.trigger(message)
                    self._triggers.put_nowait(message)
                except queue.Full:
                    self.overrun += 1
                    log.error("part %s triggered while %d wait: not inspected", message.part, _WAITING_TRIGGERS)
            case Report(closed=parts):
                for closed in parts:
                    self._ears.closed(closed)
            case ChangeTo():
                self.orders.append(message)
                self.wake()
            case Wished():
                self._ears.wished(message)
            case Leaving():
                self._is_left = True
            case Held(why=why, trouble=trouble):
                self.held, self._gate_trouble = why, trouble
            case Alarm():
                self._ears.alarm(message)
