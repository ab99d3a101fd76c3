"""`kensa distill`: its options."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

from training.plan import PYRAMID, STUDENTS, DistillError, Plan, Teacher
from training.progress import progress_on
from training.stopping import sigterm_as_ctrl_c

_EPILOG = """example:
  kensa distill --teacher densenet169=densenet169.safetensors --images procedural --images photographs --out own.safetensors
  kensa fit --method patchcore --data data/tire --out runs/tire --backbone resnet18 --weights own.safetensors

A teacher is a timm network, from the hub or =FILE (safetensors), and may state what its file does not, after commas:
mobilenetv2_100=mobilenetv2.safetensors,pad_type=same,mean=0.5,std=0.5,licence=Apache-2.0. The run can be cut off at any
time: the same command with --resume goes on from the last checkpoint (OUT.checkpoint) to the same result.
"""


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
        from training.distill import distill

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
