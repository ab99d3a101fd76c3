"""Large teachers to a small student: the backbone that Kensa brings along, and how anyone makes one of their own.

The student is ResNet-18 up to stride 16. At strides 4, 8 and 16 a 1x1 adapter per stride maps its features to those of all
teachers, each channel brought to mean 0 and deviation 1; the adapters are thrown away. No labels are used.
"""

import argparse
import hashlib
import json
import math
import os
import shlex
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from torch import Tensor

    from training.crops import Source

_EPILOG = """example:
  kensa distill --teacher densenet169=densenet169.safetensors --images procedural --images photographs --out own.safetensors
  kensa fit --method patchcore --data data/tire --out runs/tire --backbone resnet18 --weights own.safetensors

A teacher is a timm network, from the hub or =FILE (safetensors), and may state what its file does not, after commas:
mobilenetv2_100=mobilenetv2.safetensors,pad_type=same,mean=0.5,std=0.5,licence=Apache-2.0. The run can be cut off at any
time: the same command with --resume goes on from the last checkpoint (OUT.checkpoint) to the same result.
"""
STUDENT, STRIDES = "resnet18", (4, 8, 16)
_RATE, _DECAY, _WARM_UP = 2e-3, 0.01, 0.1
_FARTHEST = 10.0  # deviations; a channel that is almost always silent must not rule the loss
_WHITENING_BATCHES, _WHITENING_KEY = 12, 1_000_000_000  # steps far from those of training
_TELL_STEPS = 25


class DistillError(Exception):
    """A distillation that cannot begin or go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """name: timm's. weights: a file, or None for the hub. stated: mean, std (one for all colors), licence, timm's options."""

    name: str
    weights: str | None
    stated: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that decides the student. images: folders or `procedural`, equal shares. crop: side in px."""

    teachers: tuple[Teacher, ...]
    images: tuple[str, ...]
    steps: int = 1800
    batch: int = 16
    crop: int = 128
    seed: int = 0
    licence: str = "unknown"


def distill(plan: Plan, out: Path, report: Callable[[int, float], None], resume: bool = False, checkpoint_steps: int = 50) -> str:
    """Writes the student and its card (OUT with suffix .md) and gives the file's sha256.

    report: told of the count of steps done, also of those before a resumption, and of the loss (nan before the first).
    Raises DistillError, DataError, BackboneError, WeightsError.
    """
    import torch

    from agent.bundle import sha256
    from training.crops import batch, open_source

    checkpoint = out.with_name(out.name + ".checkpoint")
    _refuse_existing(out, checkpoint, resume)
    sources = [open_source(images, plan.seed) for images in plan.images]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        lesson = _Lesson(plan, sources)
    if not checkpoint.is_file():
        lesson.whiten(batch(sources, plan.seed, _WHITENING_KEY + k, plan.batch, plan.crop) for k in range(_WHITENING_BATCHES))
    first = lesson.restore(checkpoint) if checkpoint.is_file() else 0
    report(first, math.nan)
    for step in range(first, plan.steps):
        loss = lesson.learn(batch(sources, plan.seed, step, plan.batch, plan.crop), step)
        if not math.isfinite(loss):
            raise DistillError(f"step {step + 1}: the loss is {loss}; remove {checkpoint} and begin again with another --seed")
        if (step + 1) % checkpoint_steps == 0 and step + 1 < plan.steps:
            lesson.save(checkpoint, step + 1)
        report(step + 1, loss)
    lesson.write_student(out)
    digest = sha256(out)
    _write(out.with_suffix(".md"), _card(plan, lesson, sources, out.name, digest).encode())
    checkpoint.unlink(missing_ok=True)
    return digest


