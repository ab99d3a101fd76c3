"""`kensa fit`: its options, or a recipe's file, and what it tells."""

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from agent.calibration import explain, parts_needed
from agent.drivers import ConfigError, SectionError, convert
from agent.yaml_file import located, read_yaml
from training.recipe import Recipe, as_number, read_recipe
from training.stopping import sigterm_as_ctrl_c

_EPILOG = """example:
  kensa fit --method patchcore --data data/tire --out runs/tire
  kensa fit --method patchcore --data data/tire --out runs/tire --backbone resnet18 --weights resnet18.safetensors --set bank=4000
  kensa fit recipe.yaml

DATA has train/good/ (MVTec layout, validation/good/ is used where there is one) or is a plain folder of good
photographs. test/ is never used. A recipe is a YAML file with the same words: method, data, out, image_size, ...
"""


def fit_command(arguments: list[str]) -> int:
    """`kensa fit`: 0 done, 130 interrupted. Raises InputError, OutageError."""
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    recipe_file, overwrite, resume = (options.pop(key) for key in ("recipe", "overwrite", "resume"))
    given = {key: value for key, value in options.items() if value is not None}
    if recipe_file is not None and given:
        parser.error(f"a recipe says everything itself; put {', '.join(given)} into {recipe_file}")
    if recipe_file is None and (missing := [f"--{key}" for key in ("method", "data", "out") if key not in given]):
        parser.error(f"expected a recipe, or --method, --data and --out; without {', '.join(missing)}")
    try:
        with sigterm_as_ctrl_c():
            if recipe_file is None:
                _fit_options(given, overwrite, resume)
            else:
                _fit_file(recipe_file, overwrite, resume)
    except KeyboardInterrupt:
        print("kensa fit: interrupted, no RUN was written; --resume goes on from the last checkpoint, if any", file=sys.stderr)
        return 130
    return 0


def _fit_options(given: dict[str, Any], overwrite: bool, resume: bool) -> None:
    try:
        settings = dict(_setting(text, "set") for text in given.pop("set", ()))
        options = dict(_setting(text, "set-backbone") for text in given.pop("set_backbone", ()))
        _fit_and_tell(convert({**given, "settings": settings, "backbone_options": options}, Recipe), overwrite, resume)
    except SectionError as e:
        said = {**given, "settings": settings, "backbone_options": options}
        raise ConfigError(f"{_as_typed(e.path or ('method',), said)}: {e}") from e


def _as_typed(path: Sequence[str | int], said: dict[str, Any]) -> str:
    """The option that a mistake is in, with what was given.

    >>> _as_typed(["tiles", "1"], {"tiles": [3, -1]}), _as_typed(["settings", "bank"], {"settings": {"bank": "many"}})
    ('--tiles 3 -1', '--set bank=many')
    """
    first, *rest = map(str, path)
    value = said.get(first)
    if isinstance(value, dict):
        option = {"settings": "set", "backbone_options": "set-backbone"}[first]
        return f"--{option} {rest[0]}={value[rest[0]]}" if rest and rest[0] in value else f"--{option}"
    words = value if isinstance(value, list) else [] if value is None else [value]
    return " ".join(map(str, [f"--{first.replace('_', '-')}", *words]))


def _fit_file(file: Path, overwrite: bool, resume: bool) -> None:
    recipe = read_recipe(file)
    try:
        _fit_and_tell(recipe, overwrite, resume)
    except SectionError as e:
        raise located(e, file, read_yaml(file)[1]) from e


def _fit_and_tell(recipe: Recipe, overwrite: bool, resume: bool) -> None:
    from training.data import way_to_hold_out
    from training.fit import fit
    from training.layouts import layout_of
    from training.processes import is_first, joined
    from training.progress import Lines, progress_on
    from training.run import method_config

    with joined():
        if not is_first():
            fit(recipe, Lines(io.StringIO()), overwrite, resume)
            return
        if notice := getattr(method_config(recipe.method, recipe.settings), "notice", ""):
            print(notice, file=sys.stderr)
        record = fit(recipe, progress_on(sys.stderr), overwrite, resume)
        roles = [file.role for file in record.files]
        print(f"{roles.count('train')} parts to learn from, {roles.count('calibration')} held out for the threshold")
        if record.left_out:
            print(f"{len(record.left_out)} left out, equal to another photograph: {', '.join(record.left_out[:5])}")
        print(explain(record.calibration))
        table = record.calibration
        if table.false_reject_rate > table.wished_rate:
            by_hand = sum(file.role == "calibration" and Path(file.path).parts[0] == "validation" for file in record.files)
            needed, place = parts_needed(table.wished_rate, table.confidence), layout_of(Path(recipe.data)).held_out_in
            way = way_to_hold_out(needed, by_hand, len(record.files), place)
            print(f"to have them, {way}, then fit again")
        print(f"written: {recipe.out}")


def _setting(text: str, option: str) -> tuple[str, Any]:
    """`bank=4000` as a key and a YAML scalar.

    >>> _setting("bank=4000", "set"), _setting("rate=1e-3", "set")
    (('bank', 4000), ('rate', 0.001))
    """
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ConfigError(f"--{option} {text}: expected key=value, such as --{option} bank=4000")
    try:
        return key, as_number(yaml.safe_load(value))
    except yaml.YAMLError as e:
        raise ConfigError(f"--{option} {text}: {value!r} is not a YAML value") from e


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kensa fit",
        description="Learns what good parts look like and writes a RUN.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = {field.name: field.default for field in msgspec.structs.fields(Recipe)}
    parser.add_argument("recipe", nargs="?", type=Path, help="a YAML file that says all of the following")
    parser.add_argument("--method", help="patchcore, stfpm, fastflow, efficientad or ast")
    parser.add_argument("--data", metavar="DIR", help="photographs of good parts")
    parser.add_argument("--out", metavar="RUN", help="folder to write")
    parser.add_argument(
        "--backbone", help="embedded, pdn-s, pdn-m, or any timm network with features (default: one that comes along)"
    )
    parser.add_argument("--weights", metavar="FILE", help="of a timm network: safetensors, or `random`; else its cache, then hub")
    parser.add_argument("--image-size", type=int, metavar="PX", help="network input (default: the method's)")
    parser.add_argument("--fit", choices=("stretch", "pad", "crop"), help=f"into it (default {default['fit']})")
    parser.add_argument("--roi", metavar="FILE", help="what is inspected: a mask (white is), or YAML with polygons")
    parser.add_argument("--tiles", nargs=2, type=int, metavar=("COLUMNS", "ROWS"), help="cut large photographs, small defects")
    parser.add_argument("--seed", type=int, help=f"of all chance (default {default['seed']})")
    parser.add_argument("--false-reject-rate", type=float, metavar="R", help="wished (default 0.01)")
    parser.add_argument("--set", action="append", metavar="KEY=VALUE", help="a setting of the method")
    parser.add_argument("--set-backbone", action="append", metavar="KEY=VALUE", help="an option of the timm network")
    for name in ("mean", "std"):
        meaning = "of the weights' pixels (0..1), where their file does not say it"
        parser.add_argument(f"--{name}", nargs=3, type=float, metavar=("R", "G", "B"), help=meaning)
    parser.add_argument("--overwrite", action="store_true", help="replace the RUN that is there")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoints of a fit that was cut off")
    return parser
