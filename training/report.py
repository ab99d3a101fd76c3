"""The evaluation as one HTML page that needs nothing else: to read in a browser, to print on A4, to file with the papers."""

from collections.abc import Sequence
from html import escape
from pathlib import PurePath

from training.chart import curve, histogram, whisker
from training.evaluation import Evaluation, Origin, Rate, rate_of
from training.findings import SENSITIVITY_ADVICE, percent, recalls, remarks
from training.picture import Pictures, escaped, galleries, name_of
from training.report_style import STYLE

LARGEST_PAGE_BYTES = 4_000_000  # MOST_PICTURES parts with two pictures each, should they be nothing but noise
_LISTED = 10  # reasons and file names; the JSON has all
_WORDS = """<dl>
<dt>Good part, defect</dt><dd>What people said of the part before the test. The model has learned from good parts only.</dd>
<dt>Score, threshold</dt><dd>How strange a picture is to the model. A part whose score reaches the threshold is rejected.</dd>
<dt>False reject</dt><dd>A good part that was rejected.</dd>
<dt>Escape</dt><dd>A defect that passed.</dd>
<dt>Exact limits</dt><dd>The true rate lies between them with 95 % confidence (Clopper-Pearson), for parts like those tested.
More test parts bring them closer together. They know nothing of parts, light or cameras that were not tested.</dd>
<dt>AUROC</dt><dd>The chance that a defect scores higher than a good part: 50 % is guessing, 100 % is perfect order. It does not
depend on the threshold.</dd>
<dt>AU-PRO</dt><dd>How much of each drawn defect the heat map covers, averaged while up to 30 % of the good pixels are marked
too.</dd>
</dl>"""