class _Lesson:
    """Teachers, student, adapters and optimizer; the learning rate follows from the step."""

    def __init__(self, plan: Plan, sources: Sequence["Source"]) -> None:
        import torch
        from torch import nn

        from training.backbone import IMAGENET_MEAN, IMAGENET_STD, RANDOM, load_backbone

        self._plan = plan
        loaded = [load_backbone(t.name, t.weights, 0, _stated(t), STRIDES) for t in plan.teachers]
        self.provenances = [provenance for _, provenance in loaded]
        self._teachers = [(_channels_last(backbone), _Normalize(p.mean, p.std)) for backbone, p in loaded]
        student, _ = load_backbone(STUDENT, RANDOM, plan.seed, strides=STRIDES)
        self._student = _channels_last(student.network).requires_grad_(True).train()
        self._see = _Normalize(IMAGENET_MEAN, IMAGENET_STD)
        widths = [sum(backbone.channels[k] for backbone, _ in loaded) for k in range(len(STRIDES))]
        self._adapters = nn.ModuleList([nn.Conv2d(own, wide, 1) for own, wide in zip(student.channels, widths, strict=True)])
        self._means = [torch.zeros(1, wide, 1, 1) for wide in widths]
        self._deviations = [torch.ones(1, wide, 1, 1) for wide in widths]
        self._learned = [*self._student.parameters(), *self._adapters.parameters()]
        self._optimizer = torch.optim.AdamW(self._learned, lr=_RATE, weight_decay=_DECAY)
        described = [asdict(t) | {"weights": p.sha256} for t, p in zip(plan.teachers, self.provenances, strict=True)]
        decides = asdict(plan) | {"teachers": described, "images": [source.sha256 for source in sources]}
        self._fingerprint = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    def whiten(self, batches: Iterator[Any]) -> None:
        """Takes each teacher channel's mean and deviation over the batches."""
        import torch

        levels = [torch.cat(level) for level in zip(*(self._lecture(images) for images in batches), strict=True)]
        self._means = [level.mean(dim=(0, 2, 3), keepdim=True) for level in levels]
        self._deviations = [level.std(dim=(0, 2, 3), keepdim=True).clamp(min=1e-4) for level in levels]

    def learn(self, images: Any, step: int) -> float:
        """One step of AdamW; gives the loss: 1 is what a student that knows only the means would have."""
        import torch
        from torch.nn import functional as F

        wanted = [
            ((level - mean) / deviation).clamp(-_FARTHEST, _FARTHEST)
            for level, mean, deviation in zip(self._lecture(images), self._means, self._deviations, strict=True)
        ]
        for group in self._optimizer.param_groups:
            group["lr"] = _RATE * one_cycle(step, self._plan.steps)
        with _half_precision():
            answers = [a(x) for a, x in zip(self._adapters, self._student(self._see(images)), strict=True)]
        losses = [F.mse_loss(answer.float(), level) for answer, level in zip(answers, wanted, strict=True)]
        loss = torch.stack(losses).mean()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return float(loss.detach())

    def _lecture(self, images: Any) -> list["Tensor"]:
        """The teachers' features, concatenated per stride, as they are."""
        import torch

        with torch.no_grad(), _half_precision():
            told = [teacher(normalize(images)) for teacher, normalize in self._teachers]
        return [torch.cat([level.float() for level in levels], dim=1) for levels in zip(*told, strict=True)]

    def _state(self) -> dict[str, "Tensor"]:
        """Everything that learning changes, by name; the tensors themselves."""
        state = {f"student.{key}": value for key, value in self._student.state_dict().items()}
        state |= {f"adapters.{key}": value for key, value in self._adapters.state_dict().items()}
        for k, (mean, deviation) in enumerate(zip(self._means, self._deviations, strict=True)):
            state |= {f"mean.{k}": mean, f"deviation.{k}": deviation}
        for k, parameter in enumerate(self._learned):
            state |= {f"optimizer.{k}.{key}": value for key, value in self._optimizer.state[parameter].items()}
        return state

    def save(self, file: Path, step: int) -> None:
        """Everything needed to go on after `step` steps."""
        from safetensors.torch import save

        state = {key: value.contiguous() for key, value in self._state().items()}
        _write(file, save(state, {"step": str(step), "plan": self._fingerprint}))

    def restore(self, file: Path) -> int:
        """Goes on from a checkpoint; gives the steps done. Raises DistillError for one of another command."""
        import torch
        from safetensors import SafetensorError, safe_open
        from safetensors.torch import load_file

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
        from safetensors.torch import save

        from training.backbone import IMAGENET_MEAN, IMAGENET_STD

        state = self._student.state_dict()
        halves = {key: value.half().contiguous() for key, value in state.items() if not key.endswith("num_batches_tracked")}
        told = {"mean": json.dumps(IMAGENET_MEAN), "std": json.dumps(IMAGENET_STD), "licence": self._plan.licence}
        _write(out, _ordered(save(halves, told)))


