"""Large teachers to a small student: the backbones that Kensa brings along, and how anyone makes one of their own.

What each kind of student learns stands in `*_lesson.py`, the loop in training/descend.py; here is the card beside the file. No
labels are used.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

import torch

from agent.bundle import sha256
from training.checkpoints import checkpoints_of
from training.crops import Source, open_source
from training.descend import descend
from training.lesson import Lesson, write
from training.pdn_lesson import PdnLesson
from training.plan import PYRAMID, DistillError, Plan
from training.processes import best_device
from training.progress import Progress
from training.pyramid_lesson import PyramidLesson


def distill(plan: Plan, out: Path, progress: Progress, resume: bool = False) -> str:
    """Writes the student and its card (OUT with suffix .md), gives the file's sha256. Until then its state is in OUT.checkpoint.

    Raises DistillError, DescentError, DataError, BackboneError, WeightsError.
    """
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


def _lesson(plan: Plan, sources: Sequence[Source]) -> Lesson:
    return (PyramidLesson if plan.student == PYRAMID else PdnLesson)(plan, sources)


def _refuse(out: Path, resume: bool) -> None:
    # cut off between the student and its card: the checkpoint, if it is of this plan, gives the same bytes once more
    unfinished = resume and any(out.with_name(f"{out.name}.checkpoint").glob("*.safetensors"))
    if out.exists() and not unfinished:
        raise DistillError(f"{out}: exists already; choose another --out")
    if out.suffix != ".safetensors" or not out.resolve().parent.is_dir():
        raise DistillError(f"{out}: expected a file name that ends in .safetensors, in a folder that exists")


def _card(plan: Plan, lesson: Lesson, sources: Sequence[Source], name: str, digest: str) -> str:
    """What stands beside the file, for people. No path of this machine is in it."""
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