def page(evaluation: Evaluation, origin: Origin, shown: Pictures) -> str:
    """The whole page; at most LARGEST_PAGE_BYTES. Every text that comes from a file or its name is escaped."""
    e = evaluation
    title = f"{PurePath(origin.model).name} on {PurePath(origin.data).name}"
    sections = (
        _head(origin, title),
        _verdict(e),
        _remarks(e),
        _section("Scores", _scores(e)),
        _section("Which defects are found", _recall(e)),
        _section("Which sensitivity to choose", _sensitivity(e)),
        _section("How well good parts and defects are told apart", _curves(e) + _figures(e)),
        _section("Pictures", galleries(e, shown)),
        _section("Where the figures come from", _provenance(e, origin)),
        _section("Words", _WORDS),
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


def _head(origin: Origin, title: str) -> str:
    day, clock = origin.evaluated_at[:10], origin.evaluated_at[11:16]
    artifact = f"{origin.artifact} " if origin.artifact else ""
    return (
        f'<header><p class="kicker">Kensa evaluation report</p><h1>{escape(title)}</h1>'
        f'<p class="muted">{escape(origin.provenance.method)}, {escape(artifact)}run by {escape(origin.runtime)} '
        f"({escape(origin.precision)}), {day} {clock} UTC</p></header>"
    )


def _section(heading: str, content: str) -> str:
    return f"<section><h2>{heading}</h2>{content}</section>"


def _verdict(e: Evaluation) -> str:
    at = e.confusion
    return f"""<section><h2>At the threshold the line will run with</h2>
<div class="cards">
{_card("False rejects", "good", e.false_rejects, "good parts rejected", "Of 100 good parts it rejects")}
{_card("Escapes", "defect", e.escapes, "defects passed", "Of 100 defects like these it lets pass")}
<div class="card"><h3>Time for a picture</h3><p class="big">{e.latency.median_ms:.3g} ms</p>
<p>median of {e.latency.images}</p>
<p><strong>95 % within {e.latency.p95_ms:.3g} ms, on the machine of this test.</strong></p></div>
</div>
<table class="confusion"><thead><tr><th></th><th>tested</th><th>passed</th><th>rejected</th></tr></thead><tbody>
<tr><th>Good parts</th><td>{e.n_good}</td><td>{at.good_passed}</td><td class="wrong">{at.good_rejected}</td></tr>
<tr><th>Defects</th><td>{e.n_defect}</td><td class="wrong">{at.defects_passed}</td><td>{at.defects_rejected}</td></tr>
</tbody></table>
<p class="muted">Framed: wrong verdicts. Limits are exact, with 95 % confidence, and hold for parts like those tested.</p>
</section>"""


def _card(title: str, kind: str, rate: Rate, what: str, sentence: str) -> str:
    return (
        f'<div class="card {kind}-edge"><h3>{title}</h3><p class="big">{_share(rate)}</p>'
        f"<p>{rate.count} of {rate.n} {what}</p>"
        f"<p><strong>{sentence} between {100 * rate.low:.1f}&nbsp;and&nbsp;{100 * rate.high:.1f}.</strong></p></div>"
    )


def _remarks(e: Evaluation) -> str:
    notes = "".join(f"<li>{escaped(remark)}</li>" for remark in remarks(e))
    listed = [*e.refused[:_LISTED]]
    if e.without_mask:
        unknown = [p for p in e.parts if p.path in e.without_mask[:_LISTED]]
        listed.append(f"Without a mask: {', '.join(map(name_of, unknown))}")
    if len(e.refused) > _LISTED or len(e.without_mask) > _LISTED:
        listed.append(f"The first {_LISTED} of each; the figures for machines (--json) name all.")
    files = "".join(f'<li class="files">{escape(line)}</li>' for line in listed)
    return f'<section class="remarks"><h2>Read this first</h2><ul>{notes}{files}</ul></section>' if notes else ""


def _scores(e: Evaluation) -> str:
    good = [p.score for p in e.parts if p.defect is None]
    defect = [p.score for p in e.parts if p.defect is not None]
    return (
        f"<figure>{histogram(good, defect)}<figcaption>Number of parts by score. Hatched bars are wrong verdicts: good parts "
        f"right of the threshold, defects left of it. The threshold is {e.threshold:.6g} in the model's own unit."
        "</figcaption></figure>"
    )


def _recall(e: Evaluation) -> str:
    kinds = [(name, rate_of(d.rejected, d.n), f"{100 * d.image_auroc:.1f}") for name, d in e.per_defect.items()]
    by_size = [(name, rate, "") for name, rate in e.per_size.items()]
    found = e.confusion.defects_rejected
    thresholds = [("the one that will run", rate_of(found, e.n_defect), f"{e.false_rejects.count} of {e.n_good}")]
    thresholds += [
        (f"at {100 * r.false_reject_rate:g} % false rejects", r.found, f"{r.false_rejects} of {e.n_good}") for r in recalls(e)
    ]
    return (
        _rate_table("By kind of defect", kinds, "AUROC, %")
        + (_rate_table("By share of the picture", by_size, "") if by_size else "")
        + _rate_table("By threshold", thresholds, "good rejected")
        + '<p class="muted">Found: rejected. Dot: rate, line: its exact 95 % limits. The last table shows what another threshold '
        "would have given on these very parts.</p>"
    )


def _sensitivity(e: Evaluation) -> str:
    body = "".join(
        f"<tr><th>{point.sensitivity:.4g}</th>{_cells(point.found)}{_cells(point.false_rejects)}<td>{percent(point.promised)}</td></tr>"
        for point in e.working_points
    )
    heads = (
        "<th>defects found</th><th>rate</th><th>limits</th><th>good rejected</th><th>rate</th><th>limits</th><th>promised</th>"
    )
    advice = "".join(f"<li>{escape(sentence)}</li>" for sentence in SENSITIVITY_ADVICE)
    return (
        "<p><code>sensitivity:</code> in the line's file moves the threshold; without it, it is 0.</p>"
        f'<table class="points"><thead><tr><th>sensitivity</th>{heads}</tr></thead><tbody>{body}</tbody></table>'
        f'<p class="muted">Promised: of good parts rejected, at most, by the {e.promise.parts} held out for the threshold '
        f"({100 * e.promise.confidence:g} % confidence).</p><ul>{advice}</ul>"
    )


def _cells(rate: Rate) -> str:
    return f"<td>{rate.count} of {rate.n}</td><td>{_share(rate)}</td><td>{_limits(rate)}</td>"


def _rate_table(what: str, rows: Sequence[tuple[str, Rate, str]], last: str) -> str:
    body = "".join(
        f"<tr><th>{escape(name)}</th><td>{rate.n}</td><td>{rate.count}</td><td>{_share(rate)}</td>"
        f"<td>{_limits(rate)}</td><td class='bar'>{whisker(rate)}</td><td>{extra}</td></tr>"
        for name, rate, extra in rows
    )
    return (
        f'<table class="rates"><thead><tr><th>{what}</th><th>tested</th><th>found</th><th>rate</th><th>limits</th>'
        f'<th><div class="scale"><span>0</span><span>found, %</span><span>100</span></div></th><th>{last}</th></tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def _curves(e: Evaluation) -> str:
    figures = ""
    if e.roc:
        here = (e.false_rejects.count / e.n_good, 1 - e.escapes.count / e.n_defect, "threshold")
        drawn = curve(e.roc, "ROC curve", ("good parts rejected, %", "defects found, %"), 1.0, 5, here)
        figures += f"<figure>{drawn}<figcaption>Pictures (ROC): image AUROC {100 * e.image_auroc:.1f} %</figcaption></figure>"
    if e.pro:
        drawn = curve(e.pro, "PRO curve", ("good pixels marked, %", "defect area covered, %"), 0.3, 6)
        figures += f"<figure>{drawn}<figcaption>Places (PRO): AU-PRO {100 * e.aupro:.1f} %</figcaption></figure>"
    return f'<div class="pair">{figures}</div>'


def _figures(e: Evaluation) -> str:
    rows = [
        (
            "Image AUROC",
            e.image_auroc,
            f"95 % limits {100 * e.image_auroc_low:.1f} to {100 * e.image_auroc_high:.1f} (bootstrap)",
        ),
        (
            "Image average precision",
            e.average_precision,
            f"{100 * e.n_defect / (e.n_good + e.n_defect):.0f} % of the parts are defects",
        ),
        ("Image F1, largest", e.f1_max, "at the best threshold for this very test set: an upper bound"),
        ("Pixel AUROC", e.pixel_auroc, "all pixels of all pictures with a mask"),
        ("Pixel average precision", e.pixel_average_precision, ""),
        ("Pixel F1, largest", e.pixel_f1_max, "an upper bound"),
        ("AU-PRO", e.aupro, "false positive rate up to 30 %"),
    ]
    if e.loco is not None:
        rows += [(f"Image AUROC, {kind}", value, "MVTec LOCO") for kind, value in e.loco.image_auroc.items()]
        rows += [
            (f"AU-sPRO at {limit}, {kind}", value, "MVTec LOCO")
            for limit, row in e.loco.auspro.items()
            for kind, value in row.items()
        ]
    known = [(name, value, note) for name, value, note in rows if value == value]
    body = "".join(
        f"<tr><th>{escape(name)}</th><td>{100 * value:.1f} %</td><td class='note'>{escape(note)}</td></tr>"
        for name, value, note in known
    )
    return f'<table class="figures"><tbody>{body}</tbody></table>'


def _provenance(e: Evaluation, origin: Origin) -> str:
    from_ = origin.provenance
    promise = e.promise
    rows = (
        ("Model", f"{origin.model}, sha256 {from_.model_sha256}"),
        ("Method, seed", f"{from_.method}, seed {from_.seed}"),
        ("Backbone", f"{from_.backbone}; weights: {from_.weights}, sha256 {from_.weights_sha256}"),
        ("Licence of the weights", from_.weights_licence),
        ("Learned from", f"{from_.n_train} good parts; with those for the threshold sha256 {from_.data_sha256}"),
        (
            "Threshold",
            f"{e.threshold:.6g}, from {promise.parts} other good parts: at most {percent(promise.false_reject_rate)} of good "
            f"parts rejected, with {100 * promise.confidence:g} % confidence ({percent(promise.wished_rate)} was asked for)",
        ),
        ("Tested on", f"{origin.data}: {e.n_good} good parts, {e.n_defect} defects, sha256 {origin.test_sha256}"),
        (
            "Time for a picture",
            f"median {e.latency.median_ms:.1f} ms, 95 % within {e.latency.p95_ms:.1f} ms ({e.latency.images} pictures one at a "
            f"time, from pixels in memory to score and map; {origin.runtime}, {origin.precision})",
        ),
        ("Measured on", f"{origin.machine}: the times are of this machine, not of the device"),
        ("Versions, training", _listed(from_.versions)),
        ("Versions, test", _listed(origin.versions)),
        ("Evaluated", origin.evaluated_at),
    )
    body = "".join(f"<tr><th>{name}</th><td>{escaped(words)}</td></tr>" for name, words in rows)
    return f'<table class="facts"><tbody>{body}</tbody></table>'


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _share(rate: Rate) -> str:
    return percent(rate.count / rate.n) if rate.n else "none tested"


def _limits(rate: Rate) -> str:
    return f"{100 * rate.low:.1f} to {100 * rate.high:.1f} %"
