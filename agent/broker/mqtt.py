"""Drains the outbox into the broker, keeps the station's state there and hears what is said to it; never in the line's way."""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import msgspec
import paho.mqtt.client as paho

from agent.broker.command_desk import Answer as CommandAnswer
from agent.broker.command_desk import CommandDesk
from agent.broker.error import BrokerLostError, OtherProtocolError, PoisonError, TakenOverError
from agent.broker.feed import Feed
from agent.broker.heard import Heard
from agent.broker.messages import Acknowledgement, Replay
from agent.broker.self_report import SelfReport
from agent.broker.session import IN_FLIGHT, Answer, Session
from agent.clock import machine_boot, now, utc
from agent.events.event import alert, envelope
from agent.events.outbox import Outbox
from agent.events.rows import Row
from agent.sections import Mqtt

log = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 8.0
_TAKEN_OVER_PAUSE_S = 60.0  # two stations of one name must not throw each other out many times a minute
_DENIED_PAUSE_S = 60.0
_GOODBYE_S = 5.0
_LISTENS_TO = ("birth", "cmd/+", "ack", "replay")


class _Birth(msgspec.Struct, frozen=True):
    """Topic `birth`, as far as it tells one station from another."""

    stream: str


class Publisher:
    """One thread that connects, publishes, is thrown back, waits with jitter, and tries again for ever.

    birth: what the station is. trouble: what is wrong with it now, empty when nothing is. desk: where commands come in; without
    it all are refused.
    """

    def __init__(
        self,
        config: Mqtt,
        station: str,
        outbox: Outbox,
        birth: Mapping[str, Any],
        trouble: Callable[[], str] = str,
        desk: CommandDesk | None = None,
    ) -> None:
        self._config = config
        self._station = station
        self._outbox = outbox
        self._desk = desk or CommandDesk()
        self._report = SelfReport(birth, outbox, self._desk, trouble)
        self._boot = machine_boot()
        self._unsaid: list[CommandAnswer] = []
        self._protocol = paho.MQTTv5
        self._is_old = False
        self._births = 0
        self._born: set[str] = set()
        self._window = IN_FLIGHT
        self._denied: dict[str, float] = {}
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._away, self._away_since_s = "not connected yet", time.monotonic()
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Publisher":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Publishes what still waits and `offline`, for a few seconds at most; the rest stays in the outbox."""
        self._stop.set()
        self._thread.join(timeout=2 * _GOODBYE_S)

    @property
    def misunderstood(self) -> int:
        """Messages to `birth`, `ack` and `replay` that could not be read."""
        return self._report.misunderstood

    @property
    def away(self) -> tuple[str, float]:
        """Why the broker takes no event, empty where it does, and for how many seconds."""
        return (self._away, time.monotonic() - self._away_since_s) if self._away else (self._refusals(), 0.0)

    def check(self) -> None:
        """Raises what ended the thread, if it ended."""
        if self._failure:
            raise BrokerLostError("publisher stopped") from self._failure

    def _run(self) -> None:
        try:
            self._publish_forever()
        except Exception as e:  # noqa: BLE001 - raised in the loop by check()
            self._failure = e

    def _publish_forever(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._stop.is_set():
            started_s = time.monotonic()
            try:
                with Session(self._config, self._station, self._protocol, _LISTENS_TO) as session:
                    if not self._is_proven():
                        continue
                    log.info("broker %s:%d connected, %d events waiting", *self._address, self._outbox.backlog())
                    self._greet(session)
                    self._away = ""
                    self._drain(session)
                    self._report.say_goodbye(session, _GOODBYE_S)
            except BrokerLostError as e:
                self._away_since_s = self._away_since_s if self._away else time.monotonic()
                self._away = str(e)
                lasted = time.monotonic() - started_s > _LONGEST_PAUSE_S  # else it accepts only to throw us out
                soon = lasted or isinstance(e, PoisonError)
                pause_s = _FIRST_PAUSE_S if soon else min(2 * pause_s, _LONGEST_PAUSE_S)
                longest_s = _TAKEN_OVER_PAUSE_S if isinstance(e, TakenOverError) else pause_s
                wait_s = random.uniform(longest_s / 2, longest_s)
                self._window = self._find_poison(e.rows) if isinstance(e, PoisonError) else IN_FLIGHT
                if isinstance(e, TakenOverError):
                    self._alert_of_the_other_one()
                if isinstance(e, OtherProtocolError):
                    self._protocol = paho.MQTTv311 if self._protocol == paho.MQTTv5 else paho.MQTTv5
                    self._is_old |= e.is_refused
                log.warning("broker %s:%d: %s; next try in %.1f s with %s", *self._address, e, wait_s, self._protocol.name)
                self._stop.wait(wait_s)

    def _is_proven(self) -> bool:
        """Whether this is the protocol to stay with. A broker that was silent to MQTT 5 may just have been away: now that it
        answers to 3.1.1, it is asked once more, because only MQTT 5 gives reasons when an event is refused."""
        if self._protocol == paho.MQTTv5:
            self._is_old = False
        elif not self._is_old:
            self._is_old, self._protocol = True, paho.MQTTv5
            return False
        return True

    def _alert_of_the_other_one(self) -> None:
        """Once an hour: they may throw each other out for days."""
        hour = int(time.monotonic() // 3600)
        detail = f"another station calls itself {self._station} or uses {self._config.topic}: give one of them another name"
        self._outbox.alert(f"taken-over/{self._boot}/{hour}", alert("taken-over", detail))

    def _find_poison(self, rows: Sequence[Row]) -> int:
        """How many events may be in flight next. Some brokers answer a message that they never take in a way that ends the
        connection (mosquitto 2.0.11, one that is too large): sent alone, it gives itself away, and is set aside."""
        if len(rows) > 1:
            return 1
        log.error("event %d ends the connection whenever it is sent, set aside", rows[0].seq)
        self._outbox.refused(rows[0], "ends the connection whenever it is sent, as if it were too large for the broker")
        return IN_FLIGHT

    @property
    def _address(self) -> tuple[str, int]:
        return self._config.host, self._config.port

    def changed(self, **birth: Any) -> None:
        """The station is something else now, judged by another model for example: its birth is said again."""
        self._report.changed(**birth)

    def _greet(self, session: Session) -> None:
        self._births += 1
        self._born.add(self._outbox.stream)
        self._report.greet(session, self._refusals())
        self._born.add(self._outbox.stream)  # it may have changed while it was said

    def _refusals(self) -> str:
        return f"not allowed to publish to {', '.join(sorted(self._denied))}" if self._denied else ""

    def _drain(self, session: Session) -> None:
        """Publishes events until told to stop and nothing waits; raises BrokerLostError."""
        feed, generation, leave_s = Feed(self._outbox, self._config.collector is not None), -1, None
        late: set[int] = set()
        stream = self._outbox.stream
        while True:
            if self._outbox.stream != stream:
                raise BrokerLostError("connecting anew, to begin a new stream")
            room = 0 if self._unsaid else self._window - session.in_flight
            told = feed.next(room, max(1, self._window // 2) - len(late))
            instant = now(self._boot)
            for one in told:
                if one.row.topic in self._denied:
                    continue
                session.publish(one.row, envelope(self._station, one.row, one.historical, instant))
                if one.historical:
                    late.add(one.row.seq)
            for answer in session.answers(wait_s=0.2 if session.in_flight else 0.0):
                late.discard(answer.row.seq)
                self._settle(answer)
            for heard in session.heard():
                self._hear(heard, feed)
            self._answer(session)
            self._report.say_what_is_due(session, self._refusals(), time.monotonic())
            is_idle = room > 0 and not told and not session.in_flight
            if self._stop.is_set():
                leave_s = leave_s or time.monotonic() + _GOODBYE_S
                if is_idle or time.monotonic() > leave_s:
                    return
            elif is_idle:
                session.check()
                self._try_denied_again()
                generation = self._outbox.wait_for_commit(generation, timeout_s=0.02 if feed.is_held_back else 0.5)

    def _settle(self, answer: Answer) -> None:
        if answer.refusal is None:
            self._denied.pop(answer.row.topic, None)
            (self._outbox.sent if self._config.collector else self._outbox.delivered)(answer.row)
        elif answer.may_be_welcome_later:
            log.error("not allowed to publish to %s (%s): its events wait", answer.row.topic, answer.refusal)
            self._denied[answer.row.topic] = time.monotonic()
        else:
            log.error("event %d refused by the broker, set aside: %s", answer.row.seq, answer.refusal)
            self._outbox.refused(answer.row, answer.refusal)

    def _try_denied_again(self) -> None:
        """A new connection, now and then: rights may have been given meanwhile. Raises BrokerLostError."""
        if self._denied and time.monotonic() - min(self._denied.values()) > _DENIED_PAUSE_S:
            self._denied.clear()
            raise BrokerLostError("connecting anew, to try topics that were not allowed")

    def _hear(self, heard: Heard, feed: Feed) -> None:
        try:
            match heard.topic:
                case "birth":
                    self._look_for_another(msgspec.json.decode(heard.payload, type=_Birth), heard.retained)
                case "ack":
                    self._acknowledged(msgspec.json.decode(heard.payload, type=Acknowledgement), feed)
                case "replay":
                    wanted = msgspec.json.decode(heard.payload, type=Replay)
                    if not heard.retained:
                        feed.wanted(wanted.stream, max(1, wanted.first), wanted.last)
                case _:
                    self._desk.hear(heard, feed, self._outbox.stream, utc(), time.monotonic())
        except (msgspec.DecodeError, UnicodeDecodeError) as e:
            self._report.misunderstood += 1
            log.warning("%s: not understood (%d so far): %s", heard.topic, self._report.misunderstood, e)

    def _answer(self, session: Session) -> None:
        """What commands have come to. A photograph goes alone: a broker that ends the connection over a message so large is
        not to be thought to have done so over an event."""
        self._unsaid += self._desk.answers(time.monotonic())
        for answer in list(self._unsaid):
            is_large = bool(answer.response.jpeg)
            if is_large and session.in_flight:
                return
            self._unsaid.remove(answer)
            if not session.reply(answer.heard, msgspec.json.encode(answer.response), _GOODBYE_S if is_large else 0.0):
                self._report.unanswered += 1

    def _look_for_another(self, birth: _Birth, is_retained: bool) -> None:
        """Another one's birth under our name, later than our first: not each broker says that a connection was taken over
        (mosquitto 2.0.11 does not). What was kept there before our first birth may be of the device that this one replaces."""
        if birth.stream not in self._born and not (is_retained and self._births == 1):
            raise TakenOverError("another station was born under this one's name")

    def _acknowledged(self, ack: Acknowledgement, feed: Feed) -> None:
        if ack.collector != self._config.collector:
            return
        if ack.stream == self._outbox.memory_stream:
            self._outbox.acknowledged_in_memory(ack.seq)
        elif ack.stream == self._outbox.stream:
            self._outbox.acknowledged(ack.seq)
            feed.taken(ack.taken)
