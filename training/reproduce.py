"""Every method on every category of a public data set, beside what others have published of it."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import yaml

from agent.drivers import ConfigError, SectionError, convert, names
from agent.error import InputError, OutageError
from training.data import DataError, unseen_parts
from training.evaluate import evaluate, open_trained, origin_of, refuse_seen
from training.evaluation import write_file, write_json
from training.layouts import layout_of
from training.progress import Progress, progress_on
from training.recipe import Recipe
from training.stopping import sigterm_as_ctrl_c

PUBLISHED = Path(__file__).with_name("published.yaml")

_EPILOG = """example:
  kensa reproduce --data data/mvtec_ad --out runs/reproduced
  kensa reproduce --data data/mvtec_ad --methods patchcore stfpm --categories bottle cable --image-size 256

DATA holds one folder for each category. OUT/METHOD/CATEGORY is a RUN, CATEGORY.json beside it its evaluation;
OUT/table.md and OUT/table.json are rewritten after each. The same command goes on where it was stopped.
"""

_OURS = "Kensa"
_METRICS = ("image_auroc", "pixel_auroc", "aupro")


class Published(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one source says. figures: percent, by category (or `mean`) and metric; what is unknown is not there."""

    data: str
    method: str
    configuration: str
    source: str
    figures: dict[str, dict[str, float]]
    note: str = ""


class Table(msgspec.Struct, frozen=True):
    """Ours first, then the others, by method; failures by cell, `method/category`."""

    columns: tuple[str, ...]
    rows: tuple[Published, ...]
    failures: dict[str, str]


def published() -> tuple[Published, ...]:
    """All that is known of the five methods."""
    content: tuple[Published, ...] = convert(yaml.safe_load(PUBLISHED.read_text()), tuple[Published, ...])
    return content


def reproduce(data: Path, out: Path, methods: Sequence[str], categories: Sequence[str], shared: dict[str, Any]) -> Table:
    """Fits and measures what is not there yet. shared: fields of a Recipe, equal for all.

    A cell that fails is told in the table and the others go on. Raises DataError where `out` was made with other options.
    """
    _same_options(out, {"data": str(data.resolve()), **shared})
    progress = progress_on(sys.stderr)
    layouts = {layout_of(data / category).name for category in categories}
    figures: dict[str, dict[str, dict[str, float]]] = {method: {} for method in methods}
    failures: dict[str, str] = {}
    table = _table(layouts, categories, figures, failures)
    for method in methods:
        for category in categories:
            print(f"{method} on {category}", file=sys.stderr)
            try:
                figures[method][category] = _cell(data / category, out / method / category, method, shared, progress)
            except (InputError, OutageError) as e:
                failures[f"{method}/{category}"] = str(e)
                print(f"{method} on {category} failed: {e}", file=sys.stderr)
            table = _table(layouts, categories, figures, failures)
            write_file(out / "table.json", msgspec.json.format(msgspec.json.encode(table), indent=1) + b"\n")
            write_file(out / "table.md", markdown(table).encode())
    return table


def _same_options(out: Path, options: dict[str, Any]) -> None:
    """One table must not mix figures of different settings."""
    file, wanted = out / "options.json", msgspec.json.encode(options, order="sorted")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise DataError(f"{out}: cannot be written: {e.strerror or e}; choose another --out") from e
    if file.is_file() and file.read_bytes() != wanted:
        raise DataError(f"{file}: made with other options, {file.read_text()}; choose another --out or the same options")
    write_file(file, wanted)


def _cell(data: Path, run: Path, method: str, shared: dict[str, Any], progress: Progress) -> dict[str, float]:
    """The figures of one method on one category, percent; only what is not there yet is computed.

    Of raw scores: no picture is refused as unlike the usual ones, published protocols know nothing of that. Nor of one that the
    network cannot take: raises DataError.
    """
    figures_file = run.with_name(f"{run.name}.json")
    if not figures_file.is_file():
        if not run.exists():
            from training.fit import fit  # brings torch

            fit(convert({**shared, "method": method, "data": str(data), "out": str(run)}, Recipe), progress, resume=True)
        with ExitStack() as stack:
            trained = open_trained(run, None, stack)
            photographs = unseen_parts(data)
            refuse_seen(photographs, trained.seen)
            found = evaluate(trained.model, photographs, progress)
            if found.refused:
                n = f"{len(found.refused)} of {len(found.parts)}"
                raise DataError(f"{data}: {n} test pictures could not be inspected, such as {found.refused[0]}")
            origin = origin_of(trained, run, data, photographs)
            write_json(figures_file, msgspec.structs.replace(found, origin=origin))
    try:
        found_figures = msgspec.json.decode(figures_file.read_bytes())
        measured = {metric: found_figures[metric] for metric in _METRICS}
        if found_figures["loco"] and "mean" in found_figures["loco"]["image_auroc"]:
            measured["image_auroc"] = found_figures["loco"]["image_auroc"]["mean"]  # MVTec LOCO's own convention
        if refused := found_figures["refused"]:  # by an earlier version
            raise DataError(f"{figures_file}: of pictures that could not be inspected, such as {refused[0]}; remove it")
    except (msgspec.DecodeError, KeyError, TypeError) as e:
        raise DataError(f"{figures_file}: no evaluation of this version ({e}); remove it, it will be made again") from e
    return {metric: 100 * value for metric, value in measured.items() if value is not None}


