"""`kensa demo`: its options."""

import argparse
from pathlib import Path

from export.demo_line import page_trouble

MARKER = ".kensa-demo"  # in a folder that the demo may empty


def demo_command(arguments: list[str]) -> int:
    """`kensa demo`: 0 when every triggered part has one verdict and one event. Raises InputError, OutageError."""
    parser = argparse.ArgumentParser(
        prog="kensa demo",
        description="Draws parts, trains PatchCore on good ones, exports it, runs a whole line here and counts its events.",
        epilog="example: kensa demo --parts 60 --rate 5 --headless",
    )
    parser.add_argument("--parts", type=int, default=120, help="how many parts go over the belt (default 120)")
    parser.add_argument("--rate", type=float, default=5.0, help="parts per second (default 5)")
    parser.add_argument("--train", type=int, default=200, help="how many good parts are drawn to train on (default 200)")
    parser.add_argument("--headless", action="store_true", help="no live table, one line now and then")
    parser.add_argument("--page", type=int, metavar="PORT", help="also serve the line's page there, until Ctrl-C")
    parser.add_argument("--weights", metavar="FILE", help="safetensors of a timm backbone")
    parser.add_argument("--backbone", help="any timm network with features (default: embedded, or resnet18 with --weights)")
    parser.add_argument("--out", type=Path, default=Path("kensa-demo"), help="folder for all it makes (default kensa-demo)")
    parser.add_argument("--seed", type=int, default=0, help="of parts and model (default 0)")
    options = parser.parse_args(arguments)
    if options.parts < 1 or options.rate <= 0 or options.train < 4:
        parser.error("--parts must be at least 1, --rate above 0 and --train at least 4")
    if options.page is not None and (trouble := page_trouble(options.page)):
        parser.error(f"--page: {trouble}")
    if options.weights is not None and not Path(options.weights).is_file():
        parser.error(f"--weights {options.weights}: no such file")
    if options.out.exists() and not (options.out / MARKER).exists():
        parser.error(f"--out {options.out}: exists and was not made by the demo; choose another one")
    from export.demo import demo

    return demo(options)
