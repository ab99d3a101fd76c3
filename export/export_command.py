"""`kensa export`: its options, and what it tells of the bundle."""

import argparse
import logging
import math
import re
import sys
import textwrap
from pathlib import Path

from agent.bundle import BundleError, GateRecord, Manifest
from agent.calibration import explain
from training.progress import progress_on

PRECISIONS = ("f16", "bf16", "int8")  # that may be tried beside float32


def export_command(arguments: list[str]) -> int:
    """`kensa export`. Raises InputError, OutageError."""
    parser = argparse.ArgumentParser(
        prog="kensa export",
        description="Makes the bundle that a device runs: ONNX and OpenVINO artefacts, each compared with the trained model "
        "and calibrated on its own. No bundle is written when one deviates.",
        epilog="example: kensa export runs/cap --out bundles/cap",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a folder written by kensa fit")
    parser.add_argument("--out", type=Path, required=True, metavar="BUNDLE", help="the folder to write; must not exist")
    parser.add_argument(
        "--also",
        nargs="+",
        choices=PRECISIONS,
        default=(),
        metavar="PRECISION",
        help=f"lower precisions to try: {', '.join(PRECISIONS)}; each is shipped only if it passes the gate (minutes each)",
    )
    parser.add_argument(
        "--within-ms",
        type=_milliseconds,
        metavar="MS",
        help="patchcore: the largest memory bank whose float32 OpenVINO graph takes at most so long on this machine",
    )
    parser.add_argument("--name", help="what operators will read; the folder's name without it")
    options = parser.parse_args(arguments)
    from export.pack import export
    from training.run import open_run

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("export").setLevel(logging.INFO)
    try:
        if options.out.exists():
            raise BundleError(f"{options.out}: exists already; choose another --out or remove it")
        name, progress = options.name or options.out.name, progress_on(sys.stderr)
        manifest = export(open_run(options.run), options.out, name, options.also, options.within_ms, progress)
    except OSError as e:
        raise BundleError(f"{options.out}: cannot be written: {e.strerror or e}") from e
    print(describe(manifest))
    if warning := licence_warning(manifest.provenance.weights_licence):
        print(f"kensa export: {warning}", file=sys.stderr)
    return 0


def _milliseconds(text: str) -> float:
    if not 0 < (number := float(text)) < math.inf:
        raise argparse.ArgumentTypeError("must be a finite number above 0")
    return number


def describe(manifest: Manifest) -> str:
    """The bundle in a few lines."""
    rows = [
        f"  {a.name:14s} {a.parity.executed_precision:5s} deviates from torch by {a.parity.score_deviation:.1e} of the way to "
        f"the threshold in score, {a.parity.map_deviation:.1e} of its range in map, over {a.parity.images} images\n"
        + textwrap.indent(explain(a.calibration), "    ")
        for a in manifest.artifacts
    ]
    gated: list[tuple[str, str, GateRecord | None]]
    gated = [(a.name, "shipped", a.gate) for a in manifest.artifacts if a.gate is not None]
    gated += [(w.name, f"withheld: {w.reason}", w.gate) for w in manifest.withheld]
    return "\n".join([f"bundle {manifest.bundle_id[:12]} {manifest.name}", *rows, *(_gate_table(gated) if gated else ())])


def _gate_table(gated: list[tuple[str, str, GateRecord | None]]) -> list[str]:
    """Each artefact of lower precision against float32, and what became of it."""
    rows = ["  against float32   rank corr.  worst shift  flips  AU-PRO  in low precision  time"]
    for name, fate, g in gated:
        if g is not None:
            rows.append(
                f"  {name:16s}  {g.spearman:10.4f}  {100 * g.worst_shift:9.2f} %  {g.flips:5d}  {g.aupro_change:+6.2f}  "
                f"{100 * g.low_macs:14.0f} %  {g.time_ratio:4.2f} x"
            )
        rows.append(f"    {name}: {fate}")
        if g is not None and g.bf16_layers:
            rows.append(f"    in bfloat16 instead: {', '.join(g.bf16_layers)}")
        if g is not None and g.float_layers:
            rows.append(f"    left in float: {', '.join(g.float_layers)}")
    return rows


def licence_warning(licence: str) -> str:
    """What to think of before a bundle earns money; empty where the backbone's licence allows it.

    >>> licence_warning("Apache-2.0")
    ''
    """
    if re.search(r"non-?commercial|\bNC\b|research", licence, re.IGNORECASE):
        return f"WARNING: the backbone's weights are {licence!r}: not for production; fit again with another --backbone"
    if licence == "unknown":
        return "the licence of the backbone's weights is not stated: make sure that it allows your use (see --backbone)"
    return ""
