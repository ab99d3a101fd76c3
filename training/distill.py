"""Large teachers to a small student: the backbones that Kensa brings along, and how anyone makes one of their own.

What each kind of student learns stands in `*_lesson.py`, the loop in training/descend.py; here are the card beside the file and
the command. No labels are used.
"""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from training.plan import PYRAMID, STUDENTS, DistillError, Plan, Teacher
from training.progress import progress_on
from training.stopping import sigterm_as_ctrl_c

if TYPE_CHECKING:
    from training.crops import Source
    from training.lesson import Lesson
    from training.progress import Progress

_EPILOG = """example:
  kensa distill --teacher densenet169=densenet169.safetensors --images procedural --images photographs --out own.safetensors
  kensa fit --method patchcore --data data/tire --out runs/tire --backbone resnet18 --weights own.safetensors

A teacher is a timm network, from the hub or =FILE (safetensors), and may state what its file does not, after commas:
mobilenetv2_100=mobilenetv2.safetensors,pad_type=same,mean=0.5,std=0.5,licence=Apache-2.0. The run can be cut off at any
time: the same command with --resume goes on from the last checkpoint (OUT.checkpoint) to the same result.
"""


def distill(plan: Plan, out: Path, progress: "Progress", resume: bool = False) -> str:
    """Writes the student and its card (OUT with suffix .md), gives the file's sha256. Until then its state is in OUT.checkpoint.

    Raises DistillError, DescentError, DataError, BackboneError, WeightsError.
    """
    import torch

    from agent.bundle import sha256
    from training.checkpoints import checkpoints_of
    from training.crops import open_source
    from training.descend import descend
    from training.lesson import write
    from training.processes import best_device

    _refuse(out, resume)
    sources = [open_source(images, plan.seed, progress) for images in plan.images]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        lesson = _lesson(plan, sources)
    with checkpoints_of(out, lesson.decides, resume) as checkpoints:
        lesson.to(best_device())
        course = lesson.course()
        if not (checkpoints / f"{course.stage}.safetensors").is_file():
            lesson.begin()
        descend(course, progress, checkpoints)
        lesson.to(torch.device("cpu"))
        lesson.write_student(out)
        digest = sha256(out)
        write(out.with_suffix(".md"), _card(plan, lesson, sources, out.name, digest).encode())
    return digest


def _lesson(plan: Plan, sources: Sequence["Source"]) -> "Lesson":
    from training.pdn_lesson import PdnLesson
    from training.pyramid_lesson import PyramidLesson

    return (PyramidLesson if plan.student == PYRAMID else PdnLesson)(plan, sources)


def _refuse(out: Path, resume: bool) -> None:
    # cut off between the student and its card: the checkpoint, if it is of this plan, gives the same bytes once more
    unfinished = resume and any(out.with_name(f"{out.name}.checkpoint").glob("*.safetensors"))
    if out.exists() and not unfinished:
        raise DistillError(f"{out}: exists already; choose another --out")
    if out.suffix != ".safetensors" or not out.resolve().parent.is_dir():
        raise DistillError(f"{out}: expected a file name that ends in .safetensors, in a folder that exists")


def _card(plan: Plan, lesson: "Lesson", sources: Sequence["Source"], name: str, digest: str) -> str:
    """What stands beside the file, for people. No path of this machine is in it."""
    import torch

    teachers = [
        f"| teacher | {t.name}, licence: {p.licence} ({p.source}) |"
        for t, p in zip(plan.teachers, lesson.provenances, strict=True)
    ]
    images = [f"| images | {source.name} (sha256 {source.sha256}) |" for source in sources]
    rows = [
        f"| network | {lesson.network}; ImageNet mean and std |",
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
    words = ["kensa", "distill", "--student", plan.student]
    for t in plan.teachers:
        file = f"={Path(t.weights).name}" if t.weights else ""
        words += ["--teacher", t.name + file + "".join(f",{key}={value}" for key, value in t.stated.items())]
    for images in plan.images:
        words += ["--images", Path(images).name]
    numbers = {"steps": plan.steps, "batch": plan.batch, "crop": plan.crop, "seed": plan.seed}
    words += [word for key, value in numbers.items() for word in (f"--{key}", str(value))]
    return shlex.join([*words, "--licence", plan.licence, "--out", name])


def distill_command(arguments: list[str]) -> int:
    """`kensa distill`: 0 done, 130 interrupted. Raises InputError."""
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
            options.student,
        )
        with sigterm_as_ctrl_c():
            digest = distill(plan, options.out, progress_on(sys.stderr), options.resume)
        print(f"written: {options.out}, sha256 {digest}")
    except KeyboardInterrupt:
        print("kensa distill: interrupted; --resume goes on from the last checkpoint", file=sys.stderr)
        return 130
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
    try:
        said = {key: yaml.safe_load(value) for key, _, value in pairs}
        numbers = [float(said[key]) for key in ("mean", "std") if key in said]
    except (yaml.YAMLError, TypeError, ValueError) as e:
        raise DistillError(f"--teacher {text}: {' '.join(str(e).split())}") from e
    if not all(0 <= number <= 1 for number in numbers):
        raise DistillError(f"--teacher {text}: mean and std are of pixels from 0 to 1, expected numbers between")
    return Teacher(name, weights or None, said)


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
    parser.add_argument("--student", choices=STUDENTS, default=PYRAMID, help="ResNet-18 (default), or EfficientAD's PDN-S or M")
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
