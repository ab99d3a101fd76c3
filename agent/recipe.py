"""The section `recipes` of a line: what is different for each product; everything else is as the line has it."""

from typing import Annotated, Any

import msgspec

from agent.drivers import SectionError
from agent.gate.plan import GatePlan, NotNegative, Positive

RecipeNumber = Annotated[int, msgspec.Meta(ge=1, le=65_535)]  # a register of a PLC; there 0 is no wish
Product = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class RecipeGate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of `gate` that may differ between two products; the others belong to the machine."""

    travel_ms: Positive | None = None
    travel_counts: int | None = None
    lead_ms: NotNegative | None = None
    pulse_ms: Positive | None = None
    gap_ms: NotNegative | None = None
    window_ms: Positive | None = None


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """name: of the product, for people. bundle: model, ROI, thresholds. cameras: settings of the line's own ones that differ."""

    name: Product
    bundle: str | None = None
    sensitivity: Annotated[float, msgspec.Meta(ge=-1, lt=1)] | None = None
    gate: RecipeGate = RecipeGate()
    cameras: dict[str, dict[str, Any]] = {}


def gate_of(recipe: Recipe, plan: GatePlan) -> GatePlan:
    """The line's plan as this recipe has it. Raises SectionError."""
    differs = {name: value for name in recipe.gate.__struct_fields__ if (value := getattr(recipe.gate, name)) is not None}
    counts = differs.get("travel_counts")
    if counts is not None and (plan.travel_counts is None or counts * plan.travel_counts <= 0):
        found = "has no encoder" if plan.travel_counts is None else f"counts {'up' if plan.travel_counts > 0 else 'down'}"
        raise SectionError(f"travel_counts {counts} does not fit a line that {found}", "gate", "travel_counts")
    try:
        return GatePlan(**{name: getattr(plan, name) for name in plan.__struct_fields__} | differs)
    except ValueError as e:
        raise SectionError(str(e), "gate") from e


def cameras_of(recipe: Recipe, cameras: dict[str, Any]) -> dict[str, Any]:
    """The line's camera sections as this recipe has them. Raises SectionError."""
    for name, differs in recipe.cameras.items():
        if name not in cameras:
            raise SectionError(f"the line has no camera {name!r}, it has: {', '.join(cameras)}", "cameras", name)
        if "type" in differs:
            raise SectionError("a recipe changes settings of a camera, not its driver", "cameras", name, "type")
    return {name: {**section, **recipe.cameras.get(name, {})} for name, section in cameras.items()}
