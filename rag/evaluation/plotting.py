"""Plots as SVG text, the same bytes for the same values. Wraps matplotlib; knows nothing of runs.

Colours are written as style sheet variables, so that one plot suits a light and a dark page. Text stays text: it is
searched, read aloud and set in the page's own font.
"""

import io
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

matplotlib.use("svg")

_INK, _FAINT = "#010203", "#040506"
_SERIES = [f"#0a0b{number:02x}" for number in range(8)]
_VARIABLES = {_INK: "var(--ink)", _FAINT: "var(--line)"} | {
    colour: f"var(--series-{number})" for number, colour in enumerate(_SERIES)
}
"""Stand-ins that no plot would use for themselves."""
_MARKERS = "osD^vPXh"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "domainqa",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": _FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}
_STROKES = ("-", "--", ":", "-.")
_WIDTH, _HEIGHT, _ROW = 4.8, 3.2, 0.42
_MARGIN = 0.04


@dataclass(frozen=True, slots=True)
class Interval:
    label: str
    value: float
    low: float
    high: float
    decided: bool


def forest(rows: Sequence[Interval], axis: str) -> str:
    """Differences with their intervals around a line at 0; a filled mark is a decided one."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _figure(height=1.0 + _ROW * len(rows))
        axes.axvline(0, color=_INK, linewidth=1)
        for at, row in enumerate(reversed(rows)):
            axes.plot([row.low, row.high], [at, at], color=_SERIES[0], linewidth=2, solid_capstyle="butt")
            face = _SERIES[0] if row.decided else "none"
            axes.plot([row.value], [at], "o", color=_SERIES[0], markerfacecolor=face, markersize=7)
        axes.set_yticks(range(len(rows)), [row.label for row in reversed(rows)])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(axis)
        return _svg(figure)


def points(values: Mapping[str, tuple[float, float]], names: Sequence[str], across: str, up: str) -> str:
    """A named mark for each; what nothing else beats in both is joined by a line (least across, most up).

    ``names`` are those of all plots of a page, so that each keeps its colour and mark.
    """
    with matplotlib.rc_context(_STYLE):
        figure, axes = _figure()
        front = _pareto(list(values.values()))
        axes.plot([x for x, _ in front], [y for _, y in front], color=_FAINT, linewidth=1.5, linestyle="--")
        for name, (x, y) in values.items():
            colour, mark = _look(name, names)
            axes.plot([x], [y], mark, color=colour, markersize=9, label=name)
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.set_xlim(left=-_MARGIN * max(x for x, _ in values.values()))
        axes.set_ylim(-_MARGIN, 1 + _MARGIN)
        _legend(axes)
        return _svg(figure)


def lines(
    series: Mapping[str, Sequence[tuple[float, float]]], names: Sequence[str], across: str, up: str, *, marks: bool
) -> str:
    with matplotlib.rc_context(_STYLE):
        figure, axes = _figure()
        for at, (name, values) in enumerate(series.items()):
            colour, mark = _look(name, names)
            style = _STROKES[at % len(_STROKES)]
            xs, ys = [x for x, _ in values], [y for _, y in values]
            axes.plot(xs, ys, style, marker=mark if marks else "", color=colour, label=name)
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.set_ylim(-_MARGIN, 1 + _MARGIN)
        _legend(axes)
        return _svg(figure)


def _look(name: str, names: Sequence[str]) -> tuple[str, str]:
    at = names.index(name)
    return _SERIES[at % len(_SERIES)], _MARKERS[at % len(_MARKERS)]


def _legend(axes: Axes) -> None:
    """Below, where it takes a phone no width."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3)


def _pareto(values: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    front: list[tuple[float, float]] = []
    for x, y in sorted(values, key=lambda pair: (pair[0], -pair[1])):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front


def _figure(height: float = _HEIGHT) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height))
    return figure, figure.add_subplot()


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # Within a page ids must differ from plot to plot; they are made of the plot's own content.
    stamp = f"p{zlib.crc32(text.encode()):08x}-"
    text = re.sub(r'\bid="', f'id="{stamp}', text)
    text = re.sub(r'(href="|url\()#', rf"\g<1>#{stamp}", text)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    text = text.replace("'sans-serif'", "sans-serif")
    return re.sub(r' xmlns(?::\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
