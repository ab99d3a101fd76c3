"""Drawings of an evaluation as inline SVG: no script, no font and no file from elsewhere, colours from the page's style."""

import math
from collections import Counter
from collections.abc import Sequence
from html import escape

from training.evaluation import Rate

_BINS = ((0.05, 10), (0.1, 10), (0.2, 5))  # width in units of the score, and how many bins stand between two labels
_MOST_BINS = 80  # what is further up is one bar of its own, or a heavy tail hides the rest
_WIDTH, _LEFT, _RIGHT, _TOP, _PANEL = 860, 46, 846, 20, 128


def histogram(good: Sequence[float], defect: Sequence[float]) -> str:
    """Scores of good parts above those of defects on one axis, the threshold at 1; wrong verdicts are hatched.

    Scores beyond the axis, inf too, stand in the outermost bars.
    """
    width, labelled, first, last = _axis([*good, *defect])
    step = (_RIGHT - _LEFT) / (last - first + 3)  # a gap, the bar of what is further up, and some air
    threshold_x = _LEFT - first * step
    bottoms = (_TOP + _PANEL, _TOP + 2 * _PANEL)
    axis_y = bottoms[1]
    counts = [_counts(scores, width, first, last) for scores in (good, defect)]
    further_up = any(last + 1 in side for side in counts)
    parts = [
        _panel(counts[0], "Good parts", "good", bottoms[0], first, step),
        _panel(counts[1], "Defects", "defect", bottoms[1], first, step),
        f'<line class="threshold" x1="{threshold_x:.1f}" x2="{threshold_x:.1f}" y1="2" y2="{axis_y}"/>',
        f'<text class="strong" x="{threshold_x - 8:.1f}" y="13" text-anchor="end">passed</text>',
        f'<text class="strong" x="{threshold_x + 8:.1f}" y="13">rejected</text>',
        *(_tick(_LEFT + (k - first) * step, axis_y, _number(1 + k * width)) for k in range(first, last + 1) if k % labelled == 0),
        _tick(_LEFT + (last - first + 1.5) * step, axis_y, "more") if further_up else "",
        f'<text x="{(_LEFT + _RIGHT) / 2}" y="{axis_y + 36}" text-anchor="middle">score: 0 is a typical good part, 1 the '
        "threshold</text>",
    ]
    hatches = "".join(
        f'<pattern id="hatch-{name}" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        f'<rect class="hatch-ground" width="5" height="5"/><rect class="{name}" width="2.5" height="5"/></pattern>'
        for name in ("good", "defect")
    )
    label = "Histogram of the scores of good parts and of defects, with the threshold"
    return _svg(_WIDTH, axis_y + 42, label, f"<defs>{hatches}</defs>" + "".join(parts))


