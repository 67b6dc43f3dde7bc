"""The picture of few-shot evaluation: accuracy against examples per class."""

import math

import numpy as np

from bit_keras.evaluation import canvas
from bit_keras.evaluation.canvas import BLUE, GREEN, GREY, INK, VERMILION

# The third and fourth hue of the same palette that can be read on white.
PURPLE, BROWN = "#A0457E", "#8A6500"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, BROWN, INK)
# One more than there are colours, so that both recur together only after 42 models.
MARKERS = "os^Dv*P"
STYLES = ("-", "--", ":", "-.")
# In inches.
WIDTH, HEIGHT, GAP_ACROSS, GAP_DOWN = 2.5, 2.1, 0.55, 0.75
MAX_COLUMNS = 3


@canvas.styled
def accuracy_by_examples(results, path):
    """Draws the median accuracy by examples per class, with a band from least to most.

    There is one panel for each set, one line for each model and method, and a dotted
    line where guessing would lie.

    Args:
        results: Mappings with `model`, `dataset`, `method`, `examples_per_class`,
            `median`, `min`, `max` (shares, 0 to 1) and `chance`, at least one.
        path: PNG file to write.
    """
    from matplotlib.figure import Figure

    sets = list(dict.fromkeys(row["dataset"] for row in results))
    rows = math.ceil(len(sets) / MAX_COLUMNS)
    columns = math.ceil(len(sets) / rows)
    looks = _looks(results)
    figure = Figure(figsize=(columns * (WIDTH + GAP_ACROSS), HEIGHT))
    panels = []
    shots = np.unique([row["examples_per_class"] for row in results])
    for number, name in enumerate(sets):
        row, column = divmod(number, columns)
        left, top = column * (WIDTH + GAP_ACROSS), row * (HEIGHT + GAP_DOWN)
        axes = canvas.inch_axes(figure, left, top, WIDTH, HEIGHT)
        _draw_panel(axes, name, [r for r in results if r["dataset"] == name], looks)
        _scale_shots(axes, shots)
        panels.append(axes)
    words = "test accuracy, median over the subsets; bands from least to most"
    canvas.header(panels[0], "Few-shot accuracy", words, gap=28)
    _draw_key(figure, looks, rows * (HEIGHT + GAP_DOWN))
    canvas.save(figure, path)


def _looks(results):
    """Returns colour, marker and style of each line, by (model, method)."""
    models, methods = (
        list(dict.fromkeys(row[key] for row in results)) for key in ("model", "method")
    )
    looks = {}
    for model, method in dict.fromkeys((r["model"], r["method"]) for r in results):
        # A single model has a colour for each method.
        kinds, kind = (models, model) if len(models) > 1 else (methods, method)
        number = kinds.index(kind)
        looks[model, method] = {
            "color": COLOURS[number % len(COLOURS)],
            "marker": MARKERS[number % len(MARKERS)],
            "linestyle": STYLES[methods.index(method) % len(STYLES)],
        }
    return looks


def _draw_panel(axes, name, results, looks):
    """Draws the lines of one set."""
    from matplotlib.ticker import MaxNLocator

    axes.set_title(canvas.fit(name, WIDTH, "bold"), pad=8)
    axes.grid(axis="y")
    for series, look in looks.items():
        rows = [r for r in results if (r["model"], r["method"]) == series]
        rows.sort(key=lambda row: row["examples_per_class"])
        shots, median, low, high = (
            [row[key] for row in rows]
            for key in ("examples_per_class", "median", "min", "max")
        )
        axes.plot(shots, median, lw=1.6, ms=4, clip_on=False, **look)
        band = {"color": look["color"], "alpha": 0.16}
        axes.fill_between(shots, low, high, lw=0, **band)
        if len(shots) == 1:  # Of one point there is no band to see.
            axes.vlines(shots, low, high, lw=3, **band)
    chance = results[0]["chance"]
    axes.axhline(chance, color=GREY, lw=0.8, ls=":")
    highest = max(row["max"] for row in results)
    axes.set_ylim(0, min(1, max(1.1 * highest, 1.5 * chance)))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")


def _scale_shots(axes, shots):
    """Gives all panels the same logarithmic scale, with a tick where there are points.

    A set with few images of a class then shows how far it goes.
    """
    axes.set_xscale("log")
    axes.set_xlim(shots[0] / 1.15, shots[-1] * 1.15)
    axes.set_xticks(shots, [f"{count:,}" for count in shots])
    axes.minorticks_off()
    axes.set_xlabel("examples per class")


def _draw_key(figure, looks, top):
    """Draws what the lines stand for, `top` inches from the upper edge."""
    from matplotlib.lines import Line2D

    models = {model for model, _ in looks}
    methods = {method for _, method in looks}
    lines, names = [], []
    for (model, method), look in looks.items():
        lines.append(Line2D([], [], lw=1.6, ms=4, **look))
        words = [model] * (len(models) > 1) + [method] * (len(methods) > 1)
        names.append(canvas.fit(", ".join(words) or f"{model}, {method}", 2 * WIDTH))
    lines.append(Line2D([], [], color=GREY, lw=0.8, ls=":"))
    names.append("guessing")
    width, height = figure.get_size_inches()
    longest = max(map(canvas.text_width, names))
    figure.legend(
        lines,
        names,
        loc="upper left",
        bbox_to_anchor=(0, 1 - top / height),
        ncols=max(1, min(len(names), int(width / (longest + 0.6)))),
        frameon=False,
        borderaxespad=0,
        borderpad=0,
        handlelength=2.6,
    )