class _Normalize:
    """(B, H, W, 3) uint8 to (B, 3, H, W) float32."""

    def __init__(self, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        import torch

        self._mean, self._std = torch.tensor(mean), torch.tensor(std)

    def __call__(self, images: Any) -> "Tensor":
        import torch

        seen = (torch.from_numpy(images).float() / 255 - self._mean) / self._std
        return seen.permute(0, 3, 1, 2)  # channels last in memory


class _Told:
    """Says now and then how far it is: mean loss of the last steps, rate, remaining time."""

    def __init__(self, steps: int) -> None:
        self._steps, self._first, self._start = steps, 0, 0.0
        self._losses: deque[float] = deque(maxlen=_TELL_STEPS)

    def __call__(self, done: int, loss: float) -> None:
        if math.isnan(loss) and not self._start:
            self._first, self._start = done, time.perf_counter()
            print(f"step {done}/{self._steps}", file=sys.stderr, flush=True)
            return
        self._losses.append(loss)
        if done % _TELL_STEPS == 0 or done == self._steps:
            rate = (done - self._first) / (time.perf_counter() - self._start)
            mean, left = statistics.fmean(self._losses), (self._steps - done) / rate / 60
            line = f"step {done}/{self._steps}  loss {mean:.4f}  {rate:.2f} steps/s  {left:.0f} min left"
            print(line, file=sys.stderr, flush=True)


def one_cycle(step: int, steps: int) -> float:
    """Share of the highest learning rate: up in a line, down in half a cosine.

    >>> [round(one_cycle(k, 100), 2) for k in (0, 9, 10, 55, 99)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    rise = max(1, round(_WARM_UP * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def _half_precision() -> Any:
    """bfloat16 where the processor computes in it."""
    import torch

    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return torch.autocast("cpu", torch.bfloat16, enabled=bool(able.get("avx512_bf16") or able.get("amx_bf16")))


def _channels_last(module: Any) -> Any:
    import torch

    return module.to(memory_format=torch.channels_last)


def _stated(teacher: Teacher) -> Any:
    from training.backbone import UNKNOWN, Stated

    options = {key: value for key, value in teacher.stated.items() if key not in {"mean", "std", "licence"}}
    mean, std = (None if (v := teacher.stated.get(key)) is None else (float(v),) * 3 for key in ("mean", "std"))
    return Stated(options, mean, std, teacher.stated.get("licence", UNKNOWN))


def _refuse_existing(out: Path, checkpoint: Path, resume: bool) -> None:
    if out.exists():
        raise DistillError(f"{out}: exists already; choose another --out")
    if checkpoint.exists() and not resume:
        raise DistillError(f"{checkpoint}: a distillation that was cut off; go on with --resume, or remove it to begin again")
    if out.suffix != ".safetensors" or not out.resolve().parent.is_dir():
        raise DistillError(f"{out}: expected a file name that ends in .safetensors, in a folder that exists")


def _ordered(content: bytes) -> bytes:
    """The safetensors file with its header sorted: the library writes metadata in an order of chance."""
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return content[:8] + header.encode().ljust(length) + content[8 + length :]


def _write(file: Path, content: bytes) -> None:
    """Whole or not at all."""
    part = file.with_name(f".{file.name}.part")
    try:
        with part.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
    except OSError as e:
        raise DistillError(f"{file}: cannot be written: {e.strerror or e}") from e
    finally:
        part.unlink(missing_ok=True)


def _card(plan: Plan, lesson: _Lesson, sources: Sequence["Source"], name: str, digest: str) -> str:
    """What stands beside the file, for people. No path of this machine is in it."""
    import torch

    teachers = [
        f"| teacher | {t.name}, licence: {p.licence} ({p.source}) |"
        for t, p in zip(plan.teachers, lesson.provenances, strict=True)
    ]
    images = [f"| images | {source.name} (sha256 {source.sha256}) |" for source in sources]
    rows = [
        f"| network | timm {STUDENT}, features of stride {', '.join(map(str, STRIDES))}; ImageNet mean and std |",
        f"| sha256 | {digest} |",
        f"| licence | {plan.licence} |",
        *teachers,
        *images,
        f"| steps | {plan.steps} of {plan.batch} crops of {plan.crop} px, seed {plan.seed} |",
        f"| made with | torch {torch.__version__}, {torch.get_num_threads()} thread(s) |",
        f"| command | `{_command(plan, name)}` |",
    ]
    return f"# {name}\n\n| what | |\n|---|---|\n" + "\n".join(rows) + "\n"


def _command(plan: Plan, name: str) -> str:
    words = ["kensa", "distill"]
    for t in plan.teachers:
        file = f"={Path(t.weights).name}" if t.weights else ""
        words += ["--teacher", t.name + file + "".join(f",{key}={value}" for key, value in t.stated.items())]
    for images in plan.images:
        words += ["--images", Path(images).name]
    numbers = {"steps": plan.steps, "batch": plan.batch, "crop": plan.crop, "seed": plan.seed}
    words += [word for key, value in numbers.items() for word in (f"--{key}", str(value))]
    return shlex.join([*words, "--licence", plan.licence, "--out", name])


def distill_command(arguments: list[str]) -> int:
    """`kensa distill`: 0 done, 2 a mistake that the message names, 130 interrupted."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        plan = Plan(
            tuple(map(_teacher, options.teacher)),
            tuple(options.images),
            options.steps,
            options.batch,
            options.crop,
            options.seed,
            options.licence,
        )
        print(f"written: {options.out}, sha256 {distill(plan, options.out, _Told(plan.steps), options.resume)}")
    except KeyboardInterrupt:
        print("kensa distill: interrupted; --resume goes on from the last checkpoint", file=sys.stderr)
        return 130
    except _expected_errors() as e:
        print(f"kensa distill: {e}", file=sys.stderr)
        return 2
    return 0


