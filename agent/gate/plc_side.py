"""The PLC as the ejector process sees it: the handshake between what a driver carries and what the gate does."""

from agent.gate.change_over import ChangeOver
from agent.gate.gate import Gate
from agent.gate.handshake import Asked, ErrorCode, Handshake, Signals, Station, Wishes
from agent.gate.line_stop import Reason
from agent.inspection import Closed
from agent.plc import Plc


class PlcSide:
    """One PLC. Its trigger opens parts like the trigger input does; its reset is that of a person who pressed a button.

    signals, wishes: what each shows the other now, for people who look.
    """

    def __init__(self, plc: Plc, gate: Gate, changes: ChangeOver) -> None:
        self._plc = plc
        self._gate = gate
        self._changes = changes
        self._handshake = Handshake()
        self.signals = Signals()
        self.wishes = Wishes()

    def filenos(self) -> list[int]:
        return list(self._plc.filenos())

    @property
    def error(self) -> ErrorCode:
        """What the PLC is shown until it, or a person, resets."""
        return self._handshake.error

    def problem(self) -> str | None:
        return self._plc.problem()

    def wake_ns(self) -> int | None:
        return self._handshake.wake_ns()

    def serve(self, station: Station, now_ns: int) -> list[Asked]:
        """Shows where the station stands; gives what the PLC has asked for, which may change what has to be shown."""
        self.signals = self._handshake.signals(station, now_ns)
        said = self._plc.exchange(self.signals)
        self.wishes = said[-1] if said else self.wishes
        heard = [self._handshake.hear(wishes) for wishes in said]
        for asked in heard:
            if asked.reset:
                self._gate.reset()
            if asked.recipe is not None:
                self._changes.ask(asked.recipe, "the PLC", self._answer_wish, now_ns)
        return heard

    def opened(self, n: int, was_ready: bool) -> None:
        self._handshake.opened(n, was_ready)

    def closed(self, parts: list[Closed], now_ns: int) -> None:
        for closed in parts:
            if not self._handshake.closed(closed.part.n, closed.verdict.outcome):
                self._gate.hold(
                    Reason.PLC_OVERRUN, f"the PLC did not take its results: that of part {closed.part} is lost", now_ns
                )

    def _answer_wish(self, refusal: str) -> None:
        """The recipe that runs is shown all the time; why it is not the one wished is for people."""
        if refusal:
            self._handshake.failed(ErrorCode.RECIPE)

    def reset(self) -> None:
        """A person has reset the gate."""
        self._handshake.reset()