def _axis(scores: Sequence[float]) -> tuple[float, int, int, int]:
    """Width of a bin, bins between two labels, first and last edge counted in bins from the threshold."""
    finite = sorted(s for s in scores if math.isfinite(s)) or [0.0]
    low, high = min(0.0, finite[len(finite) // 200]), max(1.0, finite[-1 - len(finite) // 200])
    width, labelled = next((b for b in _BINS if (high - low) / b[0] <= _MOST_BINS - 4), _BINS[-1])
    first = max(math.floor((low - 1) / width) - 1, -_MOST_BINS // 2)
    last = min(math.ceil((high - 1) / width) + 1, first + _MOST_BINS)
    return width, labelled, first, max(last, labelled)


def _counts(scores: Sequence[float], width: float, first: int, last: int) -> dict[int, int]:
    """Number of scores by bin, counted from the threshold; what is above the axis is set apart by a gap of one bin."""
    bins = (last + 1 if score >= 1 + last * width else max(first, math.floor((score - 1) / width)) for score in scores)
    return dict(sorted(Counter(bins).items()))


def _panel(counts: dict[int, int], title: str, name: str, bottom: float, first: int, step: float) -> str:
    top = _round_up(max(counts.values(), default=1))
    height = _PANEL - 36
    bars = []
    for k, count in counts.items():
        wrong = (k >= 0) == (name == "good")
        size = height * count / top
        fill = f'fill="url(#hatch-{name})" class="edge-{name}"' if wrong else f'class="{name}"'
        x = _LEFT + (k - first) * step + 0.5
        bars.append(f'<rect {fill} x="{x:.1f}" y="{bottom - size:.1f}" width="{step - 1:.1f}" height="{size:.1f}"/>')
    lines = "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{_RIGHT}" y1="{bottom - height * share:.1f}" y2="{bottom - height * share:.1f}"/>'
        f'<text x="{_LEFT - 7}" y="{bottom - height * share + 4:.1f}" text-anchor="end">{top * share:g}</text>'
        for share in (0.5, 1.0)
    )
    axis = f'<line class="axis" x1="{_LEFT}" x2="{_RIGHT}" y1="{bottom}" y2="{bottom}"/>'
    caption = f'<text class="strong {name}-text" x="{_LEFT}" y="{bottom - height - 9}">{title} ({sum(counts.values())})</text>'
    return lines + "".join(bars) + axis + caption


def _tick(x: float, y: float, text: str) -> str:
    return (
        f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{y + 4}"/>'
        f'<text x="{x:.1f}" y="{y + 18}" text-anchor="middle">{text}</text>'
    )


def _round_up(count: int) -> int:
    """The next even 2, 4, 6, 8 or 10 times a power of ten, so that its half is a whole number.

    >>> [_round_up(n) for n in (1, 3, 17, 130)]
    [2, 4, 20, 200]
    """
    scale = int("1" + "0" * (len(str(count)) - 1))
    return min(n * scale for n in (2, 4, 6, 8, 10) if n * scale >= count)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0").replace("-", "\N{MINUS SIGN}")


def curve(
    points: Sequence[tuple[float, float]],
    name: str,
    axes: tuple[str, str],
    x_end: float,
    x_steps: int,
    mark: tuple[float, float, str] | None = None,
) -> str:
    """A rising curve over 0..x_end and 0..1, both axes in %; mark: a point of it with a word."""
    left, right, top, bottom = 52, 404, 12, 292

    def x_of(x: float) -> float:
        return left + (right - left) * x / x_end

    def y_of(y: float) -> float:
        return bottom - (bottom - top) * y

    grid = "".join(
        f'<line class="grid" x1="{left}" x2="{right}" y1="{y_of(share):.1f}" y2="{y_of(share):.1f}"/>'
        f'<text x="{left - 7}" y="{y_of(share) + 4:.1f}" text-anchor="end">{100 * share:g}</text>'
        for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    ) + "".join(
        f'<line class="grid" x1="{x_of(share * x_end):.1f}" x2="{x_of(share * x_end):.1f}" y1="{top}" y2="{bottom}"/>'
        f'<text x="{x_of(share * x_end):.1f}" y="{bottom + 18}" text-anchor="middle">{100 * share * x_end:g}</text>'
        for share in (k / x_steps for k in range(x_steps + 1))
    )
    path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points)
    middle_y = (top + bottom) / 2
    labels = (
        f'<text x="{(left + right) / 2}" y="{bottom + 38}" text-anchor="middle">{escape(axes[0])}</text>'
        f'<text transform="translate(13 {middle_y}) rotate(-90)" text-anchor="middle">{escape(axes[1])}</text>'
    )
    dot = ""
    if mark is not None:
        x, y, word = mark
        dot = (
            f'<circle class="mark" cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="5"/>'
            f'<text class="strong" x="{x_of(x) + 11:.1f}" y="{y_of(y) + 15:.1f}">{escape(word)}</text>'
        )
    return _svg(416, bottom + 46, name, f'{grid}<polyline class="curve" points="{path}"/>{labels}{dot}')


def whisker(rate: Rate) -> str:
    """The rate as a dot and its limits as a line, over 0 to 100 %."""
    width, height = 220, 18

    def x_of(share: float) -> float:
        return 5 + (width - 10) * share

    grid = "".join(
        f'<line class="grid" x1="{x_of(share):.1f}" x2="{x_of(share):.1f}" y1="1" y2="{height - 1}"/>'
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    )
    middle = height / 2
    share = rate.count / max(rate.n, 1)
    drawing = (
        f'<line class="whisker" x1="{x_of(rate.low):.1f}" x2="{x_of(rate.high):.1f}" y1="{middle}" y2="{middle}"/>'
        f'<line class="whisker" x1="{x_of(rate.low):.1f}" x2="{x_of(rate.low):.1f}" y1="{middle - 4}" y2="{middle + 4}"/>'
        f'<line class="whisker" x1="{x_of(rate.high):.1f}" x2="{x_of(rate.high):.1f}" y1="{middle - 4}" y2="{middle + 4}"/>'
        f'<circle class="point" cx="{x_of(share):.1f}" cy="{middle}" r="4.5"/>'
    )
    label = f"{100 * share:.0f} %, limits {100 * rate.low:.0f} to {100 * rate.high:.0f} %"
    return _svg(width, height, label, grid + drawing)


def _svg(width: float, height: float, label: str, content: str) -> str:
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" '
        f'aria-label="{escape(label)}">{content}</svg>'
    )