def _teacher(text: str) -> Teacher:
    """
    >>> _teacher("densenet169=a/b.safetensors,mean=0.5")
    Teacher(name='densenet169', weights='a/b.safetensors', stated={'mean': 0.5})
    """
    what, *stated = text.split(",")
    name, _, weights = what.partition("=")
    pairs = [pair.partition("=") for pair in stated]
    if not name or not all(key and equals for key, equals, _ in pairs):
        raise DistillError(f"--teacher {text}: expected NAME[=FILE][,KEY=VALUE...]")
    return Teacher(name, weights or None, {key: yaml.safe_load(value) for key, _, value in pairs})


def _expected_errors() -> tuple[type[Exception], ...]:
    """Mistakes that a message explains; known only once torch is loaded."""
    from training.backbone import BackboneError, WeightsError
    from training.data import DataError

    return (DistillError, BackboneError, WeightsError, DataError)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kensa distill",
        description="Makes a small backbone from large ones.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--teacher", action="append", required=True, metavar="NAME[=FILE]", help="may be repeated")
    parser.add_argument("--images", action="append", required=True, metavar="DIR", help="or `procedural`; may be repeated")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.safetensors", help="the student, float16")
    parser.add_argument("--steps", type=_at_least(1), default=1800, help="default 1800")
    parser.add_argument("--batch", type=_at_least(1), default=16, help="crops per step (default 16)")
    parser.add_argument("--crop", type=_crop_px, default=128, metavar="PX", help="side of a crop (default 128)")
    parser.add_argument("--seed", type=_at_least(0), default=0, help="of all chance (default 0)")
    parser.add_argument("--licence", default="unknown", help="of the student, kept in its file (default unknown)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint, where there is one")
    return parser


def _at_least(least: int) -> Callable[[str], int]:
    def integer(text: str) -> int:
        if (number := int(text)) < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}")
        return number

    return integer


def _crop_px(text: str) -> int:
    if (number := int(text)) < 32 or number % 16:
        raise argparse.ArgumentTypeError("must be a multiple of 16, at least 32")
    return number
