"""What people are told of an evaluation: the table in the terminal, and what must be said beside the figures."""

import math

from agent.calibration import parts_needed, supported_rate
from training.evaluation import Evaluation, FixedRecall, Loco, Rate

_FEW_GOOD = 100  # they cannot exclude a rate of 3 %
_FEW_DEFECTS = 10  # of a kind
_LISTED = 10

SENSITIVITY_ADVICE = (
    "More defects found: a higher sensitivity. Fewer good parts rejected: a lower one.",
    "A row chosen by these parts suits them better than others: prove it on other parts before the line relies on it.",
    "Escapes that remain: fit small defects with a larger --image-size or --tiles, others with another --method or --backbone.",
    "False rejects that remain: fit with more good parts that look so (test with others); --roi leaves out what is not the part.",
)


def remarks(evaluation: Evaluation) -> list[str]:
    """What a reader must know before believing the figures, most important first; empty when there is nothing."""
    e = evaluation
    found = []
    if e.refused:
        defects = sum(p.fault is not None and p.defect is not None for p in e.parts)
        unseen = f"; {defects} defects among them count as found, though nobody looked" if defects else ""
        counts = f"{len(e.refused)} of {len(e.parts)} pictures could not be inspected"
        found.append(f"{counts}, they count as rejected, above every score{unseen}.")
        if unknown := [f"{100 * r.false_reject_rate:g} %" for r in e.recall_at if r not in recalls(e)]:
            found.append(f"Good parts among them are more than {' and '.join(unknown)} of all: no threshold keeps to that.")
    if e.false_rejects.low > e.promise.false_reject_rate:
        found.append(
            f"More good parts are rejected than the threshold promised: at least {percent(e.false_rejects.low)} here, at most "
            f"{percent(e.promise.false_reject_rate)} promised. The test parts differ from the {e.promise.parts} it was set on."
        )
    if e.image_auroc_low <= 0.5:
        found.append(
            f"Defects are not told from good parts by more than chance would (image AUROC {percent(e.image_auroc)}, at least "
            f"{percent(e.image_auroc_low)}): fit with a larger --image-size or --tiles, another --method or --backbone."
        )
    if e.image_auroc == 1.0:  # pairs without a common part are independent, and each of the fewer side's is in order
        least = 1 - supported_rate(min(e.n_good, e.n_defect))
        found.append(
            "Every defect scores above every good part, so the bootstrap has no width; with "
            f"{e.n_good} good parts and {e.n_defect} defects an image AUROC of {percent(least)} could not be excluded "
            "(95 % confidence)."
        )
    if e.promise.false_reject_rate > e.promise.wished_rate:
        found.append(
            f"The threshold was to reject at most {percent(e.promise.wished_rate)} of the good parts; {e.promise.parts} parts "
            f"held out for it support {percent(e.promise.false_reject_rate)} only; it takes "
            f"{parts_needed(e.promise.wished_rate, e.promise.confidence)} (kensa data check says where to put them)."
        )
    if e.n_good < _FEW_GOOD:
        found.append(
            f"Only {e.n_good} good parts were tested: even without a false reject, a rate of up to "
            f"{percent(supported_rate(e.n_good))} could not be excluded (95 % confidence); it takes "
            f"{parts_needed(e.promise.wished_rate)} to exclude {percent(e.promise.wished_rate)}."
        )
    if few := [name for name, d in e.per_defect.items() if d.n < _FEW_DEFECTS]:
        found.append(f"Fewer than {_FEW_DEFECTS} parts of {', '.join(few[:_LISTED])}: their rates are hardly known.")
    if e.without_mask:
        found.append(
            f"{len(e.without_mask)} defects have no mask or an empty one; they are not in the pixel figures and not in "
            "those by size."
        )
    return found


def recalls(evaluation: Evaluation) -> list[FixedRecall]:
    """Those that a threshold can give: a good part that could not be inspected is rejected by each."""
    return [r for r in evaluation.recall_at if math.isfinite(r.highest_passing)]


