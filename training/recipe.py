"""All that decides what a fit gives, from the command line or from a YAML file."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from agent.drivers import SectionError, convert
from agent.yaml_file import located, read_yaml
from training.region import Outline

_EXPONENT = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)e[-+]?[0-9]+", re.IGNORECASE)
_OF_NUMBERS = ("false_reject_rate", "mean", "std", "settings", "backbone_options")
_Path = Annotated[str, msgspec.Meta(min_length=1)]  # an empty one would be the folder that the command is given in
_Mean = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Deviation = Annotated[float, msgspec.Meta(gt=0, le=1)]
_Tiles = Annotated[int, msgspec.Meta(ge=1, le=64)]


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that decides what a fit gives.

    backbone: None is the one that comes with Kensa and suits the method. weights: a safetensors file, `random`, or None for
    the backbone's own: inside the package for `embedded`, timm's cache and hub for others. image_size: of the square input,
    px; None is the method's own. false_reject_rate: wished share of good parts rejected.
    roi: which pixels are inspected: a mask (white is inspected), a YAML file of polygons, or the polygons (training/region.py).
    tiles: columns and rows into which large photographs are cut, each of image_size px.
    settings: of the method. backbone_options: of the timm network. mean, std: of the pixels (0..1) the weights were trained
    on, where neither their file nor timm says it rightly.
    """

    method: str
    data: _Path
    out: _Path
    backbone: str | None = None
    weights: str | None = None
    image_size: Annotated[int, msgspec.Meta(ge=32, le=4096)] | None = None
    fit: Literal["stretch", "pad", "crop"] = "stretch"
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] = 0
    false_reject_rate: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.01
    roi: str | Outline | None = None
    tiles: tuple[_Tiles, _Tiles] | None = None
    settings: dict[str, Any] = {}
    backbone_options: dict[str, Any] = {}
    mean: tuple[_Mean, _Mean, _Mean] | None = None
    std: tuple[_Deviation, _Deviation, _Deviation] | None = None


def as_number(value: Any) -> Any:
    """1e-3 is a word to YAML 1.1 and a number to everyone else; so are those in lists and mappings.

    >>> as_number({"rate": "1e-3", "layers": ["2.5e3", 4, "last"]})
    {'rate': 0.001, 'layers': [2500, 4, 'last']}
    """
    if isinstance(value, dict):
        return {key: as_number(below) for key, below in value.items()}
    if isinstance(value, list):
        return [as_number(below) for below in value]
    if not isinstance(value, str) or not _EXPONENT.fullmatch(value):
        return value
    number = float(value)
    return int(number) if number.is_integer() else number


def read_recipe(file: Path) -> Recipe:
    """The recipe in a YAML file, its paths relative to it. Raises ConfigError with the line of the culprit."""
    content, lines = read_yaml(file)
    if isinstance(content, dict):
        content |= {key: as_number(content[key]) for key in _OF_NUMBERS if key in content}
    try:
        recipe: Recipe = convert(content, Recipe)
    except SectionError as e:
        raise located(e, file, lines) from e
    folder = file.resolve().parent
    weights = recipe.weights if recipe.weights in (None, "random") else str(folder / str(recipe.weights))
    roi = str(folder / recipe.roi) if isinstance(recipe.roi, str) else recipe.roi
    data, out = str(folder / recipe.data), str(folder / recipe.out)
    return msgspec.structs.replace(recipe, data=data, out=out, weights=weights, roi=roi)
