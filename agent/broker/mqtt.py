"""Drains the outbox into the broker, keeps the station's state there and hears what is said to it; never in the line's way."""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import msgspec

from agent.broker.command_desk import CommandDesk
from agent.broker.dialect import Dialect
from agent.broker.errands import Answer
from agent.broker.error import BrokerLostError, OtherProtocolError, PoisonError, TakenOverError
from agent.broker.feed import Feed
from agent.broker.listener import LISTENS_TO, Listener
from agent.broker.self_report import SelfReport
from agent.broker.session import IN_FLIGHT, Session
from agent.broker.unacknowledged import Fate, Receipt
from agent.clock import machine_boot, now
from agent.events.event import alert, envelope
from agent.events.outbox import Outbox
from agent.events.rows import Row
from agent.sections import Mqtt

log = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 8.0
_TAKEN_OVER_PAUSE_S = 60.0  # two stations of one name must not throw each other out many times a minute
_DENIED_PAUSE_S = 60.0
_GOODBYE_S = 5.0


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
        self._listener = Listener(outbox, self._desk, config.collector, str(birth.get("boot_id", "")))
        self._report = SelfReport(birth, outbox, self._listener, trouble)
        self._boot = machine_boot()
        self._unsaid: list[Answer] = []
        self._dialect = Dialect()
        self._window = IN_FLIGHT
        self._alerted_hour = -1
        self._denied: dict[str, float] = {}
        self._deaf_to: frozenset[str] = frozenset()
        self._has_to_hear = {"ack", "replay"} if config.collector else set[str]()
        self._has_to_hear |= {"cmd/+"} if self._desk.enabled else set()
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
        return self._listener.misunderstood

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
                with Session(self._config, self._station, self._dialect.version, LISTENS_TO) as session:
                    if not self._dialect.was_understood():
                        continue
                    log.info("broker %s:%d connected, %d events waiting", *self._address, self._outbox.backlog())
                    self._greet(session)
                    self._away = ""
                    self._drain(session)
                    self._report.say_goodbye(session, _GOODBYE_S)
            except BrokerLostError as error:
                e = self._blamed_on_the_other_one(error)
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
                    self._dialect.was_not_understood(e.is_refused)
                version = self._dialect.version.name
                log.warning("broker %s:%d: %s; next try in %.1f s with %s", *self._address, e, wait_s, version)
                self._stop.wait(wait_s)

    def _blamed_on_the_other_one(self, error: BrokerLostError) -> BrokerLostError:
        """Not each broker says why a connection has ended. With pauses as after a take-over each has the broker for half a minute
        in turn: the events of both arrive, and so do their alerts."""
        has_rival, self._listener.has_rival = self._listener.has_rival, False
        if has_rival and not isinstance(error, PoisonError):
            return TakenOverError(f"another station was born under this one's name; {error}")
        return error

    def _alert_of_the_other_one(self) -> None:
        """Once an hour: they may throw each other out for days."""
        if (hour := int(time.monotonic() // 3600)) == self._alerted_hour:
            return
        self._alerted_hour = hour
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
        self._listener.connected()
        self._report.greet(session, self._refusals())
        self._listener.born()  # the stream may have changed while it was said

    def _refusals(self) -> str:
        cannot = {"publish to": self._denied, "read": self._deaf_to}
        return "; ".join(f"not allowed to {verb} {', '.join(sorted(topics))}" for verb, topics in cannot.items() if topics)

    def _drain(self, session: Session) -> None:
        """Publishes events until told to stop and nothing waits; raises BrokerLostError."""
        feed, generation, leave_s = Feed(self._outbox, self._config.collector is not None), -1, None
        late: set[int] = set()
        stream = self._outbox.stream
        while True:
            if self._outbox.stream != stream:
                self._listener.has_rival = False  # who is there still is heard of again
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
            for receipt in session.receipts(wait_s=0.2 if session.in_flight else 0.0):
                late.discard(receipt.row.seq)
                self._settle(receipt)
            for heard in session.heard():
                self._listener.hear(heard, feed)
            if self._listener.has_rival:
                self._alert_of_the_other_one()
            self._answer(session)
            if session.not_heard is not None:
                self._deaf_to = session.not_heard & self._has_to_hear
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

    def _settle(self, receipt: Receipt) -> None:
        row, reason = receipt.row, receipt.reason
        match receipt.fate:
            case Fate.TAKEN:
                self._denied.pop(row.topic, None)
                (self._outbox.sent if self._config.collector else self._outbox.delivered)(row)
            case Fate.NOT_ALLOWED:
                log.error("not allowed to publish to %s (%s): its events wait", row.topic, reason)
                self._denied[row.topic] = time.monotonic()
            case Fate.REFUSED:
                log.error("event %d refused by the broker, set aside: %s", row.seq, reason)
                self._outbox.refused(row, reason)

    def _try_denied_again(self) -> None:
        """A new connection, now and then: rights may have been given meanwhile. Raises BrokerLostError."""
        if self._denied and time.monotonic() - min(self._denied.values()) > _DENIED_PAUSE_S:
            self._denied.clear()
            raise BrokerLostError("connecting anew, to try topics that were not allowed")

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