def table(evaluation: Evaluation) -> str:
    """The figures for people."""
    e, at = evaluation, evaluation.confusion
    lines = [
        f"{'image AUROC':<14}{100 * e.image_auroc:6.2f}  ({100 * e.image_auroc_low:.1f} to "
        f"{100 * e.image_auroc_high:.1f}, 95 % bootstrap)",
        f"{'image AP':<14}{100 * e.average_precision:6.2f}",
        f"{'F1 max':<14}{100 * e.f1_max:6.2f}  (best threshold for this test set, an upper bound)",
        *(
            f"{name:<14}{100 * value:6.2f}"
            for name, value in (
                ("pixel AUROC", e.pixel_auroc),
                ("pixel AP", e.pixel_average_precision),
                ("AU-PRO @ 0.3", e.aupro),
            )
            if not math.isnan(value)
        ),
        *_loco_lines(e.loco),
        f"at the threshold {e.threshold:.6g} (in brackets: exact 95 % limits):",
        f"{'':<10}{'passed':>10}{'rejected':>10}",
        f"  {'good':<8}{at.good_passed:>10}{at.good_rejected:>10}  false rejects: {_as_text(e.false_rejects)}",
        f"  {'defect':<8}{at.defects_passed:>10}{at.defects_rejected:>10}  defects passed: {_as_text(e.escapes)}",
        *(f"defects found at {100 * r.false_reject_rate:g} % false rejects: {_as_text(r.found)}" for r in recalls(e)),
        f"{'defect':<28}{'parts':>6}{'AUROC':>8}{'rejected':>10}",
    ]
    lines += [
        f"  {name:<26}{d.n:>6}{100 * d.image_auroc:>8.2f}{d.rejected:>10}"
        f"  ({100 * d.rejected_low:.0f} to {100 * d.rejected_high:.0f} %)"
        for name, d in e.per_defect.items()
    ]
    if e.per_size:
        lines.append(f"{'share of the picture':<28}{'parts':>6}{'':>8}{'rejected':>10}")
        lines += [
            f"  {name:<26}{rate.n:>6}{'':>8}{rate.count:>10}  ({100 * rate.low:.0f} to {100 * rate.high:.0f} %)"
            for name, rate in e.per_size.items()
        ]
    lines += _sensitivity_lines(e)
    lines.append(f"{e.latency.median_ms:.1f} ms a picture (median of {e.latency.images}; 95 % within {e.latency.p95_ms:.1f} ms)")
    lines += [f"note: {remark}" for remark in remarks(e)]
    return "\n".join([*lines, *(f"  {reason}" for reason in e.refused[:_LISTED])])


def _loco_lines(loco: Loco | None) -> list[str]:
    if loco is None:
        return []
    lines = [f"image AUROC of {kind}: {100 * value:.2f}" for kind, value in loco.image_auroc.items()]
    return lines + [
        f"AU-sPRO @ {limit} of {kind}: {100 * value:.2f}" for limit, row in loco.auspro.items() for kind, value in row.items()
    ]


def _sensitivity_lines(e: Evaluation) -> list[str]:
    rows = [
        f"  {p.sensitivity:>11.4g}  {_as_text(p.found):<37}{_as_text(p.false_rejects):<37}{percent(p.promised):>10}"
        for p in e.working_points
    ]
    heading = f"  {'sensitivity':>11}  {'defects found':<37}{'good parts rejected':<37}promised *"
    return [
        "what `sensitivity:` in line.yaml gives (in brackets: exact 95 % limits):",
        heading,
        *rows,
        f"  * of good parts rejected, at most, by the {e.promise.parts} held out ({100 * e.promise.confidence:g} % confidence)",
        *(f"  {advice}" for advice in SENSITIVITY_ADVICE),
    ]


def _as_text(rate: Rate) -> str:
    return f"{rate.count} of {rate.n} = {100 * rate.count / max(rate.n, 1):.1f} % ({100 * rate.low:.1f} to {100 * rate.high:.1f})"


def percent(share: float) -> str:
    """One decimal, and no zero that is none.

    >>> percent(0.0194), percent(0.0), percent(0.0002)
    ('1.9 %', '0.0 %', 'below 0.1 %')
    """
    return "below 0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"
