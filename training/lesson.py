"""What every distillation has in common: teachers that speak, a student that learns in one cycle, and a state to go on from."""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from training.backbone import IMAGENET_MEAN, IMAGENET_STD, UNKNOWN, Stated, load_backbone
from training.crops import Source
from training.descend import fast_in_half
from training.plan import DistillError, Plan, Teacher
from training.whole_file import write_whole

FARTHEST = 10.0  # deviations; a channel that is almost always silent must not rule the loss
_WARM_UP = 0.1


class Lesson:
    """Teachers, student and optimizer; the learning rate follows from the step.

    A kind of student sets `modules` (what is learned, by name) and `statistics` (of the teachers' features), calls `begin`,
    and fills in the three methods below.
    """

    network: str  # for the card
    rate: float
    decay: float
    modules: dict[str, nn.Module]
    statistics: dict[str, Tensor]

    def whiten(self, batches: Iterator[Any]) -> None:
        """Takes the statistics of the teachers' features over the batches, (B, H, W, 3) uint8 each."""
        raise NotImplementedError

    def loss(self, images: Any) -> Tensor:
        """How far the student is from its teachers: 1 is what one that knows only the means would have."""
        raise NotImplementedError

    def student_state(self) -> dict[str, Tensor]:
        """What is kept in the end."""
        raise NotImplementedError

    def __init__(self, plan: Plan, sources: Sequence[Source], strides: tuple[int, ...]) -> None:
        self._plan = plan
        loaded = [load_backbone(t.name, t.weights, 0, _stated(t), strides) for t in plan.teachers]
        self.provenances = [provenance for _, provenance in loaded]
        self._teachers = [(channels_last(backbone), Normalize(p.mean, p.std)) for backbone, p in loaded]
        self.widths = [[backbone.channels[k] for backbone, _ in loaded] for k in range(len(strides))]  # per level and teacher
        described = [asdict(t) | {"weights": p.sha256} for t, p in zip(plan.teachers, self.provenances, strict=True)]
        decides = asdict(plan) | {"teachers": described, "images": [source.sha256 for source in sources]}
        self._fingerprint = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    def begin(self) -> None:
        """The optimizer over all modules."""
        self._learned = [parameter for module in self.modules.values() for parameter in module.parameters()]
        self._optimizer = torch.optim.AdamW(self._learned, lr=self.rate, weight_decay=self.decay)

    def learn(self, images: Any, step: int) -> float:
        """One step of AdamW; gives the loss."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.rate * one_cycle(step, self._plan.steps)
        loss = self.loss(images)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return float(loss.detach())

    def lecture(self, images: Any) -> list[Tensor]:
        """The teachers' features, concatenated per stride, as they are."""
        with torch.no_grad(), half_precision():
            told = [teacher(normalize(images)) for teacher, normalize in self._teachers]
        return [torch.cat([level.float() for level in levels], dim=1) for levels in zip(*told, strict=True)]

    def _state(self) -> dict[str, Tensor]:
        """Everything that learning changes, by name; the tensors themselves."""
        state = {f"{name}.{key}": value for name, module in self.modules.items() for key, value in module.state_dict().items()}
        state |= self.statistics
        for k, parameter in enumerate(self._learned):
            state |= {f"optimizer.{k}.{key}": value for key, value in self._optimizer.state[parameter].items()}
        return state

    def save(self, file: Path, step: int) -> None:
        """Everything needed to go on after `step` steps."""
        state = {key: value.contiguous() for key, value in self._state().items()}
        write(file, save(state, {"step": str(step), "plan": self._fingerprint}))

    def restore(self, file: Path) -> int:
        """Goes on from a checkpoint; gives the steps done. Raises DistillError for one of another command."""
        try:
            with safe_open(file, framework="pt") as opened:
                told = opened.metadata() or {}
            saved = load_file(file)
        except (SafetensorError, OSError) as e:
            raise DistillError(f"{file}: cannot be read ({e}); remove it and begin again") from e
        if told.get("plan") != self._fingerprint:
            raise DistillError(f"{file}: of other teachers, images or options; give the same as then, or remove it")
        for k, parameter in enumerate(self._learned):
            of = f"optimizer.{k}."
            self._optimizer.state[parameter] = {key[len(of) :]: value for key, value in saved.items() if key.startswith(of)}
            for key in ("exp_avg", "exp_avg_sq"):  # in the parameter's layout, so that every sum has its order
                self._optimizer.state[parameter][key] = torch.empty_like(parameter).copy_(saved[of + key])
        with torch.no_grad():
            for key, value in self._state().items():
                value.copy_(saved[key])
        return int(told["step"])

    def write_student(self, out: Path) -> None:
        """The student alone in float16, with what a reader must know of it."""
        state = self.student_state()
        halves = {key: value.half().contiguous() for key, value in state.items() if not key.endswith("num_batches_tracked")}
        told = {"mean": json.dumps(IMAGENET_MEAN), "std": json.dumps(IMAGENET_STD), "licence": self._plan.licence}
        write(out, _ordered(save(halves, told)))


class Normalize:
    """(B, H, W, 3) uint8 to (B, 3, H, W) float32."""

    def __init__(self, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        self._mean, self._std = torch.tensor(mean), torch.tensor(std)

    def __call__(self, images: Any) -> Tensor:
        seen = (torch.from_numpy(images).float() / 255 - self._mean) / self._std
        return seen.permute(0, 3, 1, 2)  # channels last in memory


def one_cycle(step: int, steps: int) -> float:
    """Share of the highest learning rate: up in a line, down in half a cosine.

    >>> [round(one_cycle(k, 100), 2) for k in (0, 9, 10, 55, 99)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    rise = max(1, round(_WARM_UP * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def half_precision() -> Any:
    """bfloat16 where the processor computes in it."""
    return torch.autocast("cpu", torch.bfloat16, enabled=fast_in_half(torch.device("cpu")))


def channels_last(module: Any) -> Any:
    return module.to(memory_format=torch.channels_last)


def write(file: Path, content: bytes) -> None:
    """Whole or not at all. Raises DistillError."""
    try:
        write_whole(file, content)
    except OSError as e:
        raise DistillError(f"{file}: cannot be written: {e.strerror or e}") from e


def _ordered(content: bytes) -> bytes:
    """The safetensors file with its header sorted: the library writes metadata in an order of chance."""
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return content[:8] + header.encode().ljust(length) + content[8 + length :]


def _stated(teacher: Teacher) -> Stated:
    options = {key: value for key, value in teacher.stated.items() if key not in {"mean", "std", "licence"}}
    mean, std = (None if (v := teacher.stated.get(key)) is None else (float(v),) * 3 for key in ("mean", "std"))
    return Stated(options, mean, std, teacher.stated.get("licence", UNKNOWN))