def _table(
    layouts: set[str], categories: Sequence[str], figures: dict[str, dict[str, dict[str, float]]], failures: dict[str, str]
) -> Table:
    rows = []
    for method, by_category in figures.items():
        ours = dict(by_category)
        if len(ours) == len(categories):
            ours["mean"] = _mean(list(by_category.values()))
        rows.append(Published("/".join(sorted(layouts)), method, "measured here", _OURS, ours))
        rows += [p for p in published() if p.method == method and p.data in layouts]
    return Table((*categories, "mean"), tuple(rows), failures)


def _mean(cells: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of the metrics that every cell has."""
    return {m: sum(c[m] for c in cells) / len(cells) for m in _METRICS if all(m in c for c in cells)}


def markdown(table: Table) -> str:
    """For people: one line per method and source; image AUROC / pixel AUROC / AU-PRO, percent, `-` where unknown."""
    head = ["method", "configuration", "source", *table.columns]
    lines = [
        "Image AUROC / pixel AUROC / AU-PRO (false positive rate up to 0.3), percent; - is unknown. A published mean is over",
        "all categories of its data set, ours over those of this table, and only where none failed.",
        "",
        f"| {' | '.join(head)} |",
        "|" + "---|" * len(head),
    ]
    for row in table.rows:
        cells = [_figures(row.figures.get(column, {})) for column in table.columns]
        source = row.source + (f" ({row.note})" if row.note else "")
        lines.append(f"| {' | '.join([row.method, row.configuration, source, *cells])} |")
    failed = [f"- {cell}: {' '.join(reason.split())}" for cell, reason in table.failures.items()]
    return "\n".join([*lines, *(["", "Failed:", "", *failed] if failed else [])]) + "\n"


def _figures(cell: dict[str, float]) -> str:
    """
    >>> _figures({"image_auroc": 99.04, "aupro": 93.3}), _figures({})
    ('99.0 / - / 93.3', '-')
    """
    return " / ".join(f"{cell[m]:.1f}" if m in cell else "-" for m in _METRICS) if any(m in cell for m in _METRICS) else "-"


def reproduce_command(arguments: list[str]) -> int:
    """`kensa reproduce`: 0 done, 1 some cells failed, 130 interrupted. Raises InputError."""
    options = vars(_parser().parse_args(arguments))
    data, out, methods, categories = (options.pop(key) for key in ("data", "out", "methods", "categories"))
    shared = {key: value for key, value in options.items() if value is not None}
    from training.run import method_config

    try:
        for method in methods:
            method_config(method, {})
        convert({**shared, "method": "-", "data": "-", "out": "-"}, Recipe)
        with sigterm_as_ctrl_c():
            table = reproduce(data, out, methods, categories or _categories(data), shared)
    except KeyboardInterrupt:
        print("kensa reproduce: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except SectionError as e:
        where = str(e.path[0]) if e.path else "method"
        raise ConfigError(f"--{where.replace('_', '-').replace('method', 'methods')}: {e}") from e
    print(markdown(table))
    print(f"written: {out / 'table.md'}, {out / 'table.json'}")
    return 1 if table.failures else 0


def _categories(data: Path) -> list[str]:
    """Every category in `data`. Raises DataError where there is none."""
    found = sorted(p.name for p in data.glob("*") if (p / "train").is_dir() or (p / "Data" / "Images").is_dir())
    if not found:
        raise DataError(f"{data}: no categories; expected folders such as bottle/ with train/good/ and test/ in them")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kensa reproduce",
        description="Fits and measures each method on each category, and writes one table beside published figures.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    methods = sorted(names("training.methods"))
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the data set, a folder for each category")
    parser.add_argument("--out", type=Path, default=Path("reproduced"), metavar="DIR", help="default reproduced")
    parser.add_argument("--methods", nargs="+", default=methods, metavar="M", help=f"default {' '.join(methods)}")
    parser.add_argument("--categories", nargs="+", metavar="C", help="default: all in DATA")
    parser.add_argument("--backbone", help="as for kensa fit, for all methods")
    parser.add_argument("--weights", metavar="FILE", help="as for kensa fit")
    parser.add_argument("--image-size", type=int, metavar="PX", help="network input (default: each method's)")
    parser.add_argument("--seed", type=int, help="of all chance (default 0)")
    return parser
