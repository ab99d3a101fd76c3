"""The devices around the gate, opened from a line's file: what can be read of them, and which cannot be relied upon."""

from contextlib import ExitStack
from dataclasses import dataclass

from agent.config import Line
from agent.ejectors import Ejector
from agent.encoders import Encoder
from agent.gate.handshake import ErrorCode
from agent.gate.trigger_input import TriggerInput, input_of
from agent.plc import Plc
from agent.triggers import Trigger


@dataclass(slots=True)
class GateDevices:
    """permit: an output that is on while the line may run. confirm: the sensor behind the gate. parts, fallen: which edges of
    trigger and confirm count."""

    ejector: Ejector
    trigger: Trigger
    confirm: Trigger | None
    encoder: Encoder | None
    permit: Ejector | None
    plc: Plc | None
    parts: TriggerInput
    fallen: TriggerInput | None

    def filenos(self) -> list[int]:
        """What can be read when one of them has something."""
        found = (self.ejector, self.trigger, self.confirm, self.encoder, self.permit, self.plc)
        return [fileno for device in found if device is not None for fileno in device.filenos()]

    def inputs(self) -> dict[str, bool]:
        """Whether each is active, for people; never, for one that has no level."""
        named = {"trigger": self.trigger, "confirm": self.confirm}
        return {name: device.active_since_ns() is not None for name, device in named.items() if device is not None}

    def outputs(self, ejects: bool, permits: bool) -> dict[str, bool]:
        """Whether each is on, for people."""
        return {"ejector": ejects, **({"permit": permits} if self.permit is not None else {})}

    def problems(self, now_ns: int) -> dict[str, str]:
        """Name of a device to why it cannot be relied upon; a lost encoder is told by the gate itself."""
        named: dict[str, Ejector | Trigger | Plc | None] = {
            "ejector": self.ejector,
            "trigger": self.trigger,
            "confirm": self.confirm,
            "permit": self.permit,
            "plc": self.plc,
        }
        found = {name: why for name, device in named.items() if device is not None and (why := device.problem()) is not None}
        if self.parts.is_stuck(self.trigger.active_since_ns(), now_ns):
            found["trigger-stuck"] = "the trigger input stays active: no part can be seen behind this one"
        return found


def error_code(problems: dict[str, str]) -> ErrorCode:
    """What a PLC is told of them: the worst. Without `permit` a line that has to stand may not, so no part is asked for; the PLC
    that is away sees nothing, and a part that comes is inspected.

    >>> [error_code({name: "silent"}).name for name in ("trigger", "permit", "plc")]
    ['TRIGGER', 'EJECTOR', 'NONE']
    """
    codes = {
        "ejector": ErrorCode.EJECTOR,
        "trigger": ErrorCode.TRIGGER,
        "trigger-stuck": ErrorCode.TRIGGER,
        "confirm": ErrorCode.EJECTOR,
        "permit": ErrorCode.EJECTOR,
    }
    return next((code for name, code in codes.items() if name in problems), ErrorCode.NONE)


def open_devices(line: Line, devices: ExitStack) -> GateDevices:
    """In order, closed with the stack in reverse. Raises EjectorError, TriggerError."""
    return GateDevices(
        ejector=devices.enter_context(line.ejector.open()),
        permit=devices.enter_context(line.permit.open()) if line.permit else None,
        encoder=devices.enter_context(line.encoder.open()) if line.encoder else None,
        confirm=devices.enter_context(line.confirm.open()) if line.confirm else None,
        plc=devices.enter_context(line.plc.open()) if line.plc else None,
        trigger=devices.enter_context(line.trigger.open()),
        parts=input_of(line.trigger, line.gate),
        fallen=input_of(line.confirm, line.gate) if line.confirm else None,
    )
